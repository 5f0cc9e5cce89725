/**
 * Envoy's series of what configures a proxy: its managers of clusters and listeners, and the answers of
 * a control plane. Kept by the thread that answers the control plane, once for a process.
 */
import type { Clock } from "../../base/clock.ts";
import type { Counter, Gauge, Labels, MetricRegistry } from "../../telemetry/metrics.ts";
import { typeUrls, type XdsUpdate } from "../../xds/feed.ts";
import { Hash64 } from "../engine/xx-hash.ts";

const help = "As Envoy counts it.";

/** What serves, and what waits. */
export interface ManagedCounts {
  readonly active: number;
  readonly warming: number;
}

/** A connection manager that asks for routes by name. */
export interface RouteUser {
  readonly statPrefix: string;
  readonly routes: string;
}

type Managed = "cluster" | "listener";

const managedOf = new Map<string, Managed>([
  [typeUrls.cluster, "cluster"],
  [typeUrls.listener, "listener"],
]);

/** Series of answers of one kind. */
interface Answers {
  readonly prefix: string;
  readonly tellsReloads: boolean;
}

const clusterAnswers: Answers = { prefix: "cluster_manager_cds", tellsReloads: true };
const listenerAnswers: Answers = { prefix: "listener_manager_lds", tellsReloads: false };
const routeAnswers: Answers = { prefix: "http_rds", tellsReloads: true };

interface AnswerFacts {
  readonly version: string;
  readonly isRefused: boolean;
  /** Something has changed by it. */
  readonly isReload: boolean;
}

export class ConfigurationSeries {
  readonly #metrics: MetricRegistry;
  readonly #clock: Clock;
  readonly #changes = new Map<string, Counter>();
  readonly #asked = new Map<string, Counter>();
  readonly #gauges: Readonly<Record<Managed, { active: Gauge; warming: Gauge }>>;
  readonly #workersStarted: Gauge;
  /** Envoy has one for each of its workers. */
  readonly #created: Counter;

  constructor(metrics: MetricRegistry, clock: Clock) {
    this.#metrics = metrics;
    this.#clock = clock;
    for (const managed of ["cluster", "listener"] as const) {
      for (const change of ["added", "modified", "removed"] as const) {
        this.#changes.set(`${managed} ${change}`, this.#change(managed, change));
      }
    }
    this.#gauges = {
      cluster: {
        active: metrics.gauge("envoy_cluster_manager_active_clusters", help),
        warming: metrics.gauge("envoy_cluster_manager_warming_clusters", help),
      },
      listener: {
        active: metrics.gauge("envoy_listener_manager_total_listeners_active", help),
        warming: metrics.gauge("envoy_listener_manager_total_listeners_warming", help),
      },
    };
    this.#created = metrics.counter("envoy_listener_manager_listener_create_success", help);
    this.#workersStarted = metrics.gauge("envoy_listener_manager_workers_started", help);
  }

  #change(managed: Managed, change: string): Counter {
    return this.#metrics.counter(`envoy_${managed}_manager_${managed}_${change}`, help);
  }

  onResource(typeUrl: string, change: "added" | "modified" | "removed"): void {
    const managed = managedOf.get(typeUrl);
    if (managed === undefined) return;
    this.#changes.get(`${managed} ${change}`)?.add();
    if (managed === "listener" && change !== "removed") this.#created.add();
  }

  /**
   * One answer was accepted or refused. What nobody has answered, as what stands in a bootstrap, brings
   * new wishes at most.
   */
  onAnswer(update: XdsUpdate, isRefused: boolean, users: readonly RouteUser[]): void {
    const { typeUrl, version } = update;
    if (typeUrl === typeUrls.listener) this.#askForRoutes(users);
    if (version === undefined) return;
    const answer = { version, isRefused, isReload: !isRefused };
    if (typeUrl === typeUrls.cluster) this.#answered(clusterAnswers, {}, answer);
    if (typeUrl === typeUrls.listener) this.#answered(listenerAnswers, {}, answer);
    if (typeUrl !== typeUrls.route) return;
    const changed = new Set(update.resources.map(({ name }) => name));
    for (const name of [...changed, ...(update.unchanged ?? [])]) {
      const isReload = !isRefused && changed.has(name);
      for (const labels of labelsOf(users.filter(({ routes }) => routes === name))) {
        this.#answered(routeAnswers, labels, { ...answer, isReload });
      }
    }
  }

  /** Envoy counts as an attempt what it asks for first, then each answer. */
  #askForRoutes(users: readonly RouteUser[]): void {
    for (const labels of labelsOf(users)) this.#attempts(routeAnswers, labels);
  }

  /** The first time it is looked for, it counts as asked for. */
  #attempts({ prefix }: Answers, labels: Labels): Counter {
    const key = `${prefix} ${JSON.stringify(labels)}`;
    const known = this.#asked.get(key);
    if (known !== undefined) return known;
    const attempts = this.#metrics.counter(`envoy_${prefix}_update_attempt`, help, labels);
    attempts.add();
    this.#asked.set(key, attempts);
    return attempts;
  }

  #answered(answers: Answers, labels: Labels, { version, isRefused, isReload }: AnswerFacts): void {
    this.#attempts(answers, labels).add();
    const name = (suffix: string): string => `envoy_${answers.prefix}_${suffix}`;
    const count = (suffix: string): void => this.#metrics.counter(name(suffix), help, labels).add();
    count(isRefused ? "update_rejected" : "update_success");
    if (isRefused) return;
    const set = (suffix: string, value: number): void =>
      this.#metrics.gauge(name(suffix), help, labels).set(value);
    const nowMs = this.#clock.nowMs();
    set("update_time", nowMs);
    set("version", versionOf(version));
    if (!answers.tellsReloads || !isReload) return;
    count("config_reload");
    set("config_reload_time_ms", nowMs);
  }

  show(managed: Managed, { active, warming }: ManagedCounts): void {
    this.#gauges[managed].active.set(active);
    this.#gauges[managed].warming.set(warming);
  }

  showStarted(): void {
    this.#workersStarted.set(1);
  }
}

/** A connection manager may stand in several filter chains, and in two listeners. */
function labelsOf(users: readonly RouteUser[]): readonly Labels[] {
  const pairs = new Map(users.map((user) => [`${user.statPrefix} ${user.routes}`, user]));
  return [...pairs.values()].map(({ statPrefix, routes }) => ({
    http_conn_manager_prefix: statPrefix,
    rds_route_config: routes,
  }));
}

const hash = new Hash64();

/** Envoy's number of a version, as exactly as a number here holds it. */
function versionOf(version: string): number {
  return Number(hash.ofText(version).toBigInt());
}
