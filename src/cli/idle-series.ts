/** Forgets series of Istio's metrics that nothing counts any more: peers and codes come and go. */
import type { Clock } from "../base/clock.ts";
import type { OwnedMetricRegistry } from "../telemetry/metric-registry.ts";
import { standardMetricNames } from "../telemetry/standard-metrics.ts";

const idleSeriesMs = 3_600_000;

/** For as long as the process runs; a series goes when a whole round found it unchanged. */
export function expireIdleSeries(clock: Clock, metrics: OwnedMetricRegistry): void {
  const sweep = (): void => {
    metrics.expireIdle(standardMetricNames);
    clock.schedule(idleSeriesMs, sweep);
  };
  clock.schedule(idleSeriesMs, sweep);
}
