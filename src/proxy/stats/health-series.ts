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

type More = Readonly<Record<string, string>>;

interface Makers {
  readonly counter: (suffix: string, more?: More) => Counter;
  readonly gauge: (suffix: string, more?: More) => Gauge;
}

/** `check`: the name of one that has one. */
export function healthSeries(makers: Makers, check = ""): HealthSeries {
  const more = check === "" ? undefined : { health_check_name: check };
  const make = {
    counter: (suffix: string): Counter => makers.counter(suffix, more),
    gauge: (suffix: string): Gauge => makers.gauge(suffix, more),
  };
  return {
    attempts: make.counter("health_check_attempt"),
    successes: make.counter("health_check_success"),
    failures: make.counter("health_check_failure"),
    passiveFailures: make.counter("health_check_passive_failure"),
    networkFailures: make.counter("health_check_network_failure"),
    verified: make.counter("health_check_verify_cluster"),
    ...healthGauges(make),
  };
}

/** Endpoints by what is found of them. */
export function healthGauges({
  gauge,
}: Pick<Makers, "gauge">): Pick<HealthSeries, "healthy" | "degraded"> {
  return { healthy: gauge("health_check_healthy"), degraded: gauge("health_check_degraded") };
}
