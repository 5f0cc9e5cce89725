/**
 * How long processes have waited for a processor: what a test of a promised time takes off what it has
 * measured, because on a machine that does other work nobody can promise that part.
 */
import { readdirSync, readFileSync } from "node:fs";

/**
 * Begins to watch; the function tells for how many milliseconds the processes were ready to run since
 * and did not: of each its first thread, and of the others the one that waited longest. `pids` is asked
 * each time, so that it can name processes that began in between. 0 where the kernel does not tell.
 */
export function watchProcessorWait(pids: () => readonly number[]): () => number {
  const before = new Map(pids().flatMap((pid) => [...waitsOf(pid)]));
  const waitedMs = (pid: number): number => {
    let [first, others] = [0, 0];
    for (const [thread, ms] of waitsOf(pid)) {
      const sinceMs = ms - (before.get(thread) ?? 0);
      if (thread === pid) first = sinceMs;
      else others = Math.max(others, sinceMs);
    }
    return first + others;
  };
  return () => pids().reduce((sum, pid) => sum + waitedMs(pid), 0);
}

/** Begins to watch this process; the function ends that and tells how late its latest turn came, in milliseconds. */
export function watchStalls(): () => number {
  const everyMs = 20;
  let [last, longestMs] = [performance.now(), 0];
  const timer = setInterval(() => {
    const now = performance.now();
    longestMs = Math.max(longestMs, now - last - everyMs);
    last = now;
  }, everyMs);
  timer.unref();
  return () => {
    clearInterval(timer);
    return longestMs;
  };
}

/** By thread, since it began. */
function waitsOf(pid: number): ReadonlyMap<number, number> {
  const waits = new Map<number, number>();
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      // Nanoseconds on a processor, nanoseconds waiting for one, turns.
      const text = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8");
      waits.set(Number(thread), Number(text.split(" ")[1]) / 1e6);
    }
  } catch {
    // It has ended, or the kernel does not count.
  }
  return waits;
}
