/**
 * How many requests have begun of late, for budgets that look further back than to what is in flight.
 * As in Envoy the time is cut into ten parts, and a part is forgotten whole: a request counts for
 * the length of the window, and at most a tenth of it longer.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { SharedCount } from "./shared-counts.ts";

const partsMax = 10;

export class RecentCount {
  readonly #clock: Clock;
  readonly #partMs: number;
  readonly #shared: SharedCount | undefined;
  /** What began in each part, and in the one that is running. */
  readonly #parts = Array.from({ length: partsMax + 1 }, () => 0);
  #at = 0;
  #own = 0;
  /** Runs while there is something to forget. */
  #timer: Timer | undefined;
  #isClosed = false;

  /** `shared`: where threads count together, each forgetting what it has counted itself. */
  constructor(windowMs: number, clock: Clock, shared: SharedCount | undefined) {
    this.#clock = clock;
    this.#partMs = Math.max(1, windowMs / partsMax);
    this.#shared = shared;
  }

  /** Of all threads that count together. */
  get count(): number {
    return this.#shared?.total() ?? this.#own;
  }

  add(): void {
    if (this.#isClosed) return;
    this.#parts[this.#at] = (this.#parts[this.#at] ?? 0) + 1;
    this.#own++;
    this.#shared?.add(1);
    this.#timer ??= this.#clock.schedule(this.#partMs, this.#turn);
  }

  /** What this thread has counted is forgotten, and nothing is counted any more. */
  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#forget(this.#own);
    this.#parts.fill(0);
  }

  readonly #turn = (): void => {
    this.#timer = undefined;
    this.#at = (this.#at + 1) % this.#parts.length;
    this.#forget(this.#parts[this.#at] ?? 0);
    this.#parts[this.#at] = 0;
    if (this.#own > 0) this.#timer = this.#clock.schedule(this.#partMs, this.#turn);
  };

  #forget(count: number): void {
    this.#own -= count;
    if (count > 0) this.#shared?.add(-count);
  }
}
