/**
 * The clusters of a data plane: which there are, their endpoints, and which version of each serves.
 *
 * A new version of a cluster warms beside the old one until its endpoints and secrets are there,
 * then takes its place at once; streams keep the version they began with.
 */
import type { SecretOrigin } from "../xds/feed.ts";
import type { Resolver } from "../net/resolver.ts";
import type { ClientTls } from "../net/dialler.ts";
import { isFileSecret, type SecretSource } from "../net/secret-source.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import type { ClusterLoadAssignment } from "../wire/gen/ts/envoy/config/endpoint/v3/endpoint.ts";
import type { UpstreamTlsContext } from "../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import { plainPolicy, readAssignment, readPolicy, type TlsFor } from "./cluster/assignment.ts";
import { DnsWatch } from "./cluster/dns-watch.ts";
import { meetsCriteria } from "./cluster/metadata.ts";
import type { EndpointMetadata } from "./cluster/endpoint.ts";
import { EndpointWishes } from "./cluster/endpoint-wishes.ts";
import { type LocalCluster, localZonesOf } from "./cluster/local-zones.ts";
import type { ClusterPlan } from "./cluster/plan.ts";
import type { HealthNews, HealthReport } from "./cluster/cluster-health.ts";
import type { Ejection } from "./cluster/ejections.ts";
import type { ClusterTraffic } from "./cluster/members.ts";
import { type ClusterServices, RunningCluster } from "./cluster/running-cluster.ts";
import type { ClusterSource, UpstreamCluster } from "./context.ts";
import type { LocalZones } from "./engine/zones.ts";
import { type ClusterSeries, clusterSeries, type UpdateEvent } from "./stats/envoy-series.ts";

export interface ClusterPoolOptions extends ClusterServices {
  readonly metrics: MetricRegistry;
  readonly secrets: SecretSource;
  readonly resolver: Resolver;
  /** Throws for what cannot be honoured; `statName` labels its counters. */
  readonly clientTls: (context: UpstreamTlsContext, statName: string) => ClosableTls;
  /** The proxy's own, where zones are looked at. */
  readonly localCluster?: LocalCluster | undefined;
  /** What checks have found, for threads that do not check. */
  readonly onHealthReport?: ((report: HealthReport) => void) | undefined;
}

export type ClosableTls = ClientTls & { close(): void };

interface Version {
  readonly contexts: readonly ClosableTls[];
  readonly running: RunningCluster;
  readonly tlsFor: TlsFor;
  readonly dns: DnsWatch | undefined;
}

interface Entry {
  readonly series: ClusterSeries;
  readonly traffic: ClusterTraffic;
  active: Version | undefined;
  warming: Version | undefined;
}

function servicesOf({ active, warming }: Entry): readonly (string | undefined)[] {
  return [serviceOf(active), serviceOf(warming)];
}

function serviceOf(version: Version | undefined): string | undefined {
  const discovery = version?.running.plan.discovery;
  return discovery?.kind === "eds" ? discovery.serviceName : undefined;
}

export class ClusterPool implements ClusterSource {
  readonly #options: ClusterPoolOptions;
  readonly #services: ClusterServices;
  /** Of the proxy's own cluster, as it serves now. */
  #localZones: LocalZones | undefined;
  readonly #entries = new Map<string, Entry>();
  /** Last assignment of each service name, for clusters that appear or change later. */
  readonly #assignments = new Map<string, ClusterLoadAssignment>();
  readonly #wishes = new EndpointWishes<Entry>();
  /** Those that serve and are aggregates of others. */
  readonly #aggregates = new Set<RunningCluster>();
  readonly #stopSecrets: () => void;
  /** Told when some cluster has become ready. */
  onReady: () => void = () => undefined;

  constructor(options: ClusterPoolOptions) {
    this.#options = options;
    this.#services = {
      ...options,
      zonesFor: ({ name }) => (name === options.localCluster?.name ? undefined : this.#localZones),
      onMembers: (cluster) => this.#onMembers(cluster),
      findCluster: (name) => this.#entries.get(name)?.active?.running,
    };
    this.#stopSecrets = options.secrets.onChange(() => this.#promoteAll());
  }

  get(name: string): UpstreamCluster | undefined {
    return this.#entries.get(name)?.active?.running;
  }

  /** Known, serving or not yet. */
  has(name: string): boolean {
    return this.#entries.has(name);
  }

