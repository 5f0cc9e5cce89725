/**
 * Starts sidecars a few at a time, in order. All at once they would share the processors, and even the
 * first of a dozen would be ready only when all are; in turn, gateways and the first services answer
 * while the others still load.
 */
import type { Clock, Timer } from "../../base/clock.ts";

export interface Starting {
  /** Its sidecar runs and is not ready yet. */
  readonly isSidecarStarting: boolean;
  startSidecar(): void;
}

/** One that takes longer gives up its turn, and goes on starting: it must not hold back the rest. */
const turnMaxMs = 1500;

export class StartQueue {
  readonly #clock: Clock;
  readonly #atOnce: number;
  readonly #waiting: Starting[] = [];
  readonly #turns = new Map<Starting, Timer>();

  constructor(clock: Clock, atOnce: number) {
    this.#clock = clock;
    this.#atOnce = atOnce;
  }

  add(...all: readonly Starting[]): void {
    this.#waiting.push(...all);
    this.follow();
  }

  /** After each change: whoever is ready, or has ended, makes room for the next. */
  follow(): void {
    for (const one of this.#turns.keys()) if (!one.isSidecarStarting) this.#end(one);
    while (this.#turns.size < this.#atOnce) {
      const next = this.#waiting.shift();
      if (next === undefined) return;
      const timer = this.#clock.schedule(turnMaxMs, () => {
        this.#end(next);
        this.follow();
      });
      this.#turns.set(next, timer);
      next.startSidecar();
      if (!next.isSidecarStarting) this.#end(next);
    }
  }

  close(): void {
    this.#waiting.length = 0;
    for (const one of this.#turns.keys()) this.#end(one);
  }

  #end(one: Starting): void {
    this.#turns.get(one)?.cancel();
    this.#turns.delete(one);
  }
}
