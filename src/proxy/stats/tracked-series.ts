/** Envoy's series of a cluster that tracks its requests (`track_cluster_stats`), under its names. */
import type { Histogram } from "../../telemetry/metrics.ts";

export interface TrackedStats {
  /** The request was answered, so long after it was there; `timeoutMs`: that it had, 0 for any. */
  onRequest(usedMs: number, timeoutMs: number): void;
  /** Another attempt is over. `totals` are used again. */
  onAttempt(totals: AttemptTotals): void;
}

/** Of one attempt of a request. */
export interface AttemptTotals {
  readonly usedMs: number;
  /** 0 for any time; undefined: it was ended with its request, whose time was over. */
  readonly timeoutMs: number | undefined;
  readonly requestHeadBytes: number;
  readonly requestHeadCount: number;
  readonly requestBodyBytes: number;
  /** All 0 where it had no answer. */
  readonly answerHeadBytes: number;
  readonly answerHeadCount: number;
  readonly answerBodyBytes: number;
}

export interface TrackedKinds {
  readonly timeouts: boolean;
  readonly sizes: boolean;
}

/** `make`: of the cluster, by the rest of its name. */
export function trackedSeries(
  { timeouts, sizes }: TrackedKinds,
  make: (suffix: string) => Histogram,
): TrackedStats {
  const budgets = timeouts ? budgetSeries(make) : undefined;
  const of = sizes ? sizeSeries(make) : undefined;
  return {
    onRequest: (usedMs, timeoutMs) => budgets?.all.record(percentOf(usedMs, timeoutMs)),
    onAttempt(totals) {
      const { usedMs, timeoutMs, answerHeadCount } = totals;
      // As Envoy: how long an attempt might have taken says nothing where its request had no time left.
      const isCut = timeoutMs === undefined && answerHeadCount === 0;
      if (!isCut) budgets?.each.record(percentOf(usedMs, timeoutMs ?? 0));
      if (of !== undefined) recordSizes(of, totals);
    },
  };
}

/** In per cent, whole as Envoy's; of no limit nothing is ever used. */
function percentOf(usedMs: number, timeoutMs: number): number {
  return timeoutMs === 0 ? 0 : Math.floor((Math.floor(usedMs) * 100) / timeoutMs);
}

function budgetSeries(make: (suffix: string) => Histogram) {
  return {
    all: make("upstream_rq_timeout_budget_percent_used"),
    each: make("upstream_rq_timeout_budget_per_try_percent_used"),
  };
}

type SizeSeries = ReturnType<typeof sizeSeries>;

function sizeSeries(make: (suffix: string) => Histogram) {
  const of = (side: "rq" | "rs") => ({
    bytes: make(`upstream_${side}_headers_size`),
    count: make(`upstream_${side}_headers_count`),
    body: make(`upstream_${side}_body_size`),
  });
  return { request: of("rq"), answer: of("rs") };
}

function recordSizes({ request, answer }: SizeSeries, totals: AttemptTotals): void {
  request.bytes.record(totals.requestHeadBytes);
  request.count.record(totals.requestHeadCount);
  request.body.record(totals.requestBodyBytes);
  if (totals.answerHeadCount === 0) return;
  answer.bytes.record(totals.answerHeadBytes);
  answer.count.record(totals.answerHeadCount);
  answer.body.record(totals.answerBodyBytes);
}
