/** Envoy's series of a cluster's limits: whether each is reached, and what is left of it. */
import type { Gauge } from "../../telemetry/metrics.ts";
import type { LimitedKind } from "../engine/circuit-breakers.ts";

export interface BreakerGauges {
  readonly connections: Gauge;
  readonly pending: Gauge;
  readonly requests: Gauge;
  readonly retries: Gauge;
  readonly pools: () => Gauge;
}

type MakeGauge = (suffix: string) => Gauge;

export function breakerGauges(priority: string, gauge: MakeGauge): BreakerGauges {
  return {
    connections: gauge(`circuit_breakers_${priority}_cx_open`),
    pending: gauge(`circuit_breakers_${priority}_rq_pending_open`),
    requests: gauge(`circuit_breakers_${priority}_rq_open`),
    retries: gauge(`circuit_breakers_${priority}_rq_retry_open`),
    pools: () => gauge(`circuit_breakers_${priority}_cx_pool_open`),
  };
}

/** As Envoy's series name what is left of limits. */
const remainingNames: { readonly [kind in LimitedKind]: string } = {
  connection: "cx",
  pending: "pending",
  request: "rq",
  retry: "retries",
  pool: "cx_pools",
};

export function remainingGauge(priority: string, kind: LimitedKind, gauge: MakeGauge): Gauge {
  return gauge(`circuit_breakers_${priority}_remaining_${remainingNames[kind]}`);
}

/** Every thread sets them to what is true of all. */
export const breakerFacts: readonly string[] = ["default", "high"].flatMap((priority) =>
  ["cx_open", "cx_pool_open", "rq_pending_open", "rq_open", "rq_retry_open"]
    .concat(Object.values(remainingNames).map((name) => `remaining_${name}`))
    .map((name) => `envoy_cluster_circuit_breakers_${priority}_${name}`),
);
