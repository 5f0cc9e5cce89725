/** The only source of time; tests hand in `FakeClock` (test/support). */
export interface Clock {
  /** Milliseconds since the Unix epoch; may jump when the system's clock is set. */
  nowMs(): number;
  /** Milliseconds that only grow, with fractions; for durations and timeouts. */
  monotonicMs(): number;
  /** Calls `task` once, `delayMs` from now; `cancel()` is idempotent. */
  schedule(delayMs: number, task: () => void): Timer;
}

export interface Timer {
  cancel(): void;
}

/** The global is a getter in Node, which would be called each time. */
const timeline = performance;

export const systemClock: Clock = {
  nowMs: () => Date.now(),
  monotonicMs: () => timeline.now(),
  schedule(delayMs, task) {
    if (delayMs > timeoutMaxMs) return scheduleInParts(delayMs, task);
    const timer = setTimeout(task, delayMs);
    return { cancel: () => clearTimeout(timer) };
  },
};

/** Almost 25 days: what is longer ends after a millisecond in Node. */
const timeoutMaxMs = 2 ** 31 - 1;

function scheduleInParts(delayMs: number, task: () => void): Timer {
  let leftMs = delayMs;
  let timer: ReturnType<typeof setTimeout>;
  const next = (): void => {
    const partMs = Math.min(leftMs, timeoutMaxMs);
    leftMs -= partMs;
    timer = setTimeout(leftMs > 0 ? next : task, partMs);
  };
  next();
  return { cancel: () => clearTimeout(timer) };
}
