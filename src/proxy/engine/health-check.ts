/**
 * What active health checks make of an endpoint: how many passes and failures in a row change its
 * health, and how long to wait for the next check. Pure: outcomes come in, changes go out.
 */
import type { HealthCheck } from "../../wire/gen/ts/envoy/config/core/v3/health_check.ts";
import { durationMs, positiveMs } from "./duration.ts";
import { refuse } from "./refusal.ts";
import type { Duration } from "../../wire/gen/ts/google/protobuf/duration.ts";

/** Of an endpoint; the same bits as Envoy's. */
export const healthFlag = {
  failed: 0x1,
  degraded: 0x8,
  /** New, and not to be counted before its first check is over. */
  pending: 0x40,
  /** It has asked itself not to be counted any more. */
  excluded: 0x80,
  /** The last check that failed had no answer in time. */
  timedOut: 0x100,
} as const;

export interface HealthSettings {
  readonly timeoutMs: number;
  readonly intervalMs: number;
  readonly initialJitterMs: number;
  readonly jitterMs: number;
  readonly jitterPercent: number;
  readonly unhealthyThreshold: number;
  readonly healthyThreshold: number;
  /** While the cluster has had no connection at all. */
  readonly noTrafficMs: number;
  readonly noTrafficHealthyMs: number;
  readonly unhealthyMs: number;
  /** While passes and failures in a row have not reached their threshold. */
  readonly unhealthyEdgeMs: number;
  readonly healthyEdgeMs: number;
}

export function compileHealthSettings(config: HealthCheck, path: string): HealthSettings {
  const required = (field: "timeout" | "interval"): number => {
    const ms = durationMs(config[field]);
    return ms !== undefined && ms > 0 ? ms : refuse(`${path}.${field}`, "must be greater than 0");
  };
  const threshold = (count: number | undefined, field: string): number =>
    count ?? refuse(`${path}.${field}`, "is required");
  const intervalMs = required("interval");
  const interval = (duration: Duration | undefined, field: string): number | undefined =>
    positiveMs(duration, `${path}.${field}`);
  const noTrafficMs = interval(config.noTrafficInterval, "no_traffic_interval") ?? 60_000;
  const unhealthyMs = interval(config.unhealthyInterval, "unhealthy_interval") ?? intervalMs;
  return {
    timeoutMs: required("timeout"),
    intervalMs,
    initialJitterMs: durationMs(config.initialJitter) ?? 0,
    jitterMs: durationMs(config.intervalJitter) ?? 0,
    jitterPercent: config.intervalJitterPercent,
    unhealthyThreshold: threshold(config.unhealthyThreshold, "unhealthy_threshold"),
    healthyThreshold: threshold(config.healthyThreshold, "healthy_threshold"),
    noTrafficMs,
    noTrafficHealthyMs:
      interval(config.noTrafficHealthyInterval, "no_traffic_healthy_interval") ?? noTrafficMs,
    unhealthyMs,
    unhealthyEdgeMs:
      interval(config.unhealthyEdgeInterval, "unhealthy_edge_interval") ?? unhealthyMs,
    healthyEdgeMs: interval(config.healthyEdgeInterval, "healthy_edge_interval") ?? intervalMs,
  };
}

/** How a check failed: on the way, by its answer, or by what the endpoint said to a request. */
export type CheckFailure = "network" | "network-timeout" | "active" | "passive";

/** `pending`: on the way to another health, by passes or failures in a row. */
export type HealthChange = "changed" | "pending" | "none";

/** One endpoint's health, from its first check on: unfit until it has passed one. */
export class CheckedHealth {
  flags: number;
  isFirstCheck = true;
  readonly #settings: HealthSettings;
  #passes = 0;
  #failures = 0;

  constructor(settings: HealthSettings, isPending: boolean) {
    this.#settings = settings;
    this.flags = healthFlag.failed | (isPending ? healthFlag.pending : 0);
  }

  has(flag: number): boolean {
    return (this.flags & flag) !== 0;
  }

  pass(isDegraded: boolean): HealthChange {
    this.#failures = 0;
    let change: HealthChange = "none";
    if (this.has(healthFlag.failed)) {
      // The very first check decides at once, so that nobody waits for thresholds to begin.
      if (this.isFirstCheck || ++this.#passes === this.#settings.healthyThreshold) {
        this.flags &= ~(healthFlag.failed | healthFlag.timedOut | healthFlag.excluded);
        change = "changed";
      } else {
        change = "pending";
      }
    }
    change = this.#endPending(change);
    if (isDegraded !== this.has(healthFlag.degraded)) {
      this.flags ^= healthFlag.degraded;
      if (change === "none") change = "changed";
    }
    this.isFirstCheck = false;
    return change;
  }

  fail(kind: CheckFailure, isRetriable: boolean): HealthChange {
    this.#passes = 0;
    let change: HealthChange = "none";
    const isNetwork = kind === "network" || kind === "network-timeout";
    if (!this.has(healthFlag.failed)) {
      // An answer that says no is believed at once.
      if ((!isNetwork && !isRetriable) || ++this.#failures === this.#settings.unhealthyThreshold) {
        this.flags |= healthFlag.failed;
        change = "changed";
      } else {
        change = "pending";
      }
    }
    if (kind === "network-timeout" && this.has(healthFlag.failed)) {
      this.flags |= healthFlag.timedOut;
    } else {
      this.flags &= ~healthFlag.timedOut;
    }
    change = this.#endPending(change);
    this.isFirstCheck = false;
    return change;
  }

  #endPending(change: HealthChange): HealthChange {
    if (!this.has(healthFlag.pending)) return change;
    this.flags &= ~healthFlag.pending;
    return "changed";
  }
}

export interface CheckOutcome {
  readonly hasPassed: boolean;
  readonly change: HealthChange;
  /** The cluster has had connections for requests. */
  readonly hasTraffic: boolean;
}

/** Milliseconds until the next check. */
export function nextCheckMs(
  settings: HealthSettings,
  { hasPassed, change, hasTraffic }: CheckOutcome,
  random: () => number,
): number {
  const isEdge = change === "pending";
  const base = hasTraffic
    ? hasPassed
      ? settings[isEdge ? "healthyEdgeMs" : "intervalMs"]
      : settings[isEdge ? "unhealthyEdgeMs" : "unhealthyMs"]
    : settings[hasPassed && !isEdge ? "noTrafficHealthyMs" : "noTrafficMs"];
  return withJitter(settings, base, settings.jitterMs, random);
}

/** Milliseconds until the first check; 0: at once. */
export function firstCheckMs(settings: HealthSettings, random: () => number): number {
  const { initialJitterMs } = settings;
  return initialJitterMs === 0 ? 0 : withJitter(settings, 0, initialJitterMs, random);
}

function withJitter(
  { jitterPercent }: HealthSettings,
  ...[baseMs, jitterMs, random]: [baseMs: number, jitterMs: number, random: () => number]
): number {
  const percentMs = Math.floor((jitterPercent * baseMs) / 100);
  const ms = baseMs + Math.floor(random() * percentMs) + Math.floor(random() * jitterMs);
  return Math.max(1, ms);
}
