/**
 * One version of a cluster, running: its endpoints, their health and the balancer over them. How
 * endpoints become known (EDS, DNS, the connection's destination) is the owner's business.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { formatSocketAddress, type SocketAddress } from "../../base/socket-address.ts";
import type { ClientTls } from "../../net/dialler.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type {
  ClusterCounters,
  EndpointChoice,
  UpstreamCluster,
  UpstreamEndpoint,
  UpstreamOutcome,
} from "../context.ts";
import type { Chooser } from "../engine/chooser.ts";
import { OutlierDetector } from "../engine/outlier-detector.ts";
import { balancePriorities, type LocalityMembers } from "../engine/priorities.ts";
import type { ClusterSeries } from "../stats/envoy-series.ts";
import { Endpoint, type EndpointDescription } from "./endpoint.ts";
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
  readonly #choice: { hash: number | undefined; readonly random: () => number };
  #endpoints = new Map<string, Endpoint>();
  #localities: readonly LocalityMembers<Endpoint>[] = [];
  #overprovisioning = 1.4;
  #choose: Chooser<Endpoint> = () => undefined;
  #timer: Timer | undefined;
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
    this.#choice = { hash: undefined, random: services.random };
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
          isHealthy: true,
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
    this.#choice.hash = choice.hash;
    const { avoid, redrawsMax = redrawsMaxDefault } = choice;
    const first = this.#choose(this.#choice);
    if (avoid === undefined || first === undefined || !avoid.has(first)) return first;
    for (let i = 0; i < redrawsMax; i++) {
      const other = this.#choose(this.#choice);
      if (other !== undefined && !avoid.has(other)) return other;
    }
    return first;
  }

  /** Replaces all endpoints. One whose address, metadata and TLS stay the same lives on. */
  setEndpoints(localities: readonly LocalityDescription[], overprovisioning = 1.4): void {
    if (this.#isClosed) return;
    const before = this.#endpoints;
    const after = new Map<string, Endpoint>();
    this.#overprovisioning = overprovisioning;
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
        endpoint.isHealthy = description.isHealthy;
        after.set(key, endpoint);
        return endpoint;
      }),
    }));
    this.#endpoints = after;
    this.#detector?.setMembers(after.values());
    for (const [key, endpoint] of before) if (after.get(key) !== endpoint) endpoint.remove();
    this.hasEndpoints = true;
    this.#rebalance();
  }

  /** Streams in flight keep using it; its idle connections close. */
  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
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
    return new Endpoint({ ...description, sourceAddress }, (endpoint, outcome) =>
      this.#onReport(endpoint, outcome),
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

  #isFit(endpoint: Endpoint): boolean {
    return endpoint.isHealthy && !this.isEjected(endpoint);
  }

  #rebalance(): void {
    const isFit = (endpoint: Endpoint): boolean => this.#isFit(endpoint);
    this.#choose = balancePriorities<Endpoint>(this.#localities, {
      makeChooser: this.plan.makeChooser,
      isHealthy: isFit,
      isLocalityWeighted: this.plan.isLocalityWeighted,
      overprovisioning: this.#overprovisioning,
      panicPercent: this.plan.panicPercent,
      random: this.#services.random,
    });
    const all = [...this.#endpoints.values()];
    this.#series.membershipTotal.set(all.length);
    this.#series.membershipHealthy.set(all.filter(isFit).length);
    this.#series.ejectionsActive.set(this.#detector?.ejectedCount ?? 0);
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
