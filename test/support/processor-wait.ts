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
  return watch(pids, ({ waitedMs }) => waitedMs);
}

/** The same of the time that they had a processor: what it took at least, however long they waited for one. */
export function watchProcessorTime(pids: () => readonly number[]): () => number {
  return watch(pids, ({ ranMs }) => ranMs);
}

function watch(pids: () => readonly number[], of: (times: ThreadTimes) => number): () => number {
  const before = new Map(pids().flatMap((pid) => [...timesOf(pid)]));
  const sinceMs = (pid: number): number => {
    let [first, others] = [0, 0];
    for (const [thread, times] of timesOf(pid)) {
      const earlier = before.get(thread);
      const ms = of(times) - (earlier === undefined ? 0 : of(earlier));
      if (thread === pid) first = ms;
      else others = Math.max(others, ms);
    }
    return first + others;
  };
  return () => pids().reduce((sum, pid) => sum + sinceMs(pid), 0);
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

interface ThreadTimes {
  readonly ranMs: number;
  /** Ready to run, and did not. */
  readonly waitedMs: number;
}

/** By thread, since it began. */
function timesOf(pid: number): ReadonlyMap<number, ThreadTimes> {
  const times = new Map<number, ThreadTimes>();
  try {
    for (const thread of readdirSync(`/proc/${pid}/task`)) {
      // Nanoseconds on a processor, nanoseconds waiting for one, turns.
      const text = readFileSync(`/proc/${pid}/task/${thread}/schedstat`, "utf8");
      const [ran = 0, waited = 0] = text.split(" ").map(Number);
      times.set(Number(thread), { ranMs: ran / 1e6, waitedMs: waited / 1e6 });
    }
  } catch {
    // It has ended, or the kernel does not count.
  }
  return times;
}
