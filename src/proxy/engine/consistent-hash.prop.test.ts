import assert from "node:assert/strict";
import test from "node:test";

import fc from "fast-check";

import { boundedLoad } from "./bounded-load.ts";
import type { Balanced } from "./chooser.ts";
import {
  maglev,
  type MakeHashedChooser,
  remainder,
  ringHash,
  type Weighted,
} from "./consistent-hash.ts";
import { MersenneTwister } from "./mersenne-twister.ts";
import { murmurHash2 } from "./murmur-hash.ts";
import { Hash64 } from "./xx-hash.ts";

interface Member extends Balanced {
  active: number;
}

const ring = { sizeMin: 1024, sizeMax: 8192, hashFunction: "xx-hash" } as const;
const makers: Readonly<Record<string, MakeHashedChooser<Member>>> = {
  ringHash: ringHash(ring),
  "ringHash by MurmurHash": ringHash({ ...ring, hashFunction: "murmur-hash-2" }),
  maglev: maglev(65_537),
};

function weighted(keys: readonly string[], weights: readonly number[] = []): Weighted<Member>[] {
  const total = keys.reduce((sum, _, i) => sum + (weights[i] ?? 1), 0);
  return keys.map((hashKey, i) => {
    const weight = weights[i] ?? 1;
    return { member: { hashKey, weight, active: 0 }, share: weight / total };
  });
}

const bits = new Hash64();
const hashOf = (text: string) => {
  const { hi, lo } = bits.ofText(text);
  return { hi, lo };
};
const choice = (hash: { hi: number; lo: number } | undefined, attempt = 0) => ({
  hash,
  attempt,
  random: () => 0.5,
});

test("remainder() agrees with bigint", () => {
  fc.assert(
    fc.property(
      fc.bigInt({ min: 0n, max: 2n ** 64n - 1n }),
      fc.integer({ min: 2, max: 5_000_011 }),
      (value, by) => {
        const hi = Number(value >> 32n) | 0;
        const lo = Number(value & 0xffff_ffffn) | 0;
        assert.equal(remainder(hi, lo, by), Number(value % BigInt(by)));
      },
    ),
  );
});

/** Of this many samples in as many parts as there are shares; p > 0.0001. */
function isAsShared(found: readonly number[], shares: readonly number[], slack: number): boolean {
  const all = found.reduce((sum, each) => sum + each, 0);
  return found.every((each, i) => Math.abs(each / all - (shares[i] ?? 0)) < slack);
}

const keysOf = (count: number): string[] =>
  Array.from({ length: count }, (_, i) => `10.1.${i >> 8}.${i & 255}:8080`);

for (const [name, make] of Object.entries(makers)) {
  test(`${name}() gives each endpoint its share of the hashes`, () => {
    for (const weights of [[], [1, 2, 3, 4, 2]]) {
      const members = weighted(keysOf(5), weights);
      const choose = make(members);
      const found = members.map(() => 0);
      for (let i = 0; i < 20_000; i++) {
        const chosen = choose(choice(hashOf(`user-${i}`)));
        const at = members.findIndex(({ member }) => member === chosen);
        found[at] = (found[at] ?? 0) + 1;
      }
      const shares = members.map(({ share }) => share);
      // A ring of 1,024 points is uneven; a table of 65,537 slots hardly.
      assert.ok(isAsShared(found, shares, name === "maglev" ? 0.02 : 0.09), found.join(" "));
    }
  });

  test(`${name}() moves few hashes when an endpoint leaves, and none for no reason`, () => {
    for (const count of [4, 10, 50]) {
      const members = weighted(keysOf(count));
      const before = make(members);
      const same = make(weighted(keysOf(count)));
      const left = weighted(keysOf(count).slice(1));
      const after = make(left);
      let moved = 0;
      const hashes = 2000;
      for (let i = 0; i < hashes; i++) {
        const hash = choice(hashOf(`user-${i}`));
        const first = before(hash)?.hashKey;
        assert.equal(same(hash)?.hashKey, first);
        if (after(hash)?.hashKey !== first) moved++;
      }
      // A ring gives those that stay more points each when one leaves, as Envoy's does.
      const most = (name === "maglev" ? 1.5 : 2.5) / count + 0.02;
      assert.ok(moved / hashes < most, `${moved} of ${hashes} with ${count}`);
    }
  });

  test(`${name}() leads to another endpoint at the next attempt, mostly`, () => {
    const choose = make(weighted(keysOf(10)));
    let others = 0;
    for (let i = 0; i < 500; i++) {
      const hash = hashOf(`user-${i}`);
      if (choose(choice(hash, 1)) !== choose(choice(hash))) others++;
    }
    assert.ok(others > 400, `${others}`);
  });
}

test("boundedLoad() leaves an endpoint that has more than its part", () => {
  const members = weighted(keysOf(4));
  const choose = boundedLoad(makers["maglev"] ?? assert.fail(), 150)(members);
  const hash = choice(hashOf("hot"));
  const first = choose(hash) ?? assert.fail();
  const carried = new Map<Member, number>();
  for (let i = 0; i < 400; i++) {
    const chosen = choose(hash) ?? assert.fail();
    chosen.active++;
    carried.set(chosen, (carried.get(chosen) ?? 0) + 1);
  }
  // 150 per cent of an even share, and the one that reached it.
  assert.ok(Math.abs((carried.get(first) ?? 0) - 151) <= 2, `${carried.get(first)}`);
  assert.ok([...carried.values()].every((each) => each <= 152));
});

test("boundedLoad() leaves who is not overloaded alone", () => {
  const members = weighted(keysOf(4));
  const bounded = boundedLoad(makers["ringHash"] ?? assert.fail(), 200)(members);
  const plain = makers["ringHash"]?.(members);
  for (let i = 0; i < 200; i++) {
    const hash = choice(hashOf(`user-${i}`));
    assert.equal(bounded(hash), plain?.(hash));
  }
});

test("MersenneTwister gives the numbers of C++'s std::mt19937", () => {
  const twister = new MersenneTwister();
  twister.seed(5489);
  const first = twister.next();
  let last = first;
  for (let i = 1; i < 10_000; i++) last = twister.next();
  // The standard names the 10,000th.
  assert.deepEqual([first, last], [3_499_211_612, 4_123_659_995]);
});

test("murmurHash2() gives the numbers of GNU's std::hash", () => {
  const found = ["", "a", "12345678", "a longer text, of 26 bytes"].map((text) => {
    murmurHash2(text, bits);
    return bits.toBigInt();
  });
  assert.equal(new Set(found).size, 4);
  // std::hash<std::string>{}("a") of libstdc++ on 64 bits.
  assert.equal(found[1], 4_993_892_634_952_068_459n);
  assert.equal(found[0], 6_142_509_188_972_423_790n);
});
