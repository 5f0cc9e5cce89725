/** The circuit breakers of one version of a cluster, and the series that tell of them. */
import type { CircuitBreakers } from "../context.ts";
import {
  type Breaker,
  type BreakerOptions,
  type LimitedKind,
  LocalBreaker,
  SharedBreaker,
} from "../engine/circuit-breakers.ts";
import type { SharedCount } from "../engine/shared-counts.ts";
import type { Gauge } from "../../telemetry/metrics.ts";
import type { ClusterSeries } from "../stats/envoy-series.ts";
import type { ClusterPlan } from "./plan.ts";

/** What all threads have in flight in a cluster; undefined where this one counts for itself. */
export type SharedLimits = (cluster: string, kind: LimitedKind) => SharedCount | undefined;

export interface ClusterLimits extends CircuitBreakers {
  /** Shared ones are told to be open, or not, by whoever shows them. */
  refresh(): void;
}

export function makeLimits(
  { name, limits }: ClusterPlan,
  series: ClusterSeries,
  shared: SharedLimits | undefined,
): ClusterLimits {
  const all: SharedBreaker[] = [];
  const make = (kind: LimitedKind, open: Gauge, onOverflow: () => void): Breaker => {
    const onChange: BreakerOptions["onChange"] = (isOpen) => open.set(isOpen ? 1 : 0);
    const limit = (kind === "retry" ? budget : undefined) ?? limits[kind];
    const options = { limit, onOverflow, onChange };
    const count = shared?.(name, kind);
    if (count === undefined) return new LocalBreaker(options);
    const breaker = new SharedBreaker(options, count);
    all.push(breaker);
    return breaker;
  };
  const { retryBudget } = limits;
  const budget =
    retryBudget &&
    (() => Math.max(retryBudget.share * (pending.count + requests.count), retryBudget.min));
  const open = series.circuitBreakersOpen;
  const connections = make("connection", open.connections, () => series.connectionOverflow.add(1));
  const pending = make("pending", open.pending, () => series.pendingOverflow.add(1));
  // Envoy counts requests beyond `max_requests` as pending overflow too.
  const requests = make("request", open.requests, () => series.pendingOverflow.add(1));
  const retries = make("retry", open.retries, () => series.counters.onRetryOverflow());
  return {
    tryConnection: () => connections.try(),
    releaseConnection: () => connections.release(),
    tryPending: () => pending.try(),
    releasePending: () => pending.release(),
    tryRequest: () => requests.try(),
    releaseRequest: () => requests.release(),
    tryRetry: () => retries.try(),
    releaseRetry: () => retries.release(),
    refresh: () => {
      for (const breaker of all) breaker.refresh();
    },
  };
}
