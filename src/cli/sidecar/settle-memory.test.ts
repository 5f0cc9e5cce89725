import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { silentLog } from "../../../test/support/silent-log.ts";
import { collectionFor, type MemoryState, settleMemory } from "./settle-memory.ts";

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

test("settleMemory() stops no data worker that is busy for a main thread that is idle", () => {
  const clock = new FakeClock();
  let stops = 0;
  let utilization = 1;
  settleMemory(clock, silentLog, { settle: () => stops++, utilization: () => utilization });
  clock.advance(8200);
  assert.equal(stops, 1);
  const gathered = Array.from({ length: 200_000 }, (_, i) => ({ i }));
  clock.advance(minutes);
  assert.equal(stops, 1);
  utilization = 0.01;
  clock.advance(minutes);
  assert.equal(stops, 2);
  assert.equal(gathered.length, 200_000);
});
