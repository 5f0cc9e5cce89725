/** Counts requests under the names that their routes have for it (`stat_prefix`). */
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import { moment } from "../../telemetry/request-times.ts";
import type { CompiledRoute } from "../engine/route-table.ts";
import { RouteSeries } from "../stats/route-series.ts";
import { flag } from "./response-flags.ts";
import type { StreamRecord } from "./stream-record.ts";

/** Of routes as they are now; a registry gives those of before the same series. */
const known = new WeakMap<CompiledRoute, RouteSeries>();

export function countRouted(
  route: CompiledRoute,
  record: StreamRecord,
  metrics: MetricRegistry,
): void {
  const { statPrefix } = route;
  // Who was answered before there was a try is no request of the route's.
  if (statPrefix === undefined || record.upstreamAttempts === 0) return;
  let series = known.get(route);
  if (series === undefined) {
    series = new RouteSeries(metrics, route.virtualHost, statPrefix);
    known.set(route, series);
  }
  const { times, flags, responseCode: status, upstreamAttempts: attempts } = record;
  // NaN where there was no answer, or an early one.
  const tookMs = (times.at[moment.answerEnd] ?? Number.NaN) - (times.at[moment.requestEnd] ?? 0);
  const answeredMs = tookMs >= 0 ? tookMs : undefined;
  const hasUsedRetries = (flags & flag.upstreamRetryLimitExceeded) !== 0;
  const hasTimedOut = (flags & flag.upstreamRequestTimeout) !== 0;
  series.onEnd({ status, attempts, hasTimedOut, hasUsedRetries, answeredMs });
}
