/**
 * Takes endpoints out of balancing that keep failing, and lets them back after a while: consecutive
 * failures as they happen, success rates once per interval. Pure: time comes in, ejections go out.
 */
import type { OutlierDetection } from "../../wire/gen/ts/envoy/config/cluster/v3/outlier_detection.ts";
import { durationMs } from "./duration.ts";
import { refuse } from "./refusal.ts";

export type OutlierOutcome =
  | { readonly kind: "response"; readonly status: number }
  | { readonly kind: "local-failure" };

export type EjectionCause =
  | "consecutive_5xx"
  | "consecutive_gateway_failure"
  | "consecutive_local_origin_failure"
  | "success_rate"
  | "failure_percentage"
  | "success_rate_local_origin"
  | "failure_percentage_local_origin";

type ConsecutiveCause =
  | "consecutive_5xx"
  | "consecutive_gateway_failure"
  | "consecutive_local_origin_failure";

/** One endpoint's history; keep it as long as the endpoint. */
export class OutlierHistory {
  failures = 0;
  gatewayFailures = 0;
  localFailures = 0;
  /** Of this interval. */
  readonly answers: Tally = { requests: 0, successes: 0 };
  /** Whether the endpoint was reached, where that is told apart. */
  readonly reached: Tally = { requests: 0, successes: 0 };
  /** Grows with every ejection, shrinks with every healthy interval. */
  ejections = 0;
  ejectedUntilMs: number | undefined;
}

interface Tally {
  requests: number;
  successes: number;
}

export interface OutlierEvents<E> {
  readonly onEject: (member: E, cause: EjectionCause, durationMs: number) => void;
  readonly onReturn: (member: E) => void;
  /** Thresholds reached, enforced or not. */
  readonly onDetected: (cause: EjectionCause) => void;
  /** It would have been ejected, but too many already are. */
  readonly onOverflow: () => void;
}

export interface OutlierSettings {
  readonly intervalMs: number;
  readonly baseMs: number;
  readonly maxMs: number;
  readonly jitterMs: number;
  readonly maxPercent: number;
  readonly alwaysOne: boolean;
  /** Failures of ours (connecting, resets) are told apart from answers. */
  readonly isSplit: boolean;
  readonly thresholds: { readonly [cause in ConsecutiveCause]: number };
  /** Per cent of detections that lead to an ejection. */
  readonly enforcing: { readonly [cause in EjectionCause]: number };
  readonly successRate: {
    readonly membersMin: number;
    readonly requestsMin: number;
    readonly deviations: number;
  };
  readonly failurePercentage: {
    readonly membersMin: number;
    readonly requestsMin: number;
    readonly percent: number;
  };
  /** An endpoint that passes an active health check is let back at once. */
  readonly returnsWhenChecked: boolean;
}

