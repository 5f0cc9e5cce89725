/**
 * Envoy's own series in Heddle's proxy, under Envoy's names with Istio's tag names, so that
 * dashboards and alerts work on both data planes. Handles are made once per cluster, connection
 * manager or listener; whoever owns the thing removes its series with it.
 */
import type { Counter, Gauge, MetricRegistry } from "../../telemetry/metrics.ts";
import { standardBuckets } from "../../telemetry/standard-metrics.ts";
import type { ClusterCounters } from "../context.ts";
import type { ZoneEvent } from "../engine/zones.ts";
import { clusterHttp2Counters, type PeerCounters } from "../http2/counters.ts";
import { healthGauges, type HealthSeries, healthSeries } from "./health-series.ts";

export interface ClusterSeries {
  readonly counters: ClusterCounters;
  /** Made when a version of the cluster speaks it. */
  readonly http2: () => PeerCounters;
  readonly connectionOverflow: Counter;
  readonly pendingOverflow: Counter;
  /** Requests without a pool, where there may be only so many. */
  readonly poolOverflow: () => Counter;
  /** Made when routes first ask for the priority. */
  readonly circuitBreakersOpen: (priority: "default" | "high") => BreakerGauges;
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
  /** What connections to listeners of this proxy tell, and pools are kept by, given up for newer. */
  readonly statesDropped: () => Counter;
  /** Clients that connections were kept for, told of by PROXY headers, given up for newer ones. */
  readonly clientsDropped: () => Counter;
  /** Of what happens in few clusters; made when it first does. */
  readonly count: (event: RareEvent) => void;
  /** Made when the cluster first has checks. */
  readonly health: (check: string) => HealthSeries;
  /** Of all checks together, where there are several. */
  readonly healthGauges: () => Pick<HealthSeries, "healthy" | "degraded">;
  /** Forgets all of it; the handles are dead afterwards. */
  remove(): void;
}

type RareEvent =
  | "assignment_stale"
  | "assignment_timeout_received"
  | "upstream_cx_total"
  | ZoneEvent;

export interface BreakerGauges {
  readonly connections: Gauge;
  readonly pending: Gauge;
  readonly requests: Gauge;
  readonly retries: Gauge;
  readonly pools: () => Gauge;
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
  const gauge = (suffix: string, more?: Readonly<Record<string, string>>): Gauge => {
    const entry = named(suffix, more);
    return metrics.gauge(entry.name, help, entry.labels);
  };
  const health = new Map<string, HealthSeries>();
  const healthOf = (check: string): HealthSeries => {
    let made = health.get(check);
    if (made === undefined) health.set(check, (made = healthSeries({ counter, gauge }, check)));
    return made;
  };
  const rare = new Map<string, Counter>();
  let http2: PeerCounters | undefined;
  const breakers = new Map<string, BreakerGauges>();
  const breakersOf = (priority: string): BreakerGauges => {
    let made = breakers.get(priority);
    if (made === undefined) breakers.set(priority, (made = breakerGauges(priority, gauge)));
    return made;
  };
  return {
    health: healthOf,
    healthGauges: () => healthGauges({ gauge }),
    counters: requestCounters(metrics, { counter, gauge, named }),
    http2: () => (http2 ??= clusterHttp2Counters((name) => counter(name))),
    connectionOverflow: counter("upstream_cx_overflow"),
    pendingOverflow: counter("upstream_rq_pending_overflow"),
    poolOverflow: () => counter("upstream_cx_pool_overflow"),
    circuitBreakersOpen: breakersOf,
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
    statesDropped: () => counter("internal_states_dropped"),
    clientsDropped: () => counter("proxy_header_clients_dropped"),
    count(event) {
      let found = rare.get(event);
      if (found === undefined) rare.set(event, (found = counter(event)));
      found.add(1);
    },
    remove() {
      for (const entry of names) metrics.remove(entry.name, entry.labels);
    },
  };
}

function breakerGauges(priority: string, gauge: Makers["gauge"]): BreakerGauges {
  return {
    connections: gauge(`circuit_breakers_${priority}_cx_open`),
    pending: gauge(`circuit_breakers_${priority}_rq_pending_open`),
    requests: gauge(`circuit_breakers_${priority}_rq_open`),
    retries: gauge(`circuit_breakers_${priority}_rq_retry_open`),
    pools: () => gauge(`circuit_breakers_${priority}_cx_pool_open`),
  };
}

