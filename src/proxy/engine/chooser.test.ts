import assert from "node:assert/strict";
import test from "node:test";

import { type Balanced, leastRequest, roundRobin, uniformRandom } from "./chooser.ts";
import { maglev, ringHash } from "./consistent-hash.ts";
import { balancePriorities, type LocalityMembers } from "./priorities.ts";

interface Member extends Balanced {
  readonly hashKey: string;
  active: number;
}

const member = (hashKey: string, weight = 1): Member => ({ hashKey, weight, active: 0 });

/** A fixed sequence without end, good enough to spread. */
function randomSequence(): () => number {
  let state = 12_345;
  return () => {
    state = (Math.imul(state, 1_103_515_245) + 12_345) >>> 0;
    return state / 2 ** 32;
  };
}

function counts(choose: () => Balanced | undefined, picks: number): Record<string, number> {
  const found: Record<string, number> = {};
  for (let i = 0; i < picks; i++) {
    const key = choose()?.hashKey ?? "none";
    found[key] = (found[key] ?? 0) + 1;
  }
  return found;
}

const choice = (hash?: number) => ({ hash, random: randomSequence() });

test("roundRobin() serves equals in turn", () => {
  const choose = roundRobin([member("a"), member("b"), member("c")], () => 0);
  const turn = Array.from({ length: 6 }, () => choose(choice())?.hashKey);
  assert.deepEqual(turn, ["a", "b", "c", "a", "b", "c"]);
});

test("roundRobin() serves by weight, spread out", () => {
  const choose = roundRobin([member("a", 3), member("b", 1)], () => 0);
  assert.deepEqual(
    counts(() => choose(choice()), 400),
    { a: 300, b: 100 },
  );
});

test("leastRequest() prefers the less busy of two", () => {
  const busy = member("busy");
  busy.active = 10;
  const random = randomSequence();
  const choose = leastRequest<Member>(2, 1)([busy, member("idle")], random);
  const found = counts(() => choose({ hash: undefined, random }), 1000);
  assert.ok((found["idle"] ?? 0) > 650, JSON.stringify(found));
});

test("leastRequest() weighs weight against load", () => {
  const heavy = member("heavy", 4);
  heavy.active = 3;
  const choose = leastRequest<Member>(2, 1)([heavy, member("light", 1)], () => 0);
  assert.deepEqual(
    counts(() => choose(choice()), 100),
    { heavy: 50, light: 50 },
  );
});

test("uniformRandom() spreads", () => {
  const random = randomSequence();
  const choose = uniformRandom([member("a"), member("b")]);
  const found = counts(() => choose({ hash: undefined, random }), 1000);
  assert.ok(Math.abs((found["a"] ?? 0) - 500) < 60, JSON.stringify(found));
});

for (const [name, make] of [
  ["ringHash", ringHash<Member>(1024, 8192)],
  ["maglev", maglev<Member>(65_537)],
] as const) {
  test(`${name}() keeps a hash on its endpoint, and most hashes when one leaves`, () => {
    const members = ["a", "b", "c", "d"].map((key) => member(`10.0.0.1:${key}`));
    const before = make(members, () => 0);
    const after = make(members.slice(1), () => 0);
    const random = randomSequence();
    let moved = 0;
    const found: Record<string, number> = {};
    for (let i = 0; i < 2000; i++) {
      const hash = Math.floor(random() * 2 ** 53);
      const first = before(choice(hash));
      assert.equal(before(choice(hash)), first);
      found[first?.hashKey ?? ""] = (found[first?.hashKey ?? ""] ?? 0) + 1;
      if (first !== members[0] && after(choice(hash)) !== first) moved++;
    }
    assert.ok(moved < 400, `${moved} moved`);
    for (const share of Object.values(found)) assert.ok(share > 300, JSON.stringify(found));
  });

  test(`${name}() respects weights`, () => {
    const choose = make([member("a", 3), member("b", 1)], () => 0);
    const random = randomSequence();
    const found = counts(() => choose({ hash: undefined, random }), 4000);
    assert.ok(Math.abs((found["a"] ?? 0) / 4000 - 0.75) < 0.08, JSON.stringify(found));
  });
}

function balanced(
  localities: readonly LocalityMembers<Member>[],
  unhealthy: readonly string[],
  isLocalityWeighted = false,
): Record<string, number> {
  const random = randomSequence();
  const choose = balancePriorities(localities, {
    makeChooser: roundRobin,
    isHealthy: (each) => !unhealthy.includes(each.hashKey),
    isLocalityWeighted,
    overprovisioning: 1.4,
    panicPercent: 50,
    random,
  });
  return counts(() => choose({ hash: undefined, random }), 1000);
}

const locality = (priority: number, keys: string, weight = 0): LocalityMembers<Member> => ({
  priority,
  weight,
  members: keys.split("").map((key) => member(key)),
});

test("balancePriorities() spills over only when a priority cannot carry its load", () => {
  const two = [locality(0, "abcd"), locality(1, "wxyz")];
  assert.deepEqual(Object.keys(balanced(two, [])).toSorted(), ["a", "b", "c", "d"]);
  assert.deepEqual(Object.keys(balanced(two, ["a"])).toSorted(), ["b", "c", "d"]);
  const spilled = balanced(two, ["a", "b"]);
  const upper = (spilled["c"] ?? 0) + (spilled["d"] ?? 0);
  assert.ok(Math.abs(upper - 700) < 60, JSON.stringify(spilled));
});

test("balancePriorities() panics when too few are healthy", () => {
  const found = balanced([locality(0, "abcd")], ["a", "b", "c"]);
  assert.deepEqual(Object.keys(found).toSorted(), ["a", "b", "c", "d"]);
  assert.deepEqual(balanced([], []), { none: 1000 });
});

test("balancePriorities() weighs localities", () => {
  const found = balanced([locality(0, "a", 3), locality(0, "b", 1)], [], true);
  assert.ok(Math.abs((found["a"] ?? 0) - 750) < 60, JSON.stringify(found));
});
