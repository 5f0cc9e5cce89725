import assert from "node:assert/strict";
import { test } from "node:test";

import { SharedBreaker } from "./circuit-breakers.ts";
import { SharedCounts } from "./shared-counts.ts";

function threads(limit: number) {
  const first = new SharedCounts(2, 0);
  const second = new SharedCounts(2, 1, first.memory);
  const told: string[] = [];
  const breakers = [first, second].map(
    (counts, thread) =>
      new SharedBreaker(
        {
          limit,
          onOverflow: () => told.push(`overflow ${thread}`),
          onChange: (isOpen) => told.push(`${isOpen ? "open" : "closed"} ${thread}`),
        },
        counts.of(3, "request"),
      ),
  );
  return { first, told, breakers, other: second.of(3, "connection") };
}

test("SharedBreaker counts what all threads have in flight", () => {
  const { told, breakers, other } = threads(2);
  const [a, b] = breakers;
  assert.deepEqual([a?.try(), b?.try(), a?.try(), b?.try()], [true, true, false, false]);
  assert.deepEqual(told, ["overflow 0", "overflow 1"]);
  assert.equal(other.total(), 0, "another kind has its own");
  b?.release();
  assert.equal(a?.try(), true);
});

test("SharedBreaker says that it is open when it is asked", () => {
  const { told, breakers } = threads(1);
  const [a, b] = breakers;
  a?.try();
  b?.refresh();
  a?.release();
  b?.refresh();
  assert.deepEqual(told, ["open 1", "closed 1"]);
});

test("SharedBreaker releases no more than its own thread has taken", () => {
  const { breakers } = threads(1);
  const [a, b] = breakers;
  a?.try();
  b?.release();
  assert.equal(b?.try(), false);
});

test("forget() leaves what other threads have in flight", () => {
  const { first, breakers } = threads(2);
  const [a, b] = breakers;
  a?.try();
  b?.try();
  first.forget(1);
  assert.equal(first.of(3, "request").total(), 1);
});
