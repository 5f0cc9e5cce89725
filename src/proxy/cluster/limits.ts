/** The circuit breakers of one version of a cluster, and the series that tell of them. */
import type { Clock } from "../../base/clock.ts";
import type { CircuitBreakers, UpstreamEndpoint } from "../context.ts";
import {
  type Breaker,
  type BreakerOptions,
  type CountedKind,
  type LimitedKind,
  type Limits,
  LocalBreaker,
  SharedBreaker,
} from "../engine/circuit-breakers.ts";
import { RecentCount } from "../engine/recent-count.ts";
import type { SharedCount } from "../engine/shared-counts.ts";
import type { Counter, Gauge } from "../../telemetry/metrics.ts";
import { PoolPermits } from "./pool-permits.ts";
import type { ClusterSeries, RequestSeries } from "../stats/envoy-series.ts";

/** What all threads have in flight in a cluster; undefined where this one counts for itself. */
export type SharedLimits = (cluster: string, kind: CountedKind) => SharedCount | undefined;

export interface ClusterLimits extends CircuitBreakers {
  /** Shared ones are told to be open, or not, by whoever shows them. */
  refresh(): void;
  /** No budget looks back any further; what is in flight is still counted to its end. */
  close(): void;
}

export interface LimitsOptions {
  readonly cluster: string;
  readonly limits: Limits;
  /** Routes of this priority have limits of their own. */
  readonly priority: "default" | "high";
  readonly series: ClusterSeries;
  readonly shared: SharedLimits | undefined;
  readonly clock: Clock;
}

export function makeLimits(options: LimitsOptions): ClusterLimits {
  const { cluster, limits, priority, series, shared } = options;
  const all: SharedBreaker[] = [];
  const countOf = (kind: LimitedKind | "recent"): SharedCount | undefined =>
    shared?.(cluster, priority === "high" ? `high-${kind}` : kind);
  const make = (kind: LimitedKind, open: Gauge, onOverflow: () => void): Breaker => {
    const onChange: BreakerOptions["onChange"] = (isOpen) => open.set(isOpen ? 1 : 0);
    const limit = (kind === "retry" ? budget : undefined) ?? limits[kind];
    const onRemaining = remainingOf(kind, options);
    onRemaining?.(limits[kind]);
    const breakerOptions = { limit, onOverflow, onChange, onRemaining };
    const count = countOf(kind);
    if (count === undefined) return new LocalBreaker(breakerOptions);
    const breaker = new SharedBreaker(breakerOptions, count);
    all.push(breaker);
    return breaker;
  };
  const recent = recentOf(options, countOf);
  const budget = budgetOf(limits, () => recent?.count ?? pending.count + requests.count);
  let counted: RequestSeries | undefined;
  const made = (): RequestSeries => (counted ??= series.requests());
  const open = series.circuitBreakersOpen(priority);
  const onConnectionOverflow = (): void => series.connectionOverflow.add(1);
  const connections = make("connection", open.connections, onConnectionOverflow);
  const pending = make("pending", open.pending, () => series.pendingOverflow.add(1));
  const requests = make("request", open.requests, () => series.requestOverflow().add(1));
  const retries = make("retry", open.retries, () => series.counters.onRetryOverflow());
  const mayConnect = connectsTo(
    // Each thread keeps to its part, so that all of them together do.
    Math.ceil(limits.perEndpoint / (countOf("connection")?.threads ?? 1)),
    onConnectionOverflow,
  );
  const isPooled = limits.pool !== Number.POSITIVE_INFINITY;
  const pools = isPooled
    ? new PoolPermits(
        make("pool", open.pools(), () => series.poolOverflow().add(1)),
        limits.pool,
      )
    : undefined;
  if (!isPooled) remainingOf("pool", options)?.(limits.pool);
  return {
    tryConnection: (to) => mayConnect(to) && connections.try(),
    releaseConnection: () => connections.release(),
    tryPending: () => pending.try() && begins(made().pendingTotal, made().pendingActive),
    releasePending: () => {
      pending.release();
      made().pendingActive.add(-1);
    },
    tryRequest() {
      if (!requests.try()) return false;
      recent?.add();
      return begins(made().total, made().active);
    },
    releaseRequest: () => {
      requests.release();
      made().active.add(-1);
    },
    tryRetry: () => retries.try(),
    releaseRetry: () => retries.release(),
    ...(pools === undefined ? {} : { pools }),
    refresh: () => {
      for (const breaker of all) breaker.refresh();
    },
    close: () => recent?.close(),
  };
}

type CountOf = (kind: LimitedKind | "recent") => SharedCount | undefined;

/** Undefined where no budget looks further back than to what is in flight. */
function recentOf({ limits, clock }: LimitsOptions, countOf: CountOf): RecentCount | undefined {
  const windowMs = limits.retryBudget?.windowMs ?? 0;
  return windowMs === 0 ? undefined : new RecentCount(windowMs, clock, countOf("recent"));
}

/** `countOf`: what it is a share of. */
function budgetOf({ retryBudget }: Limits, countOf: () => number): (() => number) | undefined {
  if (retryBudget === undefined) return undefined;
  const { share, min } = retryBudget;
  // Whole ones, as Envoy and `SharedBreaker` count: 2.4 is no place for a third.
  return () => Math.max(Math.floor(share * countOf()), min);
}

function connectsTo(max: number, onOverflow: () => void) {
  return (to: UpstreamEndpoint | undefined): boolean => {
    if ((to?.connections ?? 0) < max) return true;
    onOverflow();
    return false;
  };
}

/** What Envoy says is left where there may be any number of pools: 64 bits. */
const anyNumber = 2 ** 64;

/** Undefined where the cluster does not want it told. */
function remainingOf(
  kind: LimitedKind,
  { series, priority, limits }: LimitsOptions,
): ((remaining: number) => void) | undefined {
  if (!limits.tellsRemaining) return undefined;
  const gauge = series.remaining(priority, kind);
  // As Envoy: what is left of a budget changes with what it is a share of, so 0 is told.
  const isShare = kind === "retry" && limits.retryBudget !== undefined;
  return (remaining) => gauge.set(isShare ? 0 : Math.min(remaining, anyNumber));
}

function begins(total: Counter, active: Gauge): true {
  total.add();
  active.add(1);
  return true;
}
