/**
 * How listeners end: they take connections until it is quiet or the time for that is over, then their
 * sockets close. A connection between two requests is not cut while its client may be about to send
 * the next one, which would be lost: it goes when it has been quiet, or with its next answer.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { DrainPlan } from "../drain.ts";

/** Nothing came for so long: nothing is expected to. */
const quietMs = 1000;
const tickMs = 50;

export interface DrainedListeners {
  readonly clock: Clock;
  readonly plan: DrainPlan;
  readonly closeSockets: () => void;
  /** Closes what carries no request and has not since `sinceMs` (monotonic). */
  readonly closeIdle: (sinceMs: number) => void;
  readonly openConnections: () => number;
  /** Monotonic; when the last connection was accepted. */
  readonly lastAcceptMs: () => number;
  /** Cuts off what is left. */
  readonly cut: () => void;
}

export class Draining {
  /** The sockets are closed and no connection is left. */
  readonly ended: Promise<void>;
  readonly #listeners: DrainedListeners;
  readonly #startedMs: number;
  readonly #resolve: () => void;
  #isAccepting = true;
  #timer: Timer | undefined;

  constructor(listeners: DrainedListeners) {
    this.#listeners = listeners;
    this.#startedMs = listeners.clock.monotonicMs();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.ended = promise;
    this.#resolve = resolve;
    this.#turn();
  }

  /** Whoever waits for the end need not wait any longer. */
  close(): void {
    this.#timer?.cancel();
    this.#resolve();
  }

  /** A connection has closed. */
  onClosed(): void {
    if (!this.#isAccepting && this.#listeners.openConnections() === 0) this.close();
  }

  #turn(): void {
    const { clock, plan, openConnections } = this.#listeners;
    const nowMs = clock.monotonicMs();
    const ageMs = nowMs - this.#startedMs;
    const isEnding = plan.cutAfterMs !== undefined;
    if (isEnding && ageMs >= quietMs) this.#listeners.closeIdle(nowMs - quietMs);
    if (this.#isAccepting && this.#isAcceptOver(nowMs)) {
      this.#isAccepting = false;
      this.#listeners.closeSockets();
    }
    if (!this.#isAccepting && openConnections() === 0) return this.close();
    if (isEnding && ageMs >= (plan.cutAfterMs ?? 0)) {
      this.#listeners.cut();
      return this.close();
    }
    if (isEnding || this.#isAccepting) this.#timer = clock.schedule(tickMs, () => this.#turn());
  }

  #isAcceptOver(nowMs: number): boolean {
    const { plan, openConnections, lastAcceptMs } = this.#listeners;
    if (nowMs - this.#startedMs >= plan.acceptMs) return true;
    const isPatient = plan.cutAfterMs === undefined;
    return !isPatient && openConnections() === 0 && nowMs - lastAcceptMs() >= quietMs;
  }
}
