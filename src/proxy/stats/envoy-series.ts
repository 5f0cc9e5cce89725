/**
 * Envoy's own series in Heddle's proxy, under Envoy's names with Istio's tag names, so that
 * dashboards and alerts work on both data planes. Handles are made once per cluster, connection
 * manager or listener; whoever owns the thing removes its series with it.
 */
import type { Counter, Gauge, Histogram, MetricRegistry } from "../../telemetry/metrics.ts";
import type { ClusterCounters, ClusterEvent } from "../context.ts";
import type { LimitedKind } from "../engine/circuit-breakers.ts";
import type { EjectionCause } from "../engine/outlier-detector.ts";
import type { ZoneEvent } from "../engine/zones.ts";
import { type EndpointStats, EndpointSeries } from "./endpoint-series.ts";
import { clusterHttp2Counters, type PeerCounters } from "../http2/counters.ts";
import {
  breakerFacts,
  type BreakerGauges,
  breakerGauges,
  remainingGauge,
} from "./breaker-series.ts";
import { ConnectionSeries } from "./cluster-connections.ts";
import { type ClusterMakers, makersOf } from "./cluster-makers.ts";
import { healthGauges, type HealthSeries, healthSeries } from "./health-series.ts";
import { type TrackedKinds, trackedSeries, type TrackedStats } from "./tracked-series.ts";

