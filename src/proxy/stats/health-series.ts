/** Envoy's series of a cluster's active health checks, under its names. */
import type { Counter, Gauge } from "../../telemetry/metrics.ts";

export interface HealthSeries {
  readonly attempts: Counter;
  readonly successes: Counter;
  readonly failures: Counter;
  /** By what the endpoint itself said to a request. */
  readonly passiveFailures: Counter;
  readonly networkFailures: Counter;
  readonly verified: Counter;
  readonly healthy: Gauge;
  readonly degraded: Gauge;
}

export function healthSeries(make: {
  readonly counter: (suffix: string) => Counter;
  readonly gauge: (suffix: string) => Gauge;
}): HealthSeries {
  return {
    attempts: make.counter("health_check_attempt"),
    successes: make.counter("health_check_success"),
    failures: make.counter("health_check_failure"),
    passiveFailures: make.counter("health_check_passive_failure"),
    networkFailures: make.counter("health_check_network_failure"),
    verified: make.counter("health_check_verify_cluster"),
    healthy: make.gauge("health_check_healthy"),
    degraded: make.gauge("health_check_degraded"),
  };
}
