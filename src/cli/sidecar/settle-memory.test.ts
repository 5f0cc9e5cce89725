import assert from "node:assert/strict";
import { test } from "node:test";

import { collectionFor, type MemoryState } from "./settle-memory.ts";

const megabytes = 1024 * 1024;
const minutes = 60_000;

test("collectionFor() stops an idle proxy each minute, a busy one every few, and one for long never", () => {
  const state = {
    utilization: 0.2,
    gatheredBytes: 3 * megabytes,
    sinceMs: 3 * minutes,
    tookMs: 40,
  };
  const cases: readonly (readonly [Partial<MemoryState>, ReturnType<typeof collectionFor>])[] = [
    [{ utilization: 0.01, sinceMs: minutes }, "all"],
    [{ utilization: 0.01, gatheredBytes: megabytes, sinceMs: 60 * minutes }, "none"],
    [{ sinceMs: minutes, gatheredBytes: 9 * megabytes }, "none"],
    [{}, "garbage"],
    [{ utilization: 1 }, "garbage"],
    [{ gatheredBytes: megabytes, sinceMs: 60 * minutes }, "none"],
    [{ tookMs: 300, gatheredBytes: 30 * megabytes, sinceMs: 60 * minutes }, "none"],
    [{ tookMs: 300, utilization: 0.01 }, "all"],
  ];
  for (const [change, expected] of cases) {
    assert.equal(collectionFor({ ...state, ...change }), expected, JSON.stringify(change));
  }
});
