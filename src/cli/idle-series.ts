/** Forgets series of Istio's metrics that nothing counts any more: peers and codes come and go. */
import type { Clock, Timer } from "../base/clock.ts";
import type { OwnedMetricRegistry } from "../telemetry/metric-registry.ts";
import { standardMetricNames } from "../telemetry/standard-metrics.ts";

const idleSeriesMs = 3_600_000;

/** Until it is cancelled; a series goes when a whole round found it unchanged. */
export function expireIdleSeries(clock: Clock, metrics: OwnedMetricRegistry): Timer {
  const sweep = (): void => {
    metrics.expireIdle(standardMetricNames);
    timer = clock.schedule(idleSeriesMs, sweep);
  };
  let timer = clock.schedule(idleSeriesMs, sweep);
  return { cancel: () => timer.cancel() };
}
