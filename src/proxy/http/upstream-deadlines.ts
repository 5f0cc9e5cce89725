/** The clocks of a request on its way upstream: all attempts together, one attempt, its silence, the pause between two. */
import type { UpstreamCluster } from "../context.ts";
import type { RetryPolicy } from "../engine/route-table.ts";
import { Deadline, type DeadlineOwner, type DeadlineWheel } from "./deadline-wheel.ts";

const never = Number.POSITIVE_INFINITY;

export class UpstreamDeadlines {
  readonly total: Deadline;
  readonly attempt: Deadline;
  readonly attemptIdle: Deadline;
  readonly backoff: Deadline;
  readonly #wheel: DeadlineWheel;
  #totalMs = 0;
  /** When all attempts together have had their time. */
  #dueMs = never;
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
    this.#dueMs = never;
    const attemptMs = retry?.perTryTimeoutMs ?? 0;
    this.#attemptMs = totalMs > 0 && attemptMs >= totalMs ? 0 : attemptMs;
    this.#attemptIdleMs = retry?.perTryIdleTimeoutMs ?? 0;
  }

  /** Of all attempts together; 0 is any time. */
  get totalMs(): number {
    return this.#totalMs;
  }

  /** Of one attempt; 0 is any time, undefined: the time of all together has ended it. */
  get attemptMs(): number | undefined {
    return this.#wheel.nowMs >= this.#dueMs ? undefined : this.#attemptMs;
  }

  /** The time of all attempts together is over. */
  onTotal(cluster: UpstreamCluster | undefined, attempts: number): void {
    cluster?.counters.onTimeout(attempts);
    this.tellUsed(cluster?.tracked);
  }

  /** The request is answered, or nobody waits any longer. */
  tellUsed(tracked: UpstreamCluster["tracked"]): void {
    if (tracked === undefined) return;
    const usedMs = this.#dueMs === never ? 0 : this.#wheel.nowMs - (this.#dueMs - this.#totalMs);
    tracked.onRequest(usedMs, this.#totalMs);
  }

  /** The request is whole: from now on the upstream's time counts. `isUpgrade`: for ever, if need be. */
  onRequestWhole(isUpgrade: boolean): void {
    if (isUpgrade || this.#totalMs === 0 || this.total.isArmed) return;
    this.#wheel.arm(this.total, this.#totalMs);
    this.#dueMs = this.total.atMs;
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
