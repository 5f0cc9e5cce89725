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

export class ConfigurationSeries {
  readonly #metrics: MetricRegistry;
  readonly #clock: Clock;
  readonly #changes = new Map<string, Counter>();
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

  /** One answer was accepted or refused. Those that stand in a bootstrap are nobody's answer. */
  onAnswer(update: XdsUpdate, isRefused: boolean, users: readonly RouteUser[]): void {
    const { typeUrl, resources } = update;
    if (resources.some(({ version }) => version === "static")) return;
    if (typeUrl === typeUrls.cluster) this.#answered("cluster_manager_cds", {}, update, isRefused);
    if (typeUrl === typeUrls.listener)
      this.#answered("listener_manager_lds", {}, update, isRefused);
    if (typeUrl !== typeUrls.route) return;
    for (const resource of resources) {
      const own = users.filter(({ routes }) => routes === resource.name);
      // A connection manager may stand in several filter chains, and in two listeners.
      for (const statPrefix of new Set(own.map((user) => user.statPrefix))) {
        const labels = { http_conn_manager_prefix: statPrefix, rds_route_config: resource.name };
        this.#answered("http_rds", labels, { ...update, resources: [resource] }, isRefused);
      }
    }
  }

  #answered(
    prefix: string,
    labels: Labels,
    ...[{ resources }, isRefused]: [update: XdsUpdate, isRefused: boolean]
  ): void {
    const name = (suffix: string): string => `envoy_${prefix}_${suffix}`;
    const count = (suffix: string): void => this.#metrics.counter(name(suffix), help, labels).add();
    count("update_attempt");
    count(isRefused ? "update_rejected" : "update_success");
    if (isRefused) return;
    const set = (suffix: string, value: number): void =>
      this.#metrics.gauge(name(suffix), help, labels).set(value);
    set("update_time", this.#clock.nowMs());
    set("version", versionOf(resources.at(-1)?.version ?? ""));
    if (prefix === "http_rds") count("config_reload");
  }

  show(managed: Managed, { active, warming }: ManagedCounts): void {
    this.#gauges[managed].active.set(active);
    this.#gauges[managed].warming.set(warming);
  }

  showStarted(): void {
    this.#workersStarted.set(1);
  }
}

const hash = new Hash64();

/** Envoy's number of a version, as exactly as a number here holds it. */
function versionOf(version: string): number {
  return Number(hash.ofText(version).toBigInt());
}
