/** How busy a thread's event loop is. */

/** As Node tells it: of a thread's whole life, or of the time between two that were told before. */
export interface LoopUse {
  readonly idle: number;
  readonly active: number;
  readonly utilization: number;
}

/** Of this thread, or of a `Worker`. */
export interface LoopTimes {
  eventLoopUtilization(to?: LoopUse, from?: LoopUse): LoopUse;
}

/** What it makes answers the share of the time, since it was asked last, in which the thread did something. */
export function loopUtilization(times: LoopTimes = performance): () => number {
  let last = times.eventLoopUtilization();
  return () => {
    const now = times.eventLoopUtilization();
    const { utilization } = times.eventLoopUtilization(now, last);
    last = now;
    return utilization;
  };
}
