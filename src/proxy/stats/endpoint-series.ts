/**
 * Envoy's series of each endpoint of a cluster that wants them (`track_cluster_stats.per_endpoint_stats`),
 * under the names that Envoy's Prometheus form has. There are as many as endpoints, and they go with them.
 */
import type { Counter, Gauge } from "../../telemetry/metrics.ts";

export interface EndpointStats {
  /** A connection to it has been begun, or is over. */
  onConnection(change: 1 | -1): void;
  onConnectFailure(): void;
  /** A request waits for a connection to it, or waits no more. */
  onPending(change: 1 | -1): void;
  /** A request has a connection to it, or has it no more. */
  onRequest(change: 1 | -1): void;
  /** An answer, or an attempt that got none. */
  onAnswer(isError: boolean): void;
  onTimeout(): void;
  setHealthy(isHealthy: boolean): void;
  /** The cluster has it no more. */
  close(): void;
}

export type EndpointLabels = Readonly<Record<string, string>>;

/** Of one cluster. */
export interface EndpointMakers {
  counter(suffix: string, labels: EndpointLabels): Counter;
  gauge(suffix: string, labels: EndpointLabels): Gauge;
  forget(suffix: string, labels: EndpointLabels): void;
}

interface Shared {
  readonly stats: Omit<EndpointStats, "close">;
  users: number;
}

const counters = [
  "cx_connect_fail",
  "cx_total",
  "rq_error",
  "rq_success",
  "rq_timeout",
  "rq_total",
];
const gauges = ["cx_active", "rq_active", "rq_pending_active", "healthy"];

/** Those of a cluster; its versions share what they know of an endpoint. */
export class EndpointSeries {
  readonly #make: EndpointMakers;
  readonly #shared = new Map<string, Shared>();

  constructor(make: EndpointMakers) {
    this.#make = make;
  }

  /** `address`: with its port; `hostname`: empty where it has none. */
  open(address: string, hostname: string): EndpointStats {
    const labels = {
      envoy_endpoint_address: address,
      ...(hostname === "" ? {} : { envoy_endpoint_hostname: hostname }),
    };
    const key = JSON.stringify(labels);
    let shared = this.#shared.get(key);
    if (shared === undefined) {
      shared = { stats: statsOf(this.#make, labels), users: 0 };
      this.#shared.set(key, shared);
    }
    const used = shared;
    used.users++;
    const close = (): void => {
      if (--used.users > 0) return;
      this.#shared.delete(key);
      for (const name of [...counters, ...gauges]) this.#make.forget(`endpoint_${name}`, labels);
    };
    return { ...used.stats, close };
  }
}

function statsOf(make: EndpointMakers, labels: EndpointLabels): Omit<EndpointStats, "close"> {
  const counter = (name: string): Counter => make.counter(`endpoint_${name}`, labels);
  const gauge = (name: string): Gauge => make.gauge(`endpoint_${name}`, labels);
  const connectFailures = counter("cx_connect_fail");
  const connections = counter("cx_total");
  const errors = counter("rq_error");
  const successes = counter("rq_success");
  const timeouts = counter("rq_timeout");
  const requests = counter("rq_total");
  const connectionsActive = gauge("cx_active");
  const requestsActive = gauge("rq_active");
  const pendingActive = gauge("rq_pending_active");
  const healthy = gauge("healthy");
  return {
    onConnection(change) {
      if (change > 0) connections.add();
      connectionsActive.add(change);
    },
    onConnectFailure: () => connectFailures.add(),
    onRequest(change) {
      if (change > 0) requests.add();
      requestsActive.add(change);
    },
    onPending: (change) => pendingActive.add(change),
    onAnswer: (isError) => (isError ? errors : successes).add(),
    onTimeout: () => timeouts.add(),
    setHealthy: (isHealthy) => healthy.set(isHealthy ? 1 : 0),
  };
}
