/**
 * One version of a cluster, running: its endpoints, their health and the balancer over them. How
 * endpoints become known (EDS, DNS, the connection's destination) is the owner's business.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { formatSocketAddress, type SocketAddress } from "../../base/socket-address.ts";
import type { ClientTls, TcpKeepAlive } from "../../net/dialler.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type {
  ClusterCounters,
  EndpointChoice,
  UpstreamCluster,
  UpstreamEndpoint,
  UpstreamOutcome,
} from "../context.ts";
import type { Chooser, HashBits } from "../engine/chooser.ts";
import { OutlierDetector } from "../engine/outlier-detector.ts";
import { balancePriorities, type Health, type LocalityMembers } from "../engine/priorities.ts";
import { Subsets } from "../engine/subsets.ts";
import type { ClusterSeries } from "../stats/envoy-series.ts";
import { type AssignmentPolicy, plainPolicy } from "./assignment.ts";
import { Endpoint, type EndpointDescription, type EndpointStatus } from "./endpoint.ts";
import { OriginalDestinations } from "./original-destinations.ts";
import { addressOfAuthority } from "./forward.ts";
import { type ClusterLimits, makeLimits, type SharedLimits } from "./limits.ts";
import type { ClusterPlan, Discovery } from "./plan.ts";

export interface ClusterServices {
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: () => number;
  /** Where several threads share the limits of a cluster. */
  readonly sharedLimits?: SharedLimits | undefined;
  /** Where several threads use a cluster: to be told to the others. */
  readonly onEjected?: ((ejection: Ejection) => void) | undefined;
}

/** An endpoint that one thread has taken out for a while. */
export interface Ejection {
  readonly cluster: string;
  /** `address:port` */
  readonly endpoint: string;
  readonly durationMs: number;
}

export interface LocalityDescription {
  readonly priority: number;
  readonly weight: number;
  readonly endpoints: readonly EndpointDescription[];
}

/** With which an endpoint takes requests like any other. */
const fitStatuses: ReadonlySet<EndpointStatus> = new Set(["UNKNOWN", "HEALTHY"]);

/** How often another endpoint is drawn when the one chosen was tried before. */
const redrawsMaxDefault = 5;

