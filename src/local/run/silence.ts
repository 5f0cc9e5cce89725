/**
 * Whether a process that answers no probe hangs, or has merely too little processor time for what it
 * is asked: to end a proxy that falls behind would make all it serves fail.
 */
import { readFileSync } from "node:fs";

/** Unanswered in a row, of one that takes no processor time: stopped, or waiting for what never comes. */
const idleMax = 5;
/** Of one that does: with a second for each answer about three quarters of a minute. It may be in a loop without end. */
const busyMax = 40;
/** Ticks of the kernel's clock, 10 ms each. */
const idleTicksMax = 1;

export class Silence {
  readonly #ticksOf: (pid: number) => number | undefined;
  #unanswered = 0;
  #ticksBefore = 0;

  /** `ticksOf`: processor time of a process until now; undefined when it has ended. */
  constructor(ticksOf: (pid: number) => number | undefined = processorTicks) {
    this.#ticksOf = ticksOf;
  }

  /** It has answered, or was started anew. */
  end(): void {
    this.#unanswered = 0;
  }

  /** It has not answered. Returns whether it hangs. */
  lasts(pid: number): boolean {
    const ticks = this.#ticksOf(pid);
    if (ticks === undefined) return false; // whoever waits for its end will know
    this.#unanswered += 1;
    if (this.#unanswered === 1) this.#ticksBefore = ticks;
    if (this.#unanswered > busyMax) return true;
    return this.#unanswered > idleMax && ticks - this.#ticksBefore <= idleTicksMax;
  }
}

/** In user and kernel mode, with all its threads (proc(5), fields 14 and 15). */
function processorTicks(pid: number): number | undefined {
  try {
    const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
    // Its name, in brackets, may hold spaces.
    const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
    return Number(fields[11] ?? 0) + Number(fields[12] ?? 0);
  } catch {
    return undefined;
  }
}