export interface ClusterSeries {
  readonly counters: ClusterCounters;
  /** Made when a version of the cluster speaks it. */
  readonly http2: () => PeerCounters;
  /** Made when the cluster first has a request. */
  readonly requests: () => RequestSeries;
  /** Of a version of the cluster that wants it. */
  readonly tracked: (kinds: TrackedKinds) => TrackedStats;
  /** Of an endpoint (`address:port`) of a version that wants it. */
  readonly endpoint: (address: string, hostname: string) => EndpointStats;
  readonly connectionOverflow: Counter;
  readonly pendingOverflow: Counter;
  /** Requests that had a connection, where only so many may be in flight. */
  readonly requestOverflow: () => Counter;
  /** Requests without a pool, where there may be only so many. */
  readonly poolOverflow: () => Counter;
  /** Made when routes first ask for the priority. */
  readonly circuitBreakersOpen: (priority: "default" | "high") => BreakerGauges;
  /** What is left of a limit, where the cluster wants that told. */
  readonly remaining: (priority: "default" | "high", kind: LimitedKind) => Gauge;
  readonly membershipTotal: Gauge;
  readonly membershipHealthy: Gauge;
  readonly membershipDegraded: Gauge;
  readonly membershipExcluded: Gauge;
  /** Choices among all endpoints, because too few are healthy. */
  readonly panics: Counter;
  readonly ejectionsActive: Gauge;
  readonly ejectionsEnforced: Counter;
  /** Made when it first happens. */
  readonly onEjection: (what: "detected" | "enforced" | "overflow", cause?: EjectionCause) => void;
  readonly onMembershipChange: () => void;
  /** The control plane, or the machine's resolver, was asked which endpoints there are: to what end. */
  readonly onUpdate: (...ends: readonly UpdateEvent[]) => void;
  readonly maxHostWeight: Gauge;
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

/** Of requests that have a connection, and of those that wait for one. */
export interface RequestSeries {
  readonly total: Counter;
  readonly active: Gauge;
  readonly pendingTotal: Counter;
  readonly pendingActive: Gauge;
}

type RareEvent =
  | "assignment_stale"
  | "assignment_timeout_received"
  | "original_dst_host_invalid"
  | "upstream_cx_total"
  | UpdateEvent
  | ZoneEvent;

/** What became of asking for endpoints. */
export type UpdateEvent =
  | "update_attempt"
  | "update_failure"
  | "update_no_rebuild"
  | "update_rejected"
  | "update_success";

/** `clusterName` is the value of the tag `cluster_name`. */
export function clusterSeries(metrics: MetricRegistry, clusterName: string): ClusterSeries {
  const { counter, gauge, histogram, forget, remove } = makersOf(metrics, clusterName);
  const rare = new Map<string, Counter>();
  const rareOf = (suffix: string): Counter => {
    let found = rare.get(suffix);
    if (found === undefined) rare.set(suffix, (found = counter(suffix)));
    return found;
  };
  const countRare = (suffix: string): void => rareOf(suffix).add();
  let requests: RequestSeries | undefined;
  const health = new Map<string, HealthSeries>();
  const healthOf = (check: string): HealthSeries => {
    let made = health.get(check);
    if (made === undefined) health.set(check, (made = healthSeries({ counter, gauge }, check)));
    return made;
  };
  let http2: PeerCounters | undefined;
  const endpoints = new EndpointSeries({ counter, gauge, forget });
  const breakers = new Map<string, BreakerGauges>();
  const breakersOf = (priority: string): BreakerGauges => {
    let made = breakers.get(priority);
    if (made === undefined) breakers.set(priority, (made = breakerGauges(priority, gauge)));
    return made;
  };
  return {
    health: healthOf,
    healthGauges: () => healthGauges({ gauge }),
    counters: requestCounters({ counter, gauge, histogram }),
    http2: () => (http2 ??= clusterHttp2Counters((name) => counter(name))),
    requests: () => (requests ??= requestSeries({ counter, gauge })),
    tracked: (kinds) => trackedSeries(kinds, histogram),
    endpoint: (address, hostname) => endpoints.open(address, hostname),
    connectionOverflow: counter("upstream_cx_overflow"),
    pendingOverflow: counter("upstream_rq_pending_overflow"),
    requestOverflow: () => rareOf("upstream_rq_active_overflow"),
    poolOverflow: () => rareOf("upstream_cx_pool_overflow"),
    circuitBreakersOpen: breakersOf,
    remaining: (priority, kind) => remainingGauge(priority, kind, gauge),
    membershipTotal: gauge("membership_total"),
    membershipHealthy: gauge("membership_healthy"),
    membershipDegraded: gauge("membership_degraded"),
    membershipExcluded: gauge("membership_excluded"),
    panics: counter("lb_healthy_panic"),
    ejectionsActive: gauge("outlier_detection_ejections_active"),
    ejectionsEnforced: counter("outlier_detection_ejections_enforced_total"),
    onEjection: (what, cause) =>
      countRare(
        `outlier_detection_ejections_${what}${cause === undefined ? "" : `_${causeNames[cause]}`}`,
      ),
    onMembershipChange: () => countRare("membership_change"),
    onUpdate(...ends) {
      countRare("update_attempt");
      for (const end of ends) countRare(end);
    },
    maxHostWeight: gauge("max_host_weight"),
    tlsHandshakes: counter("ssl_handshake"),
    tlsErrors: counter("ssl_connection_error"),
    serverNamesDropped: () => rareOf("server_names_dropped"),
    statesDropped: () => rareOf("internal_states_dropped"),
    clientsDropped: () => rareOf("proxy_header_clients_dropped"),
    count: countRare,
    remove,
  };
}

type Makers = Pick<ClusterMakers, "counter" | "gauge" | "histogram">;

function requestSeries(make: Pick<Makers, "counter" | "gauge">): RequestSeries {
  return {
    total: make.counter("upstream_rq_total"),
    active: make.gauge("upstream_rq_active"),
    pendingTotal: make.counter("upstream_rq_pending_total"),
    pendingActive: make.gauge("upstream_rq_pending_active"),
  };
}

/** As Envoy's series name them. */
const causeNames: { readonly [cause in EjectionCause]: string } = {
  consecutive_5xx: "consecutive_5xx",
  consecutive_gateway_failure: "consecutive_gateway_failure",
  consecutive_local_origin_failure: "consecutive_local_origin_failure",
  success_rate: "success_rate",
  failure_percentage: "failure_percentage",
  success_rate_local_origin: "local_origin_success_rate",
  failure_percentage_local_origin: "local_origin_failure_percentage",
};

/** Gauges that every thread sets to the same fact, or to its own view of one. */
export const factGauges: ReadonlySet<string> = new Set([
  "envoy_cluster_membership_total",
  "envoy_cluster_membership_healthy",
  "envoy_cluster_membership_degraded",
  "envoy_cluster_membership_excluded",
  "envoy_cluster_endpoint_healthy",
  "envoy_cluster_outlier_detection_ejections_active",
  "envoy_cluster_max_host_weight",
  ...breakerFacts,
]);

function requestCounters(make: Makers): ClusterCounters {
  const active = make.gauge("upstream_cx_active");
  const opened = make.counter("upstream_cx_total");
  const connectFailed = make.counter("upstream_cx_connect_fail");
  // Seen from the start: rates are taken of it.
  make.counter("upstream_rq_total");
  let made: ConnectionSeries | undefined;
  const connections = (): ConnectionSeries =>
    (made ??= new ConnectionSeries({
      counter: (suffix) => make.counter(suffix),
      timer: (suffix) => make.histogram(suffix),
    }));
  const retries = make.counter("upstream_rq_retry");
  const retrySuccess = make.counter("upstream_rq_retry_success");
  const retryOverflow = make.counter("upstream_rq_retry_overflow");
  const timeouts = make.counter("upstream_rq_timeout");
  const tryTimeouts: Counter[] = [];
  const answers = new AnswerSeries(make, "");
  let retried: AnswerCounts | undefined;
  const gauges: { [name: string]: Gauge } = {};
  const named = new NamedAnswers(make);
  const redirects: { succeeded?: Counter; failed?: Counter } = {};
  return {
    onConnectionOpened() {
      opened.add(1);
      active.add(1);
    },
    onConnected: (tookMs) => connections().onConnected(tookMs),
    onConnectionClosed(end) {
      active.add(-1);
      connections().onClosed(end);
    },
    onConnectFailure: () => connectFailed.add(1),
    count: (event: ClusterEvent) => connections().count(event),
    get meter() {
      return connections().meter;
    },
    onResponse(status, durationMs) {
      answers.count(status);
      answers.times.record(durationMs);
    },
    onUntimedResponse: (status) => answers.count(status),
    onRetriedResponse: (status) => (retried ??= new AnswerCounts(make, "retry_")).count(status),
    changeActive(name, change) {
      (gauges[name] ??= make.gauge(name)).add(change);
    },
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
    onNamedResponse(name, status, durationMs) {
      const found = named.of(name);
      found?.count(status);
      found?.times.record(durationMs);
    },
  };
}

/** Names that requests may give what their answers are counted as, beside the cluster's own. */
const answerNamesMax = 64;

/** Series by the names that internal clients ask for, of a cluster. */
class NamedAnswers {
  readonly #make: Makers;
  readonly #known = new Map<string, AnswerSeries>();
  #refused: Counter | undefined;

