/**
 * Whether the data plane is on its way out, or an operator has called it unhealthy: then answers end
 * their connections, so that clients go elsewhere before anything is cut off. How listeners end is
 * in `listener/draining.ts`.
 */
import type { Clock } from "../base/clock.ts";
import type { RequestRecord } from "../telemetry/request-record.ts";

export interface DrainPlan {
  /** Every answer ends its connection from now on, or more and more of them until `acceptMs` is over. */
  readonly strategy: "immediate" | "gradual";
  /**
   * New connections are taken for so long, for those who do not know yet: then the sockets close. Where
   * it has become quiet earlier there is nobody to wait for. 0 closes them at once.
   */
  readonly acceptMs: number;
  /** What is still open so long after the start is cut off; nothing is, where it is absent. */
  readonly cutAfterMs?: number;
  /** Listeners of traffic to the workload alone. */
  readonly isInboundOnly?: boolean;
}

/** What the rest of the data plane asks. */
export interface DrainState {
  readonly isDraining: boolean;
  /**
   * Whether the answer that is being written shall be the last of its connection. `ignoresHealth`: the
   * listener's are not ended because an operator has called the process unhealthy.
   */
  closesAnswer(direction: RequestRecord["direction"], ignoresHealth?: boolean): boolean;
}

/** Of a process that was asked to end and has `totalMs` for it. */
export function endingPlan(totalMs: number): DrainPlan {
  return { strategy: "immediate", acceptMs: totalMs / 2, cutAfterMs: totalMs };
}

export class Drain implements DrainState {
  isDraining = false;
  readonly #clock: Clock;
  readonly #random: () => number;
  #isUnhealthy = false;
  #plan: DrainPlan | undefined;
  #startedMs = 0;

  constructor(clock: Clock, random: () => number) {
    this.#clock = clock;
    this.#random = random;
  }

  /** A later plan takes the place of an earlier one, whose time goes on. */
  begin(plan: DrainPlan): void {
    if (this.#plan === undefined) this.#startedMs = this.#clock.monotonicMs();
    this.#plan = plan;
    this.isDraining = true;
  }

  /** As Envoy's `/healthcheck/fail` and `/healthcheck/ok`. */
  setHealthy(isHealthy: boolean): void {
    this.#isUnhealthy = !isHealthy;
    this.isDraining = this.#isUnhealthy || this.#plan !== undefined;
  }

  closesAnswer(direction: RequestRecord["direction"], ignoresHealth = false): boolean {
    if (!this.isDraining) return false;
    const plan = this.#plan;
    if (this.#isUnhealthy && !ignoresHealth) return true;
    if (plan === undefined) return false;
    if (plan.isInboundOnly === true && direction !== "inbound") return false;
    if (plan.strategy === "immediate") return true;
    return this.#random() * plan.acceptMs < this.#clock.monotonicMs() - this.#startedMs;
  }
}
