/**
 * Gives back what only the start of a sidecar needed: garbage, code that ran once, memory that was freed
 * and kept. A start leaves a third of what a proxy holds, and nothing later makes V8 look: a proxy that
 * has little to do allocates too little. So it is done a while after the start, and again when garbage has
 * gathered in a proxy that is all but idle. A busy one gives back what the allocator keeps: V8's compiler
 * needs 10 MB for a moment when traffic begins.
 */
import { readFileSync } from "node:fs";
import { performance } from "node:perf_hooks";
import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import type { Clock } from "../../base/clock.ts";
import { releaseFreed, releaseMemory } from "../../net/process-memory.ts";
import type { Logger } from "../../telemetry/logger.ts";

/** The first configurations and connections of a mesh that starts are through by then. */
const settledMs = 8000;
const againMs = 60_000;
/** Data workers collect while this thread waits; what they freed is given back with what it frees. */
const workersFirstMs = 200;
const trimMs = 10_000;
const grownBytesMin = 4 * 1024 * 1024;
/** Giving back takes 2 ms with a small heap; never more than this part of the time. */
const trimShareMax = 0.0002;
/** Of the time: who is busier has a use for what is held, and no 30 ms to spare. */
const busyMax = 0.05;
const gatheredBytesMin = 2 * 1024 * 1024;

/** `settleWorkers` has each data worker collect what its start has left. */
export function settleMemory(clock: Clock, log: Logger, settleWorkers: () => void): void {
  let settledBytes = 0;
  let keptBytes = 0;
  let last = performance.eventLoopUtilization();
  const settle = (): void => {
    const before = process.memoryUsage.rss();
    collectAlsoCode();
    if (process.platform === "linux") releaseMemory(readFileSync("/proc/self/smaps", "utf8"));
    settledBytes = getHeapStatistics().total_heap_size;
    keptBytes = process.memoryUsage.rss();
    log.debug("memory was given back", { bytesBefore: before, bytesAfter: keptBytes });
  };
  const settleAll = (): void => {
    settleWorkers();
    clock.schedule(workersFirstMs, settle);
  };
  const trim = (): void => {
    const startMs = clock.monotonicMs();
    if (process.memoryUsage.rss() - keptBytes >= grownBytesMin) {
      releaseFreed();
      keptBytes = process.memoryUsage.rss();
    }
    const tookMs = clock.monotonicMs() - startMs;
    clock.schedule(Math.max(trimMs, tookMs / trimShareMax), trim);
  };
  const look = (): void => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, last);
    last = now;
    const gathered = getHeapStatistics().total_heap_size - settledBytes;
    if (utilization <= busyMax && gathered >= gatheredBytesMin) settleAll();
    clock.schedule(againMs, look);
  };
  clock.schedule(settledMs, () => {
    settleAll();
    clock.schedule(againMs, look);
    clock.schedule(trimMs, trim);
  });
}

/** As V8 does before it gives up: every kind of garbage, and code that has not run for a while; 30 ms. */
function collectAlsoCode(): void {
  setFlagsFromString("--expose-gc"); // contexts that are made from now on have the function
  const gc: unknown = runInNewContext("gc");
  if (typeof gc !== "function") return;
  Reflect.apply(gc, undefined, [{ type: "major", execution: "sync", flavor: "last-resort" }]);
}