  constructor(make: Makers) {
    this.#make = make;
  }

  /** Undefined for one name too many. */
  of(text: string): AnswerSeries | undefined {
    // As Envoy writes names of metrics.
    const name = text.replaceAll(/[^A-Za-z0-9_]/g, "_");
    const known = this.#known.get(name);
    if (known !== undefined) return known;
    if (this.#known.size >= answerNamesMax) {
      this.#refused ??= this.#make.counter("alt_stat_names_dropped");
      this.#refused.add(1);
      return undefined;
    }
    const made = new AnswerSeries(this.#make, `${name}_`);
    this.#known.set(name, made);
    return made;
  }
}

/** Answers by status. */
class AnswerCounts {
  readonly #make: Makers;
  readonly #prefix: string;
  readonly #completed: Counter;
  readonly #classes: Counter[] = [];
  readonly #codes: Counter[] = [];

  constructor(make: Makers, prefix: string) {
    this.#make = make;
    this.#prefix = prefix;
    this.#completed = make.counter(`${prefix}upstream_rq_completed`);
  }

  count(status: number): void {
    this.#completed.add();
    const index = Math.floor(status / 100);
    (this.#classes[index] ??= this.#counter("upstream_rq_xx", "response_code_class", index)).add();
    (this.#codes[status] ??= this.#counter("upstream_rq", "response_code", status)).add();
  }

  #counter(suffix: string, label: string, value: number): Counter {
    return this.#make.counter(`${this.#prefix}${suffix}`, { [label]: String(value) });
  }
}

class AnswerSeries extends AnswerCounts {
  readonly times: Histogram;

  constructor(make: Makers, prefix: string) {
    super(make, prefix);
    this.times = make.histogram(`${prefix}upstream_rq_time`);
  }
}
