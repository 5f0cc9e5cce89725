import assert from "node:assert/strict";
import { test, type TestContext } from "node:test";

import { systemClock } from "./clock.ts";

const dayMs = 86_400_000;
/** The longest that a timer of Node's waits for. */
const timeoutMaxMs = 2 ** 31 - 1;

/** From the moment in which something was scheduled: its parts begin where the one before has ended. */
function pass(t: TestContext, ms: number): void {
  let leftMs = ms;
  for (; leftMs > timeoutMaxMs; leftMs -= timeoutMaxMs) t.mock.timers.tick(timeoutMaxMs);
  t.mock.timers.tick(leftMs);
}

test("schedule() waits for as long as it is told, also for longer than a timer of Node's can", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  for (const ms of [1, 24 * dayMs, timeoutMaxMs, timeoutMaxMs + 1, 60 * dayMs, 400 * dayMs]) {
    let calls = 0;
    systemClock.schedule(ms, () => calls++);
    if (ms > 1) pass(t, ms - 1);
    assert.equal(calls, 0, `${ms} ms`);
    t.mock.timers.tick(1);
    assert.equal(calls, 1, `${ms} ms`);
    pass(t, ms);
    assert.equal(calls, 1, `${ms} ms`);
  }
});

test("schedule() is taken back in whichever part it is", (t) => {
  t.mock.timers.enable({ apis: ["setTimeout"] });
  for (const days of [0, 20, 40, 70]) {
    let calls = 0;
    const timer = systemClock.schedule(80 * dayMs, () => calls++);
    if (days > 0) pass(t, days * dayMs);
    timer.cancel();
    timer.cancel();
    pass(t, 90 * dayMs);
    assert.equal(calls, 0, `${days} days`);
  }
});
