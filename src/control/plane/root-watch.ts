/**
 * Looks after the root on disk while the control plane runs: it signs with what it read at its start,
 * but sidecars read the certificate anew, and the next start would fail. Said while it can be mended.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { HeddleError } from "../../base/error.ts";
import type { Problem } from "../../base/problem.ts";

export interface RootWatchOptions {
  /** Throws `HeddleError` (`ca.…`) when the root cannot be had. */
  readonly check: () => void;
  readonly onChange: () => void;
  readonly clock: Clock;
}

const intervalMs = 5000;

export class RootWatch {
  readonly #options: RootWatchOptions;
  #timer: Timer;
  #problem: Problem | undefined;

  constructor(options: RootWatchOptions) {
    this.#options = options;
    this.#timer = this.#schedule();
  }

  get problems(): readonly Problem[] {
    return this.#problem === undefined ? [] : [this.#problem];
  }

  close(): void {
    this.#timer.cancel();
  }

  #schedule(): Timer {
    return this.#options.clock.schedule(intervalMs, () => {
      const before = this.#problem?.message;
      this.#problem = this.#look();
      if (this.#problem?.message !== before) this.#options.onChange();
      this.#timer = this.#schedule();
    });
  }

  #look(): Problem | undefined {
    try {
      this.#options.check();
      return undefined;
    } catch (thrown) {
      if (!(thrown instanceof HeddleError)) throw thrown;
      const { code, message } = thrown;
      return { code, severity: "error", path: "", message };
    }
  }
}
