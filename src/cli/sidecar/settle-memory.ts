/**
 * Gives back what only the start of a sidecar needed: garbage, code that ran once, memory that was freed
 * and kept. A start leaves a third of what a proxy holds, and nothing later makes V8 look: a proxy that
 * has little to do allocates too little. So it is done a while after the start, and again when garbage has
 * gathered in a proxy that is all but idle. A busy one gives back what the allocator keeps: V8's compiler
 * needs 10 MB for a moment when traffic begins; and its garbage every few minutes, or V8 would let 10 MB of
 * old configurations stand before it looks.
 */
import { readFileSync } from "node:fs";
import { getHeapStatistics, setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";

import type { Clock } from "../../base/clock.ts";
import { releaseFreed, releaseMemory } from "../../net/process-memory.ts";
import type { Logger } from "../../telemetry/logger.ts";

/** The first configurations and connections of a mesh that starts are through by then. */
const startedMs = 8000;
const againMs = 60_000;
/** Data workers collect while this thread waits; what they freed is given back with what it frees. */
const workersFirstMs = 200;
const trimMs = 10_000;
const grownBytesMin = 4 * 1024 * 1024;
/** Giving back takes 2 ms with a small heap; never more than this part of the time. */
const trimShareMax = 0.0002;
/** Of the time: who is busier has a use for what is held, and the time of a collection to spare only now and then. */
const idleMax = 0.05;
const busyAgainMs = 180_000;
/** Processor time of a collection, 40 ms in a sidecar. Who has a larger heap is left to V8, which stops it for less at a time. */
const busyStopMsMax = 100;
const gatheredBytesMin = 2 * 1024 * 1024;

/** How a proxy has fared since it was looked at, and since its garbage was collected. */
export interface MemoryState {
  /** Share of the time in which it did something. */
  readonly utilization: number;
  /** V8's heap is larger by so much than after the last collection. */
  readonly gatheredBytes: number;
  /** Since the last collection, and the processor time that it took. */
  readonly sinceMs: number;
  readonly tookMs: number;
}

/** Whether what may be given back is worth a stop, and how much of it: all, or what does not cost the next requests. */
export function collectionFor(state: MemoryState): "all" | "garbage" | "none" {
  if (state.gatheredBytes < gatheredBytesMin) return "none";
  if (state.utilization <= idleMax) return "all";
  return state.tookMs <= busyStopMsMax && state.sinceMs >= busyAgainMs ? "garbage" : "none";
}

/** The threads of a data plane. */
export interface SettlingPlane {
  /** Each data worker collects what its start, or what it did since, has left. */
  readonly settle: () => void;
  /** Share of the time, since this was asked last, in which the busiest thread did something. */
  readonly utilization: () => number;
}

/** A collection stops all threads at the same time, so the busiest one says whether there is time for it. */
export function settleMemory(clock: Clock, log: Logger, plane: SettlingPlane): void {
  let settledBytes = 0;
  let settledMs = 0;
  let tookMs = 0;
  let keptBytes = 0;
  const settle = (howMuch: "all" | "garbage"): void => {
    const before = process.memoryUsage.rss();
    const used = process.threadCpuUsage();
    collectAlsoCode();
    const { user, system } = process.threadCpuUsage(used);
    tookMs = (user + system) / 1000;
    if (howMuch === "garbage") releaseFreed();
    else if (process.platform === "linux") releaseMemory(readFileSync("/proc/self/smaps", "utf8"));
    settledBytes = getHeapStatistics().total_heap_size;
    settledMs = clock.monotonicMs();
    keptBytes = process.memoryUsage.rss();
    log.debug("memory was given back", { bytesBefore: before, bytesAfter: keptBytes });
  };
  const settleAll = (howMuch: "all" | "garbage"): void => {
    plane.settle();
    clock.schedule(workersFirstMs, () => settle(howMuch));
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
    const utilization = plane.utilization();
    const gatheredBytes = getHeapStatistics().total_heap_size - settledBytes;
    const sinceMs = clock.monotonicMs() - settledMs;
    const howMuch = collectionFor({ utilization, gatheredBytes, sinceMs, tookMs });
    if (howMuch !== "none") settleAll(howMuch);
    clock.schedule(againMs, look);
  };
  clock.schedule(startedMs, () => {
    settleAll("all");
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
