import assert from "node:assert/strict";
import test from "node:test";

import {
  type Balanced,
  type HashBits,
  leastRequest,
  roundRobin,
  uniformRandom,
} from "./chooser.ts";
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

const choice = (hash?: HashBits) => ({ hash, attempt: 0, random: randomSequence() });
const tools = { random: () => 0, nowMs: () => 0 };

test("roundRobin() serves equals in turn", () => {
  const choose = roundRobin()([member("a"), member("b"), member("c")], tools);
  const turn = Array.from({ length: 6 }, () => choose(choice())?.hashKey);
  assert.deepEqual(turn, ["a", "b", "c", "a", "b", "c"]);
});

test("roundRobin() serves by weight, spread out", () => {
  const choose = roundRobin()([member("a", 3), member("b", 1)], tools);
  assert.deepEqual(
    counts(() => choose(choice()), 400),
    { a: 300, b: 100 },
  );
});

test("leastRequest() prefers the less busy of two", () => {
  const busy = member("busy");
  busy.active = 10;
  const random = randomSequence();
  const choose = leastRequest<Member>({ choiceCount: 2, bias: 1 })([busy, member("idle")], tools);
  const found = counts(() => choose({ hash: undefined, attempt: 0, random }), 1000);
  assert.ok((found["idle"] ?? 0) > 650, JSON.stringify(found));
});

test("leastRequest() weighs weight against load", () => {
  const heavy = member("heavy", 4);
  heavy.active = 3;
  const choose = leastRequest<Member>({ choiceCount: 2, bias: 1 })(
    [heavy, member("light", 1)],
    tools,
  );
  assert.deepEqual(
    counts(() => choose(choice()), 100),
    { heavy: 50, light: 50 },
  );
});

test("uniformRandom() spreads", () => {
  const random = randomSequence();
  const choose = uniformRandom([member("a"), member("b")]);
  const found = counts(() => choose({ hash: undefined, attempt: 0, random }), 1000);
  assert.ok(Math.abs((found["a"] ?? 0) - 500) < 60, JSON.stringify(found));
});

test("leastRequest() with a full scan finds the idle one always, and any of several", () => {
  const random = randomSequence();
  const busy = ["a", "b", "c"].map((key) => ({ ...member(key), active: 1 }));
  const make = leastRequest<Member>({ choiceCount: 2, bias: 1, scansAll: true });
  const choose = make([...busy, member("idle")], tools);
  assert.deepEqual(
    counts(() => choose({ hash: undefined, attempt: 0, random }), 100),
    { idle: 100 },
  );
  const equal = make(busy, tools);
  const found = counts(() => equal({ hash: undefined, attempt: 0, random }), 3000);
  for (const share of Object.values(found)) assert.ok(Math.abs(share - 1000) < 150);
});

test("roundRobin() lets an endpoint warm up", () => {
  const slowStart = { windowMs: 1000, aggression: 1, shareMin: 0.1 };
  for (const [ageMs, share] of [
    [0, 0.1],
    [500, 0.5],
    [1001, 1],
  ] as const) {
    const young = { ...member("young"), healthySinceMs: 5000 - ageMs };
    const choose = roundRobin(slowStart)([{ ...member("old"), healthySinceMs: 0 }, young], {
      random: () => 0,
      nowMs: () => 5000,
    });
    const found = counts(() => choose(choice()), 1100);
    const wanted = (1100 * share) / (1 + share);
    assert.ok(Math.abs((found["young"] ?? 0) - wanted) <= 2, `${ageMs}: ${JSON.stringify(found)}`);
  }
});

function balanced(
  localities: readonly LocalityMembers<Member>[],
  unhealthy: readonly string[],
  isLocalityWeighted = false,
): Record<string, number> {
  const random = randomSequence();
  const choose = balancePriorities(localities, {
    policy: { kind: "drawn", make: roundRobin() },
    healthOf: (each) => (unhealthy.includes(each.hashKey) ? "unfit" : "healthy"),
    isLocalityWeighted,
    overprovisioningPercent: 140,
    panicPercent: 50,
    ...tools,
  });
  return counts(() => choose({ hash: undefined, attempt: 0, random }), 1000);
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
