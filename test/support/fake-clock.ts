import type { Clock, Timer } from "../../src/base/clock.ts";

/** A clock that moves only when told to; tasks run in order of their time. */
export class FakeClock implements Clock {
  #nowMs: number;
  readonly #startMs: number;
  #tasks: { readonly atMs: number; readonly task: () => void }[] = [];

  constructor(startMs = 1_700_000_000_000) {
    this.#startMs = startMs;
    this.#nowMs = startMs;
  }

  nowMs(): number {
    return this.#nowMs;
  }

  monotonicMs(): number {
    return this.#nowMs - this.#startMs;
  }

  schedule(delayMs: number, task: () => void): Timer {
    const entry = { atMs: this.#nowMs + delayMs, task };
    this.#tasks.push(entry);
    return {
      cancel: () => {
        this.#tasks = this.#tasks.filter((other) => other !== entry);
      },
    };
  }

  /** Moves time by `ms`, running what falls due on the way, also what those tasks schedule. */
  advance(ms: number): void {
    const endMs = this.#nowMs + ms;
    for (;;) {
      const due = this.#tasks
        .filter((entry) => entry.atMs <= endMs)
        .toSorted((a, b) => a.atMs - b.atMs)[0];
      if (due === undefined) break;
      this.#tasks = this.#tasks.filter((entry) => entry !== due);
      this.#nowMs = Math.max(this.#nowMs, due.atMs);
      due.task();
    }
    this.#nowMs = endMs;
  }
}
