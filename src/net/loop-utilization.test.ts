import assert from "node:assert/strict";
import { test } from "node:test";

import { type LoopUse, loopUtilization } from "./loop-utilization.ts";

test("loopUtilization() tells of the time since it was asked last", () => {
  let times = { idle: 70, active: 30 };
  const shareOf = (idle: number, active: number): LoopUse => {
    return { idle, active, utilization: active / (idle + active) };
  };
  const utilization = loopUtilization({
    eventLoopUtilization: (to, from) =>
      to === undefined || from === undefined
        ? shareOf(times.idle, times.active)
        : shareOf(to.idle - from.idle, to.active - from.active),
  });
  times = { idle: 80, active: 120 };
  assert.equal(utilization(), 0.9);
  times = { idle: 180, active: 120 };
  assert.equal(utilization(), 0);
});