export class RunningCluster implements UpstreamCluster {
  readonly plan: ClusterPlan;
  readonly counters: ClusterCounters;
  readonly limits: ClusterLimits;
  /** False until the first endpoints have arrived. */
  hasEndpoints = false;
  readonly #services: ClusterServices;
  readonly #series: ClusterSeries;
  readonly #detector: OutlierDetector<Endpoint> | undefined;
  readonly #destinations: OriginalDestinations | undefined;
  readonly #choice: {
    hash: HashBits | undefined;
    attempt: number;
    readonly random: () => number;
  };
  #endpoints = new Map<string, Endpoint>();
  /** By `address:port`; made when the first request insists on an endpoint. */
  #byHost: ReadonlyMap<string, Endpoint> | undefined;
  #localities: readonly LocalityMembers<Endpoint>[] = [];
  #policy = plainPolicy;
  #choose: Chooser<Endpoint> = () => undefined;
  #subsets: Subsets<Endpoint> | undefined;
  #timer: Timer | undefined;
  #staleTimer: Timer | undefined;
  #isClosed = false;

  /** `defaultTls` is for endpoints without metadata: the destinations of ORIGINAL_DST. */
  constructor(
    plan: ClusterPlan,
    series: ClusterSeries,
    services: ClusterServices,
    defaultTls: ClientTls | undefined,
  ) {
    this.plan = plan;
    this.#series = series;
    this.#services = services;
    this.counters = series.counters;
    this.limits = makeLimits(plan, series, services.sharedLimits);
    this.#choice = { hash: undefined, attempt: 0, random: services.random };
    if (plan.outlier !== undefined) {
      this.#detector = this.#makeDetector(plan.outlier);
      this.#scheduleInterval(plan.outlier.intervalMs);
    }
    const { discovery } = plan;
    if (discovery.kind === "original-dst" || discovery.kind === "forward") {
      const { cleanupMs } = discovery;
      this.#destinations = new OriginalDestinations(cleanupMs, services.clock, (address) =>
        this.#makeEndpoint({
          address,
          hostname: "",
          weight: 1,
          status: "HEALTHY",
          metadata: {},
          tls: defaultTls,
        }),
      );
      this.hasEndpoints = true;
    }
  }

  get name(): string {
    return this.plan.name;
  }
  get statName(): string {
    return this.plan.statName;
  }
  get connectTimeoutMs(): number {
    return this.plan.connectTimeoutMs;
  }
  get keepAlive(): TcpKeepAlive | undefined {
    return this.plan.keepAlive;
  }
  get writeQueueBytesMax(): number {
    return this.plan.writeQueueBytesMax;
  }
  get metadata(): Readonly<Record<string, unknown>> | undefined {
    return this.plan.metadata;
  }
  get maxRequestsPerConnection(): number {
    return this.plan.maxRequestsPerConnection;
  }
  get maxConnectionDurationMs(): number {
    return this.plan.maxConnectionDurationMs;
  }
  get idleTimeoutMs(): number {
    return this.plan.idleTimeoutMs;
  }
  get dropShare(): number {
    return this.#policy.dropShare;
  }

  get localities(): readonly LocalityMembers<Endpoint>[] {
    return this.#localities;
  }

  isEjected(endpoint: Endpoint): boolean {
    return this.#detector?.isEjected(endpoint) === true;
  }

  pick(choice: EndpointChoice): UpstreamEndpoint | undefined {
    if (this.#destinations !== undefined) {
      const address = destinationOf(this.plan.discovery, choice);
      return address === undefined ? undefined : this.#destinations.pick(address);
    }
    const { override } = choice;
    if (override !== undefined) {
      const wanted = this.#overriding(override.host);
      if (wanted !== undefined || override.isStrict) return wanted;
    }
    return this.#pick(choice);
  }

  #pick(choice: EndpointChoice): Endpoint | undefined {
    const { avoid, criteria, redrawsMax = redrawsMaxDefault } = choice;
    const drawn = this.#choice;
    drawn.hash = choice.hash;
    drawn.attempt = 0;
    const first = this.#draw(criteria);
    if (avoid === undefined || first === undefined || !avoid(first)) return first;
    let last = first;
    while (drawn.attempt < redrawsMax) {
      drawn.attempt++;
      const other = this.#draw(criteria);
      if (other === undefined) return undefined;
      if (!avoid(other)) return other;
      last = other;
    }
    return last;
  }

  #draw(criteria: EndpointChoice["criteria"]): Endpoint | undefined {
    const subsets = this.#subsets;
    if (subsets === undefined) return this.#choose(this.#choice);
    return subsets.choose(criteria, this.#choice);
  }

  #overriding(host: string): Endpoint | undefined {
    this.#byHost ??= new Map(
      [...this.#endpoints.values()].map((endpoint) => [
        formatSocketAddress(endpoint.address),
        endpoint,
      ]),
    );
    const wanted = this.#byHost.get(host);
    if (wanted === undefined) return undefined;
    return this.plan.overridable.has(this.#statusOf(wanted)) ? wanted : undefined;
  }

  /** Replaces all endpoints. One whose address, metadata and TLS stay the same lives on. */
  setEndpoints(
    localities: readonly LocalityDescription[],
    policy: AssignmentPolicy = plainPolicy,
  ): void {
    if (this.#isClosed) return;
    const before = this.#endpoints;
    const after = new Map<string, Endpoint>();
    const nowMs = this.#services.clock.monotonicMs();
    this.#policy = policy;
    this.#localities = localities.map(({ priority, weight, endpoints }) => ({
      priority,
      weight,
      members: endpoints.map((description) => {
        const key = endpointKey(description);
        const kept = after.get(key) ?? before.get(key);
        const endpoint =
          kept !== undefined && kept.tls === description.tls
            ? kept
            : this.#makeEndpoint(description);
        endpoint.weight = description.weight;
        endpoint.status = description.status;
        if (fitStatuses.has(endpoint.status)) endpoint.healthySinceMs ??= nowMs;
        after.set(key, endpoint);
        return endpoint;
      }),
    }));
    this.#endpoints = after;
    this.#byHost = undefined;
    this.#detector?.setMembers(after.values());
    let isChanged = after.size !== before.size;
    for (const [key, endpoint] of before) {
      if (after.get(key) === endpoint) continue;
      isChanged = true;
      endpoint.remove();
    }
    if (isChanged && this.plan.closesOnChange) for (const each of after.values()) each.drain();
    this.hasEndpoints = true;
    this.#forgetLater(policy);
    this.#rebalance();
  }

  /** What nobody confirms any more is not true for ever. */
  #forgetLater({ staleAfterMs }: AssignmentPolicy): void {
    this.#staleTimer?.cancel();
    this.#staleTimer = undefined;
    if (staleAfterMs <= 0) return;
    this.#staleTimer = this.#services.clock.schedule(staleAfterMs, () => {
      this.#services.log.warn("endpoints have become stale", { cluster: this.name, staleAfterMs });
      this.setEndpoints([]);
    });
  }

  /** Streams in flight keep using it; its idle connections close. */
  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#staleTimer?.cancel();
    this.#destinations?.close();
    for (const endpoint of this.#endpoints.values()) endpoint.remove();
  }

  /** As another thread has decided. */
  eject({ endpoint, durationMs }: Ejection): void {
    const nowMs = this.#services.clock.monotonicMs();
    for (const one of this.#endpoints.values()) {
      if (formatSocketAddress(one.address) !== endpoint) continue;
      this.#detector?.eject(one, durationMs, nowMs);
    }
    this.#rebalance();
  }

  #makeEndpoint(description: EndpointDescription): Endpoint {
    const isIpv6 = description.address.address.includes(":");
    const sourceAddress = this.plan.sourceAddresses.find((one) => one.includes(":") === isIpv6);
    return new Endpoint(
      { ...description, sourceAddress },
      {
        hashesHostname: this.plan.hashesHostname,
        onReport: (endpoint, outcome) => this.#onReport(endpoint, outcome),
      },
    );
  }

  #onReport(endpoint: Endpoint, outcome: UpstreamOutcome): void {
    this.#detector?.report(
      endpoint,
      outcome.kind === "response"
        ? { kind: "response", status: outcome.status }
        : { kind: "local-failure" },
      this.#services.clock.monotonicMs(),
    );
  }

  #healthOf(endpoint: Endpoint): Health {
    if (this.isEjected(endpoint)) return "unfit";
    if (endpoint.status === "DEGRADED") return "degraded";
    if (endpoint.status === "DRAINING") return "excluded";
    return fitStatuses.has(endpoint.status) ? "healthy" : "unfit";
  }

  /** The control plane's word, unless we know better. */
  #statusOf(endpoint: Endpoint): EndpointStatus {
    return this.isEjected(endpoint) ? "UNHEALTHY" : endpoint.status;
  }

  #rebalance(): void {
    const { plan } = this;
    const { random, clock } = this.#services;
    const make = (
      localities: readonly LocalityMembers<Endpoint>[],
      countsWeights: boolean,
    ): Chooser<Endpoint> =>
      balancePriorities<Endpoint>(localities, {
        policy: plan.policy,
        healthOf: (endpoint) => this.#healthOf(endpoint),
        isLocalityWeighted: plan.isLocalityWeighted && countsWeights,
        failsOnPanic: plan.failsOnPanic,
        isHealthWeighted: this.#policy.isHealthWeighted,
        overprovisioningPercent: this.#policy.overprovisioningPercent,
        panicPercent: plan.panicPercent,
        onPanic: () => this.#series.panics.add(1),
        random,
        nowMs: () => clock.monotonicMs(),
      });
    const anybody = make(this.#localities, true);
    this.#choose = anybody;
    this.#subsets = plan.subsets && new Subsets(plan.subsets, this.#localities, { make, anybody });
    this.#tell();
  }

  #tell(): void {
    const counts: Record<Health, number> = { healthy: 0, degraded: 0, unfit: 0, excluded: 0 };
    for (const endpoint of this.#endpoints.values()) counts[this.#healthOf(endpoint)]++;
    const series = this.#series;
    series.membershipTotal.set(this.#endpoints.size);
    series.membershipHealthy.set(counts.healthy);
    series.membershipDegraded.set(counts.degraded);
    series.membershipExcluded.set(counts.excluded);
    series.ejectionsActive.set(this.#detector?.ejectedCount ?? 0);
  }

  #makeDetector(settings: NonNullable<ClusterPlan["outlier"]>): OutlierDetector<Endpoint> {
    const cluster = this.name;
    const { log, random } = this.#services;
    return new OutlierDetector<Endpoint>(
      settings,
      {
        onEject: ({ address }, cause, durationMs) => {
          const endpoint = formatSocketAddress(address);
          this.#services.onEjected?.({ cluster, endpoint, durationMs });
          this.#series.ejectionsEnforced.add(1);
          log.info("endpoint ejected", {
            cluster,
            endpoint,
            cause,
            ejectedForMs: Math.round(durationMs),
          });
          this.#rebalance();
        },
        onReturn: (endpoint) => {
          log.info("endpoint returned", {
            cluster,
            endpoint: formatSocketAddress(endpoint.address),
          });
          this.#rebalance();
        },
        onDetected: () => undefined,
        onOverflow: () => log.debug("endpoint not ejected: too many are", { cluster }),
      },
      random,
    );
  }

  #scheduleInterval(intervalMs: number): void {
    this.#timer = this.#services.clock.schedule(intervalMs, () => {
      if (this.#isClosed) return;
      this.#detector?.onInterval(this.#services.clock.monotonicMs());
      this.#scheduleInterval(intervalMs);
    });
  }
}

function destinationOf(discovery: Discovery, choice: EndpointChoice): SocketAddress | undefined {
  if (discovery.kind === "forward") {
    return addressOfAuthority(choice.authority ?? "", discovery.defaultPort);
  }
  const { destinationAddress, destinationPort } = choice.connection;
  const portOverride = discovery.kind === "original-dst" ? discovery.portOverride : undefined;
  return { address: destinationAddress, port: portOverride ?? destinationPort };
}

function endpointKey({ address, hostname, metadata }: EndpointDescription): string {
  return `${formatSocketAddress(address)}|${hostname}|${JSON.stringify(metadata)}`;
}
