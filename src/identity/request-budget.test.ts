import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../test/support/fake-clock.ts";
import { RequestBudget } from "./request-budget.ts";

test("RequestBudget serves a burst, then so many a second, to each holder for itself", () => {
  const clock = new FakeClock();
  const budget = new RequestBudget({ burst: 3, perSecond: 2, clock });
  const ask = (holder = "cart"): unknown => budget.take(holder);
  assert.deepEqual([ask(), ask(), ask()], [undefined, undefined, undefined]);
  assert.deepEqual(ask(), { retryMs: 500, isFirst: true });
  assert.deepEqual(ask(), { retryMs: 500, isFirst: false });
  assert.equal(ask("payments"), undefined);
  clock.advance(400);
  assert.deepEqual(ask(), { retryMs: 100, isFirst: false });
  clock.advance(100);
  assert.equal(ask(), undefined);
  assert.deepEqual(ask(), { retryMs: 500, isFirst: true });
  clock.advance(3_600_000);
  assert.deepEqual(
    [ask(), ask(), ask(), ask() !== undefined],
    [undefined, undefined, undefined, true],
  );
});

test("RequestBudget forgets whoever has not asked for long, and nobody who has just spent all", () => {
  const clock = new FakeClock();
  const budget = new RequestBudget({ burst: 1, perSecond: 1, clock });
  budget.take("greedy");
  clock.advance(900);
  for (let i = 0; i < 3000; i++) budget.take(`instance-${i}`);
  assert.deepEqual(budget.take("greedy"), { retryMs: 100, isFirst: true });
});
