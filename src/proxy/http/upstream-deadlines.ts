/** The clocks of a request on its way upstream: all attempts together, one attempt, its silence, the pause between two. */
import type { RetryPolicy } from "../engine/route-table.ts";
import { Deadline, type DeadlineOwner, type DeadlineWheel } from "./deadline-wheel.ts";

export class UpstreamDeadlines {
  readonly total: Deadline;
  readonly attempt: Deadline;
  readonly attemptIdle: Deadline;
  readonly backoff: Deadline;
  readonly #wheel: DeadlineWheel;
  #totalMs = 0;
  #attemptMs = 0;
  #attemptIdleMs = 0;

  constructor(owner: DeadlineOwner, wheel: DeadlineWheel) {
    this.total = new Deadline(owner);
    this.attempt = new Deadline(owner);
    this.attemptIdle = new Deadline(owner);
    this.backoff = new Deadline(owner);
    this.#wheel = wheel;
  }

  /** `totalMs` 0 is no limit. */
  reset(totalMs: number, retry: RetryPolicy | undefined): void {
    this.#totalMs = totalMs;
    const attemptMs = retry?.perTryTimeoutMs ?? 0;
    this.#attemptMs = totalMs > 0 && attemptMs >= totalMs ? 0 : attemptMs;
    this.#attemptIdleMs = retry?.perTryIdleTimeoutMs ?? 0;
  }

  /** The request is whole: from now on the upstream's time counts. `isUpgrade`: for ever, if need be. */
  onRequestWhole(isUpgrade: boolean): void {
    if (isUpgrade || this.#totalMs === 0 || this.total.isArmed) return;
    this.#wheel.arm(this.total, this.#totalMs);
  }

  /** An attempt has its connection and the whole request. */
  onAttempt(): void {
    if (this.#attemptMs > 0 && !this.attempt.isArmed) {
      this.#wheel.arm(this.attempt, this.#attemptMs);
    }
    this.touch();
  }

  /** Something moved in the attempt. */
  touch(): void {
    if (this.#attemptIdleMs > 0) this.#wheel.arm(this.attemptIdle, this.#attemptIdleMs);
  }

  pause(delayMs: number): void {
    this.endAttempt();
    this.#wheel.arm(this.backoff, delayMs);
  }

  endAttempt(): void {
    this.attempt.disarm();
    this.attemptIdle.disarm();
  }

  /** No other follows. */
  endAttempts(): void {
    this.endAttempt();
    this.backoff.disarm();
  }

  clear(): void {
    this.endAttempts();
    this.total.disarm();
  }

  /** None is armed again. */
  release(): void {
    this.#wheel.release(this.total, this.attempt, this.attemptIdle, this.backoff);
  }

  /** Milliseconds that the upstream may take for this attempt, as it is told; 0 is any time. */
  expectedMs(isFirst: boolean): number {
    const wantedMs = this.#attemptMs > 0 ? this.#attemptMs : this.#totalMs;
    if (wantedMs === 0 || isFirst || !this.total.isArmed) return wantedMs;
    // 0 would be no limit at all.
    return Math.max(1, Math.min(wantedMs, Math.ceil(this.total.atMs - this.#wheel.nowMs)));
  }
}