/** Envoy's defaults where a field is absent. */
export function compileOutlierDetection(config: OutlierDetection, path: string): OutlierSettings {
  const baseMs = durationMs(config.baseEjectionTime) ?? 30_000;
  const maxMs = durationMs(config.maxEjectionTime);
  if (maxMs !== undefined && maxMs < baseMs) {
    refuse(`${path}.max_ejection_time`, "must not be shorter than base_ejection_time");
  }
  return {
    intervalMs: durationMs(config.interval) ?? 10_000,
    baseMs,
    maxMs: Math.max(baseMs, maxMs ?? 300_000),
    jitterMs: durationMs(config.maxEjectionTimeJitter) ?? 0,
    maxPercent: config.maxEjectionPercent ?? 10,
    alwaysOne: config.alwaysEjectOneHost ?? false,
    isSplit: config.splitExternalLocalOriginErrors,
    thresholds: {
      consecutive_5xx: config.consecutive5xx ?? 5,
      consecutive_gateway_failure: config.consecutiveGatewayFailure ?? 5,
      consecutive_local_origin_failure: config.consecutiveLocalOriginFailure ?? 5,
    },
    enforcing: {
      consecutive_5xx: config.enforcingConsecutive5xx ?? 100,
      consecutive_gateway_failure: config.enforcingConsecutiveGatewayFailure ?? 0,
      consecutive_local_origin_failure: config.enforcingConsecutiveLocalOriginFailure ?? 100,
      success_rate: config.enforcingSuccessRate ?? 100,
      success_rate_local_origin: config.enforcingLocalOriginSuccessRate ?? 100,
      failure_percentage: config.enforcingFailurePercentage ?? 0,
      failure_percentage_local_origin: config.enforcingFailurePercentageLocalOrigin ?? 0,
    },
    successRate: {
      membersMin: config.successRateMinimumHosts ?? 5,
      requestsMin: config.successRateRequestVolume ?? 100,
      deviations: (config.successRateStdevFactor ?? 1900) / 1000,
    },
    failurePercentage: {
      membersMin: config.failurePercentageMinimumHosts ?? 5,
      requestsMin: config.failurePercentageRequestVolume ?? 50,
      percent: config.failurePercentageThreshold ?? 85,
    },
    returnsWhenChecked: config.successfulActiveHealthCheckUnejectHost ?? true,
  };
}

export class OutlierDetector<E> {
  readonly #settings: OutlierSettings;
  readonly #events: OutlierEvents<E>;
  readonly #random: () => number;
  readonly #histories = new Map<E, OutlierHistory>();
  #ejected = 0;

  constructor(settings: OutlierSettings, events: OutlierEvents<E>, random: () => number) {
    this.#settings = settings;
    this.#events = events;
    this.#random = random;
  }

  get intervalMs(): number {
    return this.#settings.intervalMs;
  }

  get ejectedCount(): number {
    return this.#ejected;
  }

  isEjected(member: E): boolean {
    return this.#histories.get(member)?.ejectedUntilMs !== undefined;
  }

