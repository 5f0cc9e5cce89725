/**
 * The endpoints of one version of a cluster and what is known of their health: by the control plane,
 * by the checks, by how their requests have fared. Who may be chosen is the balancer's business.
 */
import type { Timer } from "../../base/clock.ts";
import { formatSocketAddress } from "../../base/socket-address.ts";
import { healthFlag } from "../engine/health-check.ts";
import type { Health, LocalityMembers } from "../engine/priorities.ts";
import { socketOf } from "../http/dial-options.ts";
import type { ClusterSeries } from "../stats/envoy-series.ts";
import { type AssignmentPolicy, plainPolicy, type TlsFor } from "./assignment.ts";
import type { ClusterHealth, HealthMember } from "./cluster-health.ts";
import { CombinedHealth } from "./combined-health.ts";
import { type Ejection, Ejections } from "./ejections.ts";
import {
  Endpoint,
  type EndpointDescription,
  type EndpointMetadata,
  type EndpointStatus,
} from "./endpoint.ts";
import type { HealthPlan } from "./health-plan.ts";
import type { ClusterPlan } from "./plan.ts";
import { countByHealth, endpointKey, isWell, maxWeightOf } from "./member-facts.ts";
import type { ClusterServices, LocalityDescription } from "./running-cluster.ts";
import type { SocketChoice } from "./sockets.ts";
import { ToldClusterHealth, ToldHealth } from "./told-health.ts";

/** What a version of a cluster shares with the one before. */
export interface ClusterTraffic {
  /** It has had connections for requests. */
  isSeen: boolean;
}

export interface MembersOptions {
  readonly series: ClusterSeries;
  readonly services: ClusterServices;
  readonly tlsFor: TlsFor;
  /** What connections to an endpoint tell it. */
  readonly socketFor: (
    metadata: EndpointMetadata,
  ) => Pick<SocketChoice, "passes" | "header"> | undefined;
  readonly traffic: ClusterTraffic;
  /** Checks have found this: flags by endpoint, and addresses of those whose ejection is over. */
  readonly onHealth: (flags: ReadonlyMap<string, number>, returned: readonly string[]) => void;
  /** Every endpoint's first check is over. */
  readonly onHealthKnown: () => void;
}

/** With which an endpoint takes requests like any other. */
const fitStatuses: ReadonlySet<EndpointStatus> = new Set(["UNKNOWN", "HEALTHY"]);

interface Locality extends LocalityMembers<Endpoint> {
  readonly name: string;
}

export class Members {
  readonly #plan: ClusterPlan;
  readonly #options: MembersOptions;
  readonly #onChange: () => void;
  readonly #ejections: Ejections | undefined;
  readonly #health: ClusterHealth | undefined;
  #endpoints = new Map<string, Endpoint>();
  #localities: readonly Locality[] = [];
  #policy = plainPolicy;
  /** By `address:port`; made when the first request insists on an endpoint. */
  #byHost: ReadonlyMap<string, Endpoint> | undefined;
  #staleTimer: Timer | undefined;
  /** Before that nobody is served by this version. */
  #wasHealthKnown = false;

  constructor(plan: ClusterPlan, options: MembersOptions, onChange: () => void) {
    const { services, series } = options;
    this.#plan = plan;
    this.#options = options;
    this.#onChange = onChange;
    if (plan.outlier !== undefined) {
      const cluster = plan.name;
      this.#ejections = new Ejections(plan.outlier, { cluster, services, series, onChange });
    }
    if (plan.health !== undefined) this.#health = this.#healthFor(plan.health);
  }

  get localities(): readonly LocalityMembers<Endpoint>[] {
    return this.#localities;
  }

  get policy(): AssignmentPolicy {
    return this.#policy;
  }

  /** Nothing is to be found out before it may serve. */
  get isHealthKnown(): boolean {
    return this.#health?.isKnown !== false;
  }

  /** By endpoint, as another thread needs them. */
  healthFlags(): ReadonlyMap<string, number> {
    const flags = new Map<string, number>();
    for (const { healthKey, isChecked, checked } of this.#endpoints.values()) {
      if (isChecked) flags.set(healthKey, checked);
    }
    return flags;
  }

  isEjected(endpoint: Endpoint): boolean {
    return this.#ejections?.has(endpoint) === true;
  }

