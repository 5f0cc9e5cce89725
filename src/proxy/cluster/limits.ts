/** The circuit breakers of one version of a cluster, and the series that tell of them. */
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
import type { SharedCount } from "../engine/shared-counts.ts";
import type { Counter, Gauge } from "../../telemetry/metrics.ts";
import type { ClusterSeries, RequestSeries } from "../stats/envoy-series.ts";

/** What all threads have in flight in a cluster; undefined where this one counts for itself. */
export type SharedLimits = (cluster: string, kind: CountedKind) => SharedCount | undefined;

export interface ClusterLimits extends CircuitBreakers {
  /** Shared ones are told to be open, or not, by whoever shows them. */
  refresh(): void;
}

export interface LimitsOptions {
  readonly cluster: string;
  readonly limits: Limits;
  /** Routes of this priority have limits of their own. */
  readonly priority: "default" | "high";
  readonly series: ClusterSeries;
  readonly shared: SharedLimits | undefined;
}

export function makeLimits(options: LimitsOptions): ClusterLimits {
  const { cluster, limits, priority, series, shared } = options;
  const all: SharedBreaker[] = [];
  const countOf = (kind: LimitedKind): SharedCount | undefined =>
    shared?.(cluster, priority === "high" ? `high-${kind}` : kind);
  const make = (kind: LimitedKind, open: Gauge, onOverflow: () => void): Breaker => {
    const onChange: BreakerOptions["onChange"] = (isOpen) => open.set(isOpen ? 1 : 0);
    const limit = (kind === "retry" ? budget : undefined) ?? limits[kind];
    const breakerOptions = { limit, onOverflow, onChange };
    const count = countOf(kind);
    if (count === undefined) return new LocalBreaker(breakerOptions);
    const breaker = new SharedBreaker(breakerOptions, count);
    all.push(breaker);
    return breaker;
  };
  const { retryBudget } = limits;
  const budget =
    retryBudget &&
    // Whole ones, as Envoy and `SharedBreaker` count: 2.4 is no place for a third.
    (() =>
      Math.max(Math.floor(retryBudget.share * (pending.count + requests.count)), retryBudget.min));
  let counted: RequestSeries | undefined;
  const made = (): RequestSeries => (counted ??= series.requests());
  const open = series.circuitBreakersOpen(priority);
  const onConnectionOverflow = (): void => series.connectionOverflow.add(1);
  const connections = make("connection", open.connections, onConnectionOverflow);
  const pending = make("pending", open.pending, () => series.pendingOverflow.add(1));
  // Envoy counts requests beyond `max_requests` as pending overflow too.
  const requests = make("request", open.requests, () => series.pendingOverflow.add(1));
  const retries = make("retry", open.retries, () => series.counters.onRetryOverflow());
  // Each thread keeps to its part, so that all of them together do.
  const perEndpoint = Math.ceil(limits.perEndpoint / (countOf("connection")?.threads ?? 1));
  const mayConnect = (to: UpstreamEndpoint | undefined): boolean => {
    if ((to?.connections ?? 0) < perEndpoint) return true;
    onConnectionOverflow();
    return false;
  };
  return {
    tryConnection: (to) => mayConnect(to) && connections.try(),
    releaseConnection: () => connections.release(),
    tryPending: () => pending.try() && begins(made().pendingTotal, made().pendingActive),
    releasePending: () => {
      pending.release();
      made().pendingActive.add(-1);
    },
    tryRequest: () => requests.try() && begins(made().total, made().active),
    releaseRequest: () => {
      requests.release();
      made().active.add(-1);
    },
    tryRetry: () => retries.try(),
    releaseRetry: () => retries.release(),
    ...(limits.pool === Number.POSITIVE_INFINITY
      ? {}
      : { pools: make("pool", open.pools(), () => series.poolOverflow().add(1)) }),
    refresh: () => {
      for (const breaker of all) breaker.refresh();
    },
  };
}

function begins(total: Counter, active: Gauge): true {
  total.add();
  active.add(1);
  return true;
}
