/**
 * Log lines that others can provoke, as many as they like: so many pass each second, the rest are
 * counted, and the count is told when the second is over. What must be known of each is a counter's
 * business.
 */
import type { Clock, Timer } from "../base/clock.ts";
import type { Logger, LogFields } from "./logger.ts";

export interface BoundedLogOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly linesPerSecond: number;
}

export class BoundedLog {
  readonly #options: BoundedLogOptions;
  #windowMs = -Infinity;
  #lines = 0;
  #held = 0;
  #timer: Timer | undefined;

  constructor(options: BoundedLogOptions) {
    this.#options = options;
  }

  warn(message: string, fields?: LogFields): void {
    if (this.takes()) this.#options.log.warn(message, fields);
  }

  /** Whether one more line may pass; counts it if not. For lines of several levels. */
  takes(): boolean {
    const { clock, linesPerSecond } = this.#options;
    const nowMs = clock.monotonicMs();
    if (nowMs - this.#windowMs >= 1_000) {
      this.#windowMs = nowMs;
      this.#lines = 0;
    }
    this.#lines += 1;
    if (this.#lines <= linesPerSecond) return true;
    this.#held += 1;
    this.#timer ??= clock.schedule(1_000, () => this.#tell());
    return false;
  }

  /** Tells of nothing any more. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
  }

  #tell(): void {
    this.#timer = undefined;
    this.#options.log.warn("more lines like these were held back", { heldBack: this.#held });
    this.#held = 0;
  }
}
