import type { Clock, Timer } from "../../base/clock.ts";

/** Runs a task once changes have been quiet for a while, but not later than `longestMs` after the first. */
export class Debounce {
  readonly #clock: Clock;
  readonly #task: () => void;
  readonly #quietMs: number;
  readonly #longestMs: number;
  #firstAtMs: number | undefined;
  #timer: Timer | undefined;

  constructor(
    clock: Clock,
    times: { readonly quietMs: number; readonly longestMs: number },
    task: () => void,
  ) {
    this.#clock = clock;
    this.#quietMs = times.quietMs;
    this.#longestMs = times.longestMs;
    this.#task = task;
  }

  /** Whether a run is due. */
  get isWaiting(): boolean {
    return this.#timer !== undefined;
  }

  trigger(): void {
    const nowMs = this.#clock.monotonicMs();
    this.#firstAtMs ??= nowMs;
    const delayMs = Math.min(this.#quietMs, this.#firstAtMs + this.#longestMs - nowMs);
    this.#timer?.cancel();
    this.#timer = this.#clock.schedule(Math.max(0, delayMs), () => this.#run());
  }

  /** Runs now what waits. */
  flush(): void {
    if (this.#timer !== undefined) this.#run();
  }

  cancel(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#firstAtMs = undefined;
  }

  #run(): void {
    this.cancel();
    this.#task();
  }
}
