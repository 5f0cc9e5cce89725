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
  | "success_rate";

/** One endpoint's history; keep it as long as the endpoint. */
export class OutlierHistory {
  failures = 0;
  gatewayFailures = 0;
  localFailures = 0;
  requests = 0;
  successes = 0;
  /** Grows with every ejection, shrinks with every healthy interval. */
  ejections = 0;
  ejectedUntilMs: number | undefined;
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
  readonly thresholds: { readonly [cause in Exclude<EjectionCause, "success_rate">]: number };
  /** Per cent of detections that lead to an ejection. */
  readonly enforcing: { readonly [cause in EjectionCause]: number };
  readonly successRate: {
    readonly membersMin: number;
    readonly requestsMin: number;
    readonly deviations: number;
  };
}

/** Envoy's defaults where a field is absent. */
export function compileOutlierDetection(config: OutlierDetection, path: string): OutlierSettings {
  if ((config.enforcingFailurePercentage ?? 0) > 0) {
    refuse(`${path}.enforcing_failure_percentage`, "is not supported");
  }
  if ((config.enforcingFailurePercentageLocalOrigin ?? 0) > 0) {
    refuse(`${path}.enforcing_failure_percentage_local_origin`, "is not supported");
  }
  const baseMs = durationMs(config.baseEjectionTime) ?? 30_000;
  return {
    intervalMs: durationMs(config.interval) ?? 10_000,
    baseMs,
    maxMs: Math.max(baseMs, durationMs(config.maxEjectionTime) ?? 300_000),
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
    },
    successRate: {
      membersMin: config.successRateMinimumHosts ?? 5,
      requestsMin: config.successRateRequestVolume ?? 100,
      deviations: (config.successRateStdevFactor ?? 1900) / 1000,
    },
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
      this.#check(member, "consecutive_local_origin_failure", history.localFailures, nowMs);
      return;
    }
    // Failures of our own count as 503 unless they are told apart.
    const status = outcome.kind === "response" ? outcome.status : 503;
    history.requests++;
    if (outcome.kind === "response") history.localFailures = 0;
    if (status < 500) {
      history.successes++;
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
        history.ejectedUntilMs = undefined;
        history.failures = 0;
        history.gatewayFailures = 0;
        history.localFailures = 0;
        this.#ejected--;
        this.#events.onReturn(member);
      }
    }
    this.#checkSuccessRates(nowMs);
  }

  #check(
    member: E,
    cause: Exclude<EjectionCause, "success_rate">,
    count: number,
    nowMs: number,
  ): void {
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

  #checkSuccessRates(nowMs: number): void {
    const { membersMin, requestsMin, deviations } = this.#settings.successRate;
    const rates: { readonly member: E; readonly rate: number }[] = [];
    for (const [member, history] of this.#histories) {
      if (history.requests >= requestsMin && history.ejectedUntilMs === undefined) {
        rates.push({ member, rate: history.successes / history.requests });
      }
      history.requests = 0;
      history.successes = 0;
    }
    if (rates.length < membersMin || this.#settings.enforcing.success_rate === 0) return;
    const mean = rates.reduce((sum, { rate }) => sum + rate, 0) / rates.length;
    const variance = rates.reduce((sum, { rate }) => sum + (rate - mean) ** 2, 0) / rates.length;
    const least = mean - deviations * Math.sqrt(variance);
    for (const { member, rate } of rates) {
      if (rate < least) this.#detected(member, "success_rate", nowMs);
    }
  }
}