  /** The versions that serve, in order of name. */
  active(): readonly RunningCluster[] {
    return [...this.#entries.values()]
      .flatMap(({ active }) => (active === undefined ? [] : [active.running]))
      .toSorted((a, b) => (a.name < b.name ? -1 : 1));
  }

  /** As another thread has decided, by what it has seen. */
  eject(ejection: Ejection): void {
    this.#entries.get(ejection.cluster)?.active?.running.eject(ejection);
  }

  /** Another thread, which checks, has told. */
  takeHealth(report: HealthReport): void {
    this.#options.toldHealth?.take(report);
    const entry = this.#entries.get(report.cluster);
    if (entry === undefined) return;
    entry.active?.running.onHealthTold(report.returned);
    entry.warming?.running.onHealthTold(report.returned);
    this.#promote(entry);
  }

  /** All that checks have found, for a thread that has just begun. */
  healthReports(): readonly HealthReport[] {
    return [...this.#entries.values()].flatMap(({ active }) =>
      active?.running.plan.health === undefined ? [] : [wholeReport(active.running)],
    );
  }

  /** Another thread, which does not check, has seen. */
  takeHealthNews(news: HealthNews): void {
    const entry = this.#entries.get(news.cluster);
    if (entry === undefined) return;
    if (news.kind === "traffic") entry.traffic.isSeen = true;
    else entry.active?.running.suspect(news.endpoint);
  }

  /** Before what threads have in flight together is shown. */
  refreshLimits(): void {
    for (const { active } of this.#entries.values()) active?.running.refreshLimits();
  }

  get counts(): { readonly active: number; readonly warming: number } {
    let warming = 0;
    for (const { active } of this.#entries.values()) if (active === undefined) warming++;
    return { active: this.#entries.size - warming, warming };
  }

  /** Names of clusters that have no version serving yet. */
  warmingNames(): readonly string[] {
    return [...this.#entries].flatMap(([name, { active }]) => (active === undefined ? [name] : []));
  }

  /** Service names whose endpoints (EDS) are wanted; the same set until it changes. */
  endpointNames(): ReadonlySet<string> {
    return this.#wishes.names;
  }

  secretOrigins(): ReadonlyMap<string, SecretOrigin> {
    const origins = new Map<string, SecretOrigin>();
    for (const { active, warming } of this.#entries.values()) {
      for (const version of [active, warming]) {
        if (version === undefined) continue;
        for (const [name, origin] of version.running.plan.secrets) origins.set(name, origin);
      }
    }
    return origins;
  }

  /** Throws a refusal, before anything has changed. */
  apply(plan: ClusterPlan): void {
    const series =
      this.#entries.get(plan.name)?.series ?? clusterSeries(this.#options.metrics, plan.statName);
    const traffic = this.#entries.get(plan.name)?.traffic ?? { isSeen: false };
    const version = this.#tryVersion(plan, series, traffic);
    const entry = this.#entries.get(plan.name) ?? {
      series,
      traffic,
      active: undefined,
      warming: undefined,
    };
    this.#entries.set(plan.name, entry);
    const services = servicesOf(entry);
    closeVersion(entry.warming);
    entry.warming = version;
    this.#wishes.update(entry, services, servicesOf(entry));
    const { discovery } = plan;
    const known =
      discovery.kind === "eds" ? this.#assignments.get(discovery.serviceName) : undefined;
    if (known !== undefined) setAssignment(version, known);
    this.#promote(entry);
  }

  remove(name: string): void {
    const entry = this.#entries.get(name);
    if (entry === undefined) return;
    this.#entries.delete(name);
    const services = servicesOf(entry);
    if (entry.active !== undefined) this.#aggregates.delete(entry.active.running);
    closeVersion(entry.active);
    closeVersion(entry.warming);
    entry.active = undefined;
    entry.warming = undefined;
    this.#wishes.update(entry, services, servicesOf(entry));
    entry.series.remove();
    for (const aggregate of this.#aggregates) aggregate.onCluster(name);
    const gone = { cluster: name, flags: new Map<string, number>(), isWhole: true, returned: [] };
    this.#options.onHealthReport?.(gone);
  }

  /** Throws a refusal, before anything has changed. */
  applyEndpoints(assignment: ClusterLoadAssignment): void {
    try {
      readAssignment(assignment, () => undefined, "addresses");
      readPolicy(assignment);
    } catch (thrown) {
      this.#countUpdate(assignment.clusterName, "update_rejected");
      throw thrown;
    }
    this.#assignments.set(assignment.clusterName, assignment);
    this.#countUpdate(assignment.clusterName, "update_success");
    for (const entry of this.#wishes.of(assignment.clusterName)) {
      for (const version of [entry.active, entry.warming]) {
        if (version === undefined || serviceOf(version) !== assignment.clusterName) continue;
        setAssignment(version, assignment);
      }
      this.#promote(entry);
    }
  }

  #countUpdate(serviceName: string, end: UpdateEvent): void {
    // Told once for a process, as by `Members`.
    if (this.#options.toldHealth !== undefined) return;
    for (const { series } of this.#wishes.of(serviceName)) series.onUpdate(end);
  }

  /** The service has no endpoints any more, or never had. */
  removeEndpoints(serviceName: string): void {
    this.applyEndpoints({ clusterName: serviceName, endpoints: [], namedEndpoints: {} });
    this.#assignments.delete(serviceName);
  }

  /** Endpoint assignments as last applied, for the admin interface. */
  assignments(): ReadonlyMap<string, ClusterLoadAssignment> {
    return this.#assignments;
  }

  close(): void {
    this.#stopSecrets();
    for (const name of this.#entries.keys()) this.remove(name);
  }

  /** A refused first version leaves no series behind. */
  #tryVersion(plan: ClusterPlan, series: ClusterSeries, traffic: ClusterTraffic): Version {
    try {
      return this.#makeVersion(plan, series, traffic);
    } catch (thrown) {
      if (!this.#entries.has(plan.name)) series.remove();
      throw thrown;
    }
  }

  #makeVersion(plan: ClusterPlan, series: ClusterSeries, traffic: ClusterTraffic): Version {
    const choices = plan.sockets.map(({ criteria, tls, passes, header }) => ({
      criteria,
      passes,
      header,
      tls: tls === undefined ? undefined : this.#options.clientTls(tls, plan.statName),
    }));
    const socketFor = (metadata: EndpointMetadata): (typeof choices)[number] | undefined =>
      choices.find(({ criteria }) => meetsCriteria(metadata, criteria));
    const tlsFor: TlsFor = (metadata) => socketFor(metadata)?.tls;
    const { discovery } = plan;
    // Read before running, so that a refusal leaves nothing behind.
    const localities =
      discovery.kind === "static" || discovery.kind === "dns"
        ? readAssignment(
            discovery.assignment,
            tlsFor,
            discovery.kind === "dns" ? "names" : "addresses",
          )
        : [];
    const policy = "assignment" in discovery ? readPolicy(discovery.assignment) : plainPolicy;
    const running: RunningCluster = new RunningCluster(plan, {
      series,
      services: this.#services,
      tlsFor,
      socketFor,
      traffic,
      onHealth: (flags, returned) => {
        if (this.#entries.get(plan.name)?.active?.running !== running) return;
        this.#options.onHealthReport?.({ cluster: plan.name, flags, isWhole: false, returned });
      },
      onHealthKnown: () => {
        const entry = this.#entries.get(plan.name);
        if (entry !== undefined) this.#promote(entry);
      },
    });
    if (discovery.kind === "static") {
      running.setEndpoints(localities, policy);
    }
    const dns =
      discovery.kind !== "dns"
        ? undefined
        : new DnsWatch(
            {
              cluster: plan.name,
              discovery,
              localities,
              onUpdate: (...ends) => {
                if (this.#options.toldHealth === undefined) series.onUpdate(...ends);
              },
              onEndpoints: (resolved) => {
                running.setEndpoints(resolved, policy);
                const entry = this.#entries.get(plan.name);
                if (entry !== undefined) this.#promote(entry);
              },
            },
            this.#options.resolver,
            this.#services,
          );
    const contexts = choices.flatMap(({ tls }) => (tls === undefined ? [] : [tls]));
    return { running, tlsFor, dns, contexts };
  }

  #promoteAll(): void {
    for (const entry of this.#entries.values()) this.#promote(entry);
  }

  #promote(entry: Entry): void {
    const next = entry.warming;
    if (next === undefined || !next.running.isWarm) return;
    for (const name of next.running.plan.secrets.keys()) {
      // A file may be missing for ever: handshakes are refused until it is there, and nobody else waits for it.
      if (entry.active === undefined && isFileSecret(name)) continue;
      if (this.#options.secrets.get(name) === undefined) return;
    }
    const before = entry.active;
    const services = servicesOf(entry);
    entry.active = next;
    entry.warming = undefined;
    if (before !== undefined) this.#aggregates.delete(before.running);
    if (next.running.memberFor !== undefined) this.#aggregates.add(next.running);
    this.#onMembers(next.running);
    this.#wishes.update(entry, services, servicesOf(entry));
    closeVersion(before);
    this.#reportHealth(entry);
    this.onReady();
  }

  /** Others look at where the members of the proxy's own cluster are. */
  #onMembers(running: RunningCluster): void {
    const { localCluster } = this.#options;
    if (this.get(running.name) === running) {
      for (const aggregate of this.#aggregates) aggregate.onCluster(running.name);
    }
    if (running.name !== localCluster?.name || this.get(running.name) !== running) return;
    const { localities } = running;
    const { locality } = localCluster;
    this.#localZones = localZonesOf(locality, localities, (one) => running.healthOf(one));
    for (const [name, { active, warming }] of this.#entries) {
      if (name === running.name) continue;
      active?.running.onLocalZones();
      warming?.running.onLocalZones();
    }
  }

  #reportHealth({ active }: Entry): void {
    if (active?.running.plan.health === undefined) return;
    this.#options.onHealthReport?.(wholeReport(active.running));
  }
}

function wholeReport(running: RunningCluster): HealthReport {
  return { cluster: running.name, flags: running.healthFlags(), isWhole: true, returned: [] };
}

function setAssignment(version: Version, assignment: ClusterLoadAssignment): void {
  version.running.setEndpoints(
    readAssignment(assignment, version.tlsFor, "addresses"),
    readPolicy(assignment),
  );
}

function closeVersion(version: Version | undefined): void {
  version?.dns?.close();
  version?.running.close();
  for (const context of version?.contexts ?? []) context.close();
}