  /** Replaces the set of endpoints; those that stay keep their history. */
  setMembers(members: Iterable<E>): void {
    const kept = new Set(members);
    for (const [member, history] of this.#histories) {
      if (kept.has(member)) continue;
      if (history.ejectedUntilMs !== undefined) this.#ejected--;
      this.#histories.delete(member);
    }
    for (const member of kept) {
      if (!this.#histories.has(member)) this.#histories.set(member, new OutlierHistory());
    }
  }

  report(member: E, outcome: OutlierOutcome, nowMs: number): void {
    const history = this.#histories.get(member);
    if (history === undefined) return;
    if (outcome.kind === "local-failure" && this.#settings.isSplit) {
      history.localFailures++;
      history.reached.requests++;
      this.#check(member, "consecutive_local_origin_failure", history.localFailures, nowMs);
      return;
    }
    // Failures of our own count as 503 unless they are told apart.
    const status = outcome.kind === "response" ? outcome.status : 503;
    history.answers.requests++;
    if (outcome.kind === "response") {
      history.localFailures = 0;
      history.reached.requests++;
      history.reached.successes++;
    }
    if (status < 500) {
      history.answers.successes++;
      history.failures = 0;
      history.gatewayFailures = 0;
      return;
    }
    if (status >= 502 && status <= 504) {
      history.gatewayFailures++;
      this.#check(member, "consecutive_gateway_failure", history.gatewayFailures, nowMs);
    } else {
      history.gatewayFailures = 0;
    }
    history.failures++;
    this.#check(member, "consecutive_5xx", history.failures, nowMs);
  }

  /** Once per interval. */
  onInterval(nowMs: number): void {
    for (const [member, history] of this.#histories) {
      if (history.ejectedUntilMs === undefined) {
        history.ejections = Math.max(0, history.ejections - 1);
      } else if (history.ejectedUntilMs <= nowMs) {
        this.#letBack(member, history);
      }
    }
    this.#checkShares("answers", nowMs);
    if (this.#settings.isSplit) this.#checkShares("reached", nowMs);
    for (const { answers, reached } of this.#histories.values()) {
      answers.requests = answers.successes = 0;
      reached.requests = reached.successes = 0;
    }
  }

  /** An active health check has passed. */
  onChecked(member: E): boolean {
    const history = this.#histories.get(member);
    if (!this.#settings.returnsWhenChecked || history?.ejectedUntilMs === undefined) return false;
    this.#letBack(member, history);
    return true;
  }

  #letBack(member: E, history: OutlierHistory): void {
    history.ejectedUntilMs = undefined;
    history.failures = 0;
    history.gatewayFailures = 0;
    history.localFailures = 0;
    this.#ejected--;
    this.#events.onReturn(member);
  }

  #check(member: E, cause: ConsecutiveCause, count: number, nowMs: number): void {
    const threshold = this.#settings.thresholds[cause];
    if (threshold === 0 || count < threshold || count % threshold !== 0) return;
    this.#detected(member, cause, nowMs);
  }

  #detected(member: E, cause: EjectionCause, nowMs: number): void {
    const history = this.#histories.get(member);
    if (history === undefined || history.ejectedUntilMs !== undefined) return;
    this.#events.onDetected(cause);
    if (this.#random() * 100 >= this.#settings.enforcing[cause]) return;
    const percent = ((this.#ejected + 1) * 100) / this.#histories.size;
    const isFirstOfAll = this.#settings.alwaysOne && this.#ejected === 0;
    if (percent > this.#settings.maxPercent && !isFirstOfAll) {
      this.#events.onOverflow();
      return;
    }
    history.ejections++;
    const { baseMs, maxMs, jitterMs } = this.#settings;
    const durationMs = Math.min(baseMs * history.ejections, maxMs) + this.#random() * jitterMs;
    history.ejectedUntilMs = nowMs + durationMs;
    this.#ejected++;
    this.#events.onEject(member, cause, durationMs);
  }

  /** Somebody else has decided it, who tells of it. */
  eject(member: E, durationMs: number, nowMs: number): void {
    const history = this.#histories.get(member);
    if (history === undefined || history.ejectedUntilMs !== undefined) return;
    history.ejections++;
    history.ejectedUntilMs = nowMs + durationMs;
    this.#ejected++;
  }

  /** Those that fare worse than the others, and those that fail more than they may. */
  #checkShares(kind: "answers" | "reached", nowMs: number): void {
    const suffix = kind === "answers" ? "" : "_local_origin";
    const { successRate, failurePercentage } = this.#settings;
    const rates = this.#rates(kind, successRate.requestsMin);
    if (rates.length > 0 && rates.length >= successRate.membersMin) {
      const mean = rates.reduce((sum, { rate }) => sum + rate, 0) / rates.length;
      const variance = rates.reduce((sum, { rate }) => sum + (rate - mean) ** 2, 0) / rates.length;
      const least = mean - successRate.deviations * Math.sqrt(variance);
      for (const { member, rate } of rates) {
        if (rate < least) this.#detected(member, `success_rate${suffix}`, nowMs);
      }
    }
    const measured = this.#rates(kind, failurePercentage.requestsMin);
    if (measured.length < failurePercentage.membersMin) return;
    for (const { member, rate } of measured) {
      if (100 * (1 - rate) < failurePercentage.percent) continue;
      this.#detected(member, `failure_percentage${suffix}`, nowMs);
    }
  }

  /** Of those that had enough to do. */
  #rates(
    kind: "answers" | "reached",
    requestsMin: number,
  ): readonly { readonly member: E; readonly rate: number }[] {
    const rates: { readonly member: E; readonly rate: number }[] = [];
    for (const [member, history] of this.#histories) {
      const { requests, successes } = history[kind];
      if (requests === 0 || requests < requestsMin || history.ejectedUntilMs !== undefined)
        continue;
      rates.push({ member, rate: successes / requests });
    }
    return rates;
  }
}