  find(host: string): Endpoint | undefined {
    this.#byHost ??= new Map(
      [...this.#endpoints.values()].map((endpoint) => [
        formatSocketAddress(endpoint.address),
        endpoint,
      ]),
    );
    return this.#byHost.get(host);
  }

  healthOf(endpoint: Endpoint): Health {
    const { status, checked } = endpoint;
    if (status === "DRAINING" || (checked & uncounted) !== 0) return "excluded";
    if (this.isEjected(endpoint) || (checked & healthFlag.failed) !== 0) return "unfit";
    if (status === "DEGRADED") return "degraded";
    if (!fitStatuses.has(status)) return "unfit";
    return (checked & healthFlag.degraded) !== 0 ? "degraded" : "healthy";
  }

  /** The control plane's word, unless we know better. */
  statusOf(endpoint: Endpoint): EndpointStatus {
    const { status, checked } = endpoint;
    if (this.isEjected(endpoint) || (checked & healthFlag.failed) !== 0) return "UNHEALTHY";
    const isDegraded = (checked & healthFlag.degraded) !== 0;
    return isDegraded && fitStatuses.has(status) ? "DEGRADED" : status;
  }

  /** Replaces all of them. One whose address, metadata and TLS stay the same lives on. */
  set(
    localities: readonly LocalityDescription[],
    policy: AssignmentPolicy,
    make: (description: EndpointDescription) => Endpoint,
  ): void {
    const before = this.#endpoints;
    const after = new Map<string, Endpoint>();
    this.#policy = policy;
    const named = localities.map(({ name = "", priority, weight, endpoints }) => ({
      name,
      priority,
      weight,
      members: endpoints.map((description) => {
        const key = endpointKey(description);
        const kept = after.get(key) ?? before.get(key);
        const isKept = kept !== undefined && kept.configuredTls === description.tls;
        const endpoint = isKept ? kept : make(description);
        endpoint.describe(description);
        endpoint.priority = priority;
        after.set(key, endpoint);
        return endpoint;
      }),
    }));
    this.#localities = this.#withStaying(named, after);
    this.#endpoints = after;
    this.#byHost = undefined;
    this.#ejections?.setMembers(after.values());
    this.#followHealth();
    let isChanged = after.size !== before.size;
    for (const [key, endpoint] of before) {
      if (after.get(key) === endpoint) continue;
      isChanged = true;
      endpoint.remove();
    }
    // Told once for a process: by the thread that checks endpoints, where others do not.
    const { series, services } = this.#options;
    if (isChanged && services.toldHealth === undefined) series.onMembershipChange();
    if (isChanged && this.#plan.closesOnChange) for (const each of after.values()) each.drain();
    this.#forgetLater(policy, make);
    this.#noteFit();
    this.#onChange();
  }

  eject({ endpoint, durationMs }: Ejection): void {
    for (const one of this.#endpoints.values()) {
      if (formatSocketAddress(one.address) === endpoint) this.#ejections?.eject(one, durationMs);
    }
    this.#onChange();
  }

  report(...report: Parameters<Ejections["report"]>): void {
    this.#ejections?.report(...report);
  }

  /** It has told a request that it is not well. */
  suspect(healthKey: string): void {
    this.#health?.suspect(healthKey);
  }

  /** What the checks have found has changed, here or where they are made. */
  onHealthTold(returned: readonly string[] = []): void {
    for (const endpoint of this.#endpoints.values()) {
      if (returned.includes(endpoint.healthKey)) this.#ejections?.onChecked(endpoint);
    }
    this.#applyHealth();
  }

  /** Those that stay in use beyond it close by themselves. */
  close(): void {
    this.#ejections?.close();
    this.#health?.close();
    this.#staleTimer?.cancel();
    for (const endpoint of this.#endpoints.values()) endpoint.remove();
  }

  tell(): void {
    const counts = countByHealth(this.#endpoints.values(), (one) => this.healthOf(one));
    const { series } = this.#options;
    series.membershipTotal.set(this.#endpoints.size);
    if (this.#plan.discovery.kind !== "static") {
      series.maxHostWeight.set(maxWeightOf(this.#endpoints.values()));
    }
    series.membershipHealthy.set(counts.healthy);
    series.membershipDegraded.set(counts.degraded);
    series.membershipExcluded.set(counts.excluded);
    series.ejectionsActive.set(this.#ejections?.count ?? 0);
  }

  /** Whoever is named no more but passes its checks stays until it fails: names may be wrong. */
  #withStaying(localities: readonly Locality[], after: Map<string, Endpoint>): readonly Locality[] {
    const { health } = this.#plan;
    if (health === undefined || health.forgetsHealthy) return localities;
    const named = new Set([...after.values()].map(({ healthKey }) => healthKey));
    const staying = new Set<Endpoint>();
    for (const [key, one] of this.#endpoints) {
      if (named.has(one.healthKey) || !one.isChecked || !isWell(one)) continue;
      one.isLeaving = true;
      after.set(key, one);
      staying.add(one);
    }
    if (staying.size === 0) return localities;
    const all = [...localities];
    for (const { name, priority, members: before } of this.#localities) {
      const members = before.filter((one) => staying.has(one));
      if (members.length === 0) continue;
      const at = all.findIndex((other) => other.name === name && other.priority === priority);
      const found = all[at];
      if (found === undefined) all.push({ name, priority, weight: 0, members });
      else all[at] = { ...found, members: [...found.members, ...members] };
    }
    return all;
  }

  #followHealth(): void {
    const health = this.#health;
    if (health === undefined) return;
    this.#tellChecks(health);
    for (const endpoint of this.#endpoints.values()) {
      endpoint.checked = endpoint.isChecked ? health.flagsOf(endpoint.healthKey) : 0;
    }
    if (health.isKnown) this.#wasHealthKnown = true;
  }

  #tellChecks(health: ClusterHealth): void {
    const members = new Map<string, HealthMember>();
    for (const { name, members: here } of this.#localities) {
      for (const endpoint of here) {
        if (endpoint.isChecked) members.set(endpoint.healthKey, this.#memberOf(endpoint, name));
      }
    }
    health.setMembers(members);
  }

  #memberOf(endpoint: Endpoint, locality: string): HealthMember {
    const { discovery, sourceAddresses } = this.#plan;
    const { address, check, tls, internal, header } = endpoint;
    const asked = { address: check?.address ?? address.address, port: check?.port || address.port };
    const isIpv6 = asked.address.includes(":");
    return {
      address,
      metadata: endpoint.metadata,
      locality,
      target: {
        address: asked,
        hostname: check?.hostname ?? "",
        tls,
        // Of the family of the address that is asked, which need not be the endpoint's own.
        sourceAddress: sourceAddresses.find((one) => one.includes(":") === isIpv6),
        internal,
        header,
      },
      isSameAnywhere: discovery.kind === "dns" && !discovery.isStrict,
    };
  }

  #applyHealth(): void {
    const health = this.#health;
    if (health === undefined) return;
    let hasLeft = false;
    for (const [key, endpoint] of this.#endpoints) {
      if (!endpoint.isChecked) continue;
      const before = endpoint.checked;
      endpoint.checked = health.flagsOf(endpoint.healthKey);
      if ((endpoint.checked & ~before & healthFlag.failed) === 0) continue;
      // Other connections may fare better where the way there is what fails.
      endpoint.drain();
      if (!endpoint.isLeaving) continue;
      this.#endpoints.delete(key);
      endpoint.remove();
      hasLeft = true;
    }
    if (hasLeft) this.#forgetLeft(health);
    this.#noteFit();
    if (this.#wasHealthKnown) return this.#onChange();
    if (!health.isKnown) return;
    this.#wasHealthKnown = true;
    this.#onChange();
    this.#options.onHealthKnown();
  }

  #forgetLeft(health: ClusterHealth): void {
    this.#byHost = undefined;
    this.#localities = this.#localities.map((each) => ({
      ...each,
      members: each.members.filter((one) => one.isRemoved !== true),
    }));
    this.#ejections?.setMembers(this.#endpoints.values());
    this.#tellChecks(health);
  }

  /** What nobody confirms any more is not true for ever. */
  #forgetLater(
    { staleAfterMs }: AssignmentPolicy,
    make: (description: EndpointDescription) => Endpoint,
  ): void {
    this.#staleTimer?.cancel();
    this.#staleTimer = undefined;
    // As in Envoy: what stands in the cluster itself stays true.
    if (staleAfterMs <= 0 || this.#plan.discovery.kind !== "eds") return;
    const { services, series } = this.#options;
    const { clock, log } = services;
    series.count("assignment_timeout_received");
    this.#staleTimer = clock.schedule(staleAfterMs, () => {
      log.warn("endpoints have become stale", { cluster: this.#plan.name, staleAfterMs });
      series.count("assignment_stale");
      this.set([], plainPolicy, make);
    });
  }

  /** For slow starts. */
  #noteFit(): void {
    const nowMs = this.#options.services.clock.monotonicMs();
    for (const endpoint of this.#endpoints.values()) {
      if (fitStatuses.has(endpoint.status) && (endpoint.checked & healthFlag.failed) === 0) {
        endpoint.healthySinceMs ??= nowMs;
      } else if ((endpoint.checked & healthFlag.failed) !== 0) {
        endpoint.healthySinceMs = undefined;
      }
    }
  }

  #healthFor(plan: HealthPlan): ClusterHealth {
    const { services, series, traffic, tlsFor, socketFor, onHealth } = this.#options;
    const { name: cluster } = this.#plan;
    const { dialler, toldHealth } = services;
    if (toldHealth !== undefined || dialler === undefined) {
      const onSuspect = (endpoint: string): void =>
        services.onHealthNews?.({ kind: "suspect", cluster, endpoint });
      const { ignoresNew } = plan;
      return new ToldClusterHealth(cluster, toldHealth ?? new ToldHealth(), {
        ignoresNew,
        onSuspect,
      });
    }
    return new CombinedHealth({
      cluster,
      plan,
      seriesOf: (check) => series.health(check),
      gauges: () => series.healthGauges(),
      socket: socketOf(this.#plan),
      tlsFor,
      headerFor: (metadata) => socketFor(metadata)?.header,
      dialler,
      services,
      hasTraffic: () => traffic.isSeen,
      onChange: (key, flags) => {
        this.#applyHealth();
        onHealth(new Map([[key, flags]]), []);
      },
      onPassed: (key) => this.#endEjection(key),
      onFirst: () => this.#applyHealth(),
    });
  }

  #endEjection(key: string): void {
    for (const endpoint of this.#endpoints.values()) {
      if (endpoint.healthKey !== key || !this.isEjected(endpoint)) continue;
      if (this.#ejections?.onChecked(endpoint) === true) this.#options.onHealth(new Map(), [key]);
    }
  }
}

const uncounted = healthFlag.pending | healthFlag.excluded;