/** Gauges that every thread sets to the same fact, or to its own view of one. */
export const factGauges: ReadonlySet<string> = new Set([
  "envoy_cluster_membership_total",
  "envoy_cluster_membership_healthy",
  "envoy_cluster_membership_degraded",
  "envoy_cluster_membership_excluded",
  "envoy_cluster_outlier_detection_ejections_active",
  ...["default", "high"].flatMap((priority) =>
    ["cx_open", "cx_pool_open", "rq_pending_open", "rq_open", "rq_retry_open"].map(
      (name) => `envoy_cluster_circuit_breakers_${priority}_${name}`,
    ),
  ),
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
  const retries = make.counter("upstream_rq_retry");
  const retrySuccess = make.counter("upstream_rq_retry_success");
  const retryOverflow = make.counter("upstream_rq_retry_overflow");
  const timeouts = make.counter("upstream_rq_timeout");
  const tryTimeouts: Counter[] = [];
  const named = new NamedAnswers(metrics, make);
  const redirects: { succeeded?: Counter; failed?: Counter } = {};
  return {
    onConnectionOpened() {
      opened.add(1);
      active.add(1);
    },
    onConnectionClosed: () => active.add(-1),
    onConnectFailure: () => connectFailed.add(1),
    onRequest: () => requests.add(1),
    onResponse: answerCounters(metrics, make, ""),
    onRetry: () => retries.add(1),
    onRetrySuccess: () => retrySuccess.add(1),
    onRetryOverflow: () => retryOverflow.add(1),
    onTimeout: (attempts) => timeouts.add(attempts),
    onTryTimeout(isIdle) {
      tryTimeouts[isIdle ? 1 : 0] ??= make.counter(
        isIdle ? "upstream_rq_per_try_idle_timeout" : "upstream_rq_per_try_timeout",
      );
      tryTimeouts[isIdle ? 1 : 0]?.add(1);
    },
    onRedirect(isFollowed) {
      const end = isFollowed ? "succeeded" : "failed";
      redirects[end] ??= make.counter(`upstream_internal_redirect_${end}_total`);
      redirects[end].add(1);
    },
    onNamedResponse: (name, status, durationMs) => named.of(name)?.(status, durationMs),
  };
}

/** Names that requests may give what their answers are counted as, beside the cluster's own. */
const answerNamesMax = 64;

/** Series by the names that internal clients ask for, of a cluster. */
class NamedAnswers {
  readonly #metrics: MetricRegistry;
  readonly #make: Makers;
  readonly #known = new Map<string, ClusterCounters["onResponse"]>();
  #refused: Counter | undefined;

  constructor(metrics: MetricRegistry, make: Makers) {
    this.#metrics = metrics;
    this.#make = make;
  }

  /** Undefined for one name too many. */
  of(text: string): ClusterCounters["onResponse"] | undefined {
    // As Envoy writes names of metrics.
    const name = text.replaceAll(/[^A-Za-z0-9_]/g, "_");
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    if (this.#known.size >= answerNamesMax) {
      this.#refused ??= this.#make.counter("alt_stat_names_dropped");
      this.#refused.add(1);
      return undefined;
    }
    const made = answerCounters(this.#metrics, this.#make, `${name}_`);
    this.#known.set(name, made);
    return made;
  }
}

function answerCounters(
  metrics: MetricRegistry,
  make: Makers,
  prefix: string,
): ClusterCounters["onResponse"] {
  const completed = make.counter(`${prefix}upstream_rq_completed`);
  const time = make.named(`${prefix}upstream_rq_time`);
  const durations = metrics.histogram(time.name, help, standardBuckets, time.labels);
  const classes: Counter[] = [];
  return (status, durationMs) => {
    completed.add(1);
    durations.record(durationMs);
    const index = Math.floor(status / 100);
    const ofClass = (classes[index] ??= make.counter(`${prefix}upstream_rq_xx`, {
      response_code_class: String(index),
    }));
    ofClass.add(1);
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
