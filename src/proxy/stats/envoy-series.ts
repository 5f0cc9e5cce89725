/**
 * Envoy's own series in Heddle's proxy, under Envoy's names with Istio's tag names, so that
 * dashboards and alerts work on both data planes. Handles are made once per cluster, connection
 * manager or listener; whoever owns the thing removes its series with it.
 */
import type { Counter, Gauge, MetricRegistry } from "../../telemetry/metrics.ts";
import { standardBuckets } from "../../telemetry/standard-metrics.ts";
import type { ClusterCounters } from "../context.ts";
import { clusterHttp2Counters, type PeerCounters } from "../http2/counters.ts";
import { type HealthSeries, healthSeries } from "./health-series.ts";

export interface ClusterSeries {
  readonly counters: ClusterCounters;
  /** Made when a version of the cluster speaks it. */
  readonly http2: () => PeerCounters;
  readonly connectionOverflow: Counter;
  readonly pendingOverflow: Counter;
  readonly circuitBreakersOpen: {
    readonly connections: Gauge;
    readonly pending: Gauge;
    readonly requests: Gauge;
    readonly retries: Gauge;
  };
  readonly membershipTotal: Gauge;
  readonly membershipHealthy: Gauge;
  readonly membershipDegraded: Gauge;
  readonly membershipExcluded: Gauge;
  /** Choices among all endpoints, because too few are healthy. */
  readonly panics: Counter;
  readonly ejectionsActive: Gauge;
  readonly ejectionsEnforced: Counter;
  readonly tlsHandshakes: Counter;
  readonly tlsErrors: Counter;
  /** Names that connections were kept by, given up for newer ones. */
  readonly serverNamesDropped: () => Counter;
  /** Made when the cluster first has checks. */
  readonly health: () => HealthSeries;
  /** Forgets all of it; the handles are dead afterwards. */
  remove(): void;
}

/** `clusterName` is the value of the tag `cluster_name`. */
export function clusterSeries(metrics: MetricRegistry, clusterName: string): ClusterSeries {
  const labels = { cluster_name: clusterName };
  const names: { readonly name: string; readonly labels: Readonly<Record<string, string>> }[] = [];
  const named = (suffix: string, more: Readonly<Record<string, string>> = {}) => {
    const entry = { name: `envoy_cluster_${suffix}`, labels: { ...labels, ...more } };
    names.push(entry);
    return entry;
  };
  const counter = (suffix: string, more?: Readonly<Record<string, string>>): Counter => {
    const entry = named(suffix, more);
    return metrics.counter(entry.name, help, entry.labels);
  };
  const gauge = (suffix: string): Gauge => {
    const entry = named(suffix);
    return metrics.gauge(entry.name, help, entry.labels);
  };
  let health: HealthSeries | undefined;
  let http2: PeerCounters | undefined;
  return {
    health: () => (health ??= healthSeries({ counter, gauge })),
    counters: requestCounters(metrics, { counter, gauge, named }),
    http2: () => (http2 ??= clusterHttp2Counters((name) => counter(name))),
    connectionOverflow: counter("upstream_cx_overflow"),
    pendingOverflow: counter("upstream_rq_pending_overflow"),
    circuitBreakersOpen: {
      connections: gauge("circuit_breakers_default_cx_open"),
      pending: gauge("circuit_breakers_default_rq_pending_open"),
      requests: gauge("circuit_breakers_default_rq_open"),
      retries: gauge("circuit_breakers_default_rq_retry_open"),
    },
    membershipTotal: gauge("membership_total"),
    membershipHealthy: gauge("membership_healthy"),
    membershipDegraded: gauge("membership_degraded"),
    membershipExcluded: gauge("membership_excluded"),
    panics: counter("lb_healthy_panic"),
    ejectionsActive: gauge("outlier_detection_ejections_active"),
    ejectionsEnforced: counter("outlier_detection_ejections_enforced_total"),
    tlsHandshakes: counter("ssl_handshake"),
    tlsErrors: counter("ssl_connection_error"),
    serverNamesDropped: () => counter("server_names_dropped"),
    remove() {
      for (const entry of names) metrics.remove(entry.name, entry.labels);
    },
  };
}

/** Gauges that every thread sets to the same fact, or to its own view of one. */
export const factGauges: ReadonlySet<string> = new Set([
  "envoy_cluster_membership_total",
  "envoy_cluster_membership_healthy",
  "envoy_cluster_membership_degraded",
  "envoy_cluster_membership_excluded",
  "envoy_cluster_outlier_detection_ejections_active",
  "envoy_cluster_circuit_breakers_default_cx_open",
  "envoy_cluster_circuit_breakers_default_rq_pending_open",
  "envoy_cluster_circuit_breakers_default_rq_open",
  "envoy_cluster_circuit_breakers_default_rq_retry_open",
]);

const help = "As Envoy counts it.";

interface Makers {
  counter(suffix: string, more?: Readonly<Record<string, string>>): Counter;
  gauge(suffix: string): Gauge;
  named(suffix: string): {
    readonly name: string;
    readonly labels: Readonly<Record<string, string>>;
  };
}

function requestCounters(metrics: MetricRegistry, make: Makers): ClusterCounters {
  const active = make.gauge("upstream_cx_active");
  const opened = make.counter("upstream_cx_total");
  const connectFailed = make.counter("upstream_cx_connect_fail");
  const requests = make.counter("upstream_rq_total");
  const completed = make.counter("upstream_rq_completed");
  const retries = make.counter("upstream_rq_retry");
  const retrySuccess = make.counter("upstream_rq_retry_success");
  const retryOverflow = make.counter("upstream_rq_retry_overflow");
  const timeouts = make.counter("upstream_rq_timeout");
  const time = make.named("upstream_rq_time");
  const durations = metrics.histogram(time.name, help, standardBuckets, time.labels);
  const classes: Counter[] = [];
  return {
    onConnectionOpened() {
      opened.add(1);
      active.add(1);
    },
    onConnectionClosed: () => active.add(-1),
    onConnectFailure: () => connectFailed.add(1),
    onRequest: () => requests.add(1),
    onResponse(status, durationMs) {
      completed.add(1);
      durations.record(durationMs);
      const index = Math.floor(status / 100);
      const ofClass = (classes[index] ??= make.counter("upstream_rq_xx", {
        response_code_class: String(index),
      }));
      ofClass.add(1);
    },
    onRetry: () => retries.add(1),
    onRetrySuccess: () => retrySuccess.add(1),
    onRetryOverflow: () => retryOverflow.add(1),
    onTimeout: () => timeouts.add(1),
  };
}

/** `envoy_server_…` of this process; `refresh` reads them, before each exposition. */
export function serverSeries(metrics: MetricRegistry): { readonly refresh: () => void } {
  const allocated = metrics.gauge("envoy_server_memory_allocated", help);
  const heap = metrics.gauge("envoy_server_memory_heap_size", help);
  const physical = metrics.gauge("envoy_server_memory_physical_size", help);
  const uptime = metrics.gauge("envoy_server_uptime", help);
  const live = metrics.gauge("envoy_server_live", help);
  return {
    refresh() {
      const usage = process.memoryUsage();
      allocated.set(usage.heapUsed + usage.external);
      heap.set(usage.heapTotal + usage.external);
      physical.set(usage.rss);
      uptime.set(Math.floor(process.uptime()));
      live.set(1);
    },
  };
}
