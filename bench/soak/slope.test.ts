import assert from "node:assert/strict";
import { test } from "node:test";

import { slopeOf } from "./slope.ts";

/** Megabytes in each of 45 minutes: waves of four minutes, and what leaks. */
function memory(leakPerHour: number): number[] {
  const wave = [37, 38.5, 40, 41];
  return Array.from({ length: 45 }, (_, at) => (wave[at % 4] ?? 0) + (leakPerHour * at) / 60);
}

test("slopeOf() tells a leak from waves, and how sure that is", () => {
  for (const leak of [0, 1, 3, -2]) {
    const { slope, error } = slopeOf(memory(leak));
    assert.ok(Math.abs(slope * 60 - leak) < 0.6, `${leak}: ${slope * 60}`);
    assert.ok(error * 60 < 1.2, `${error * 60}`);
  }
});

test("slopeOf() is not tilted by one collection that found more", () => {
  const values = memory(0).with(14, 34.4);
  assert.ok(Math.abs(slopeOf(values).slope * 60) < 1);
});

test("slopeOf() of a line is that line, and of too little nothing", () => {
  const { slope, error } = slopeOf([3, 5, 7, 9]);
  assert.equal(slope, 2);
  assert.ok(error < 1e-9);
  assert.equal(slopeOf([1, 2]).error, Infinity);
});
