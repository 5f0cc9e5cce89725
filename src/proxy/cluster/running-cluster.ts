/**
 * One version of a cluster, running: its endpoints (`members.ts`) and the balancer over them. How
 * endpoints become known (EDS, DNS, the connection's destination) is the owner's business.
 */
import type { Clock } from "../../base/clock.ts";
import type { TcpKeepAlive } from "../../net/dialler.ts";
import type { AppendLines } from "../../telemetry/batch-writer.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type {
  ClusterCounters,
  EndpointChoice,
  UpstreamCluster,
  UpstreamEndpoint,
  UpstreamHttp2,
} from "../context.ts";
import type { Chooser, HashBits } from "../engine/chooser.ts";
import type { PreviousPriorities } from "../engine/previous-priorities.ts";
import { balancePriorities, type LocalityMembers } from "../engine/priorities.ts";
import { Subsets } from "../engine/subsets.ts";
import type { InternalTarget, ProxyDialler } from "../internal.ts";
import type { ClusterSeries } from "../stats/envoy-series.ts";
import { type AssignmentPolicy, plainPolicy } from "./assignment.ts";
import type { HealthNews } from "./cluster-health.ts";
import type { Ejection } from "./ejections.ts";
import { Endpoint, type EndpointDescription } from "./endpoint.ts";
import { destinationOf } from "./destination.ts";
import { HighPriority } from "./high-priority.ts";
import { type ClusterLimits, makeLimits, type SharedLimits } from "./limits.ts";
import { Members, type MembersOptions } from "./members.ts";
import { OriginalDestinations } from "./original-destinations.ts";
import { PassedEndpoints, targetOf } from "./passed-endpoints.ts";
import type { ClusterPlan } from "./plan.ts";
import { ServerNames } from "./server-names.ts";
import type { ToldHealth } from "./told-health.ts";

export interface ClusterServices {
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: () => number;
  /** Where several threads share the limits of a cluster. */
  readonly sharedLimits?: SharedLimits | undefined;
  /** Where several threads use a cluster: to be told to the others. */
  readonly onEjected?: ((ejection: Ejection) => void) | undefined;
  /** For health checks. */
  readonly dialler?: ProxyDialler | undefined;
  /** Takes lines for a file. */
  readonly openLog?: ((path: string) => AppendLines) | undefined;
  /** Where another thread checks. */
  readonly toldHealth?: ToldHealth | undefined;
  /** To be told to the thread that checks. */
  readonly onHealthNews?: ((news: HealthNews) => void) | undefined;
}

export interface LocalityDescription {
  /** Region, zone and what is in it; empty: it names none. */
  readonly name?: string;
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
  readonly http2: UpstreamHttp2 | undefined;
  readonly http1: UpstreamCluster["http1"];
  /** False until the first endpoints have arrived. */
  hasEndpoints = false;
  readonly #services: ClusterServices;
  readonly #series: ClusterSeries;
  readonly #members: Members;
  readonly #destinations: OriginalDestinations | undefined;
  readonly #serverNames: ServerNames | undefined;
  readonly #passesFor: MembersOptions["passesFor"];
  /** Endpoints inside the proxy, once there are any. */
  #passed: PassedEndpoints | undefined;
  readonly #choice: {
    hash: HashBits | undefined;
    attempt: number;
    priorities: PreviousPriorities | undefined;
    readonly random: () => number;
  };
  #choose: Chooser<Endpoint> = () => undefined;
  #subsets: Subsets<Endpoint> | undefined;
  #isClosed = false;
  #high: HighPriority | undefined;
  #highLimits: ClusterLimits | undefined;

  constructor(plan: ClusterPlan, options: MembersOptions) {
    const { series, services, tlsFor } = options;
    this.plan = plan;
    this.#series = series;
    this.#services = services;
    this.#passesFor = options.passesFor;
    this.counters = plan.health === undefined ? series.counters : watched(plan.name, options);
    this.http1 = plan.http1;
    this.http2 = plan.http2 && { ...plan.http2, counters: series.http2() };
    this.limits = this.#limitsFor("default");
    this.#choice = {
      hash: undefined,
      attempt: 0,
      priorities: undefined,
      random: services.random,
    };
    if (plan.serverNames !== undefined) {
      const onDropped = (): void => series.serverNamesDropped().add(1);
      this.#serverNames = new ServerNames(plan.serverNames, onDropped);
    }
    this.#members = new Members(plan, options, () => this.#rebalance());
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
          tls: tlsFor({}),
        }),
      );
      this.hasEndpoints = true;
    }
  }

  #limitsFor(priority: "default" | "high"): ClusterLimits {
    const { name: cluster, limits, highLimits } = this.plan;
    return makeLimits({
      cluster,
      limits: priority === "high" ? highLimits : limits,
      priority,
      series: this.#series,
      shared: this.#services.sharedLimits,
    });
  }

  get high(): UpstreamCluster {
    if (this.#high === undefined) {
      this.#highLimits = this.#limitsFor("high");
      this.#high = new HighPriority(this, this.#highLimits);
    }
    return this.#high;
  }

  /** Before what threads have in flight together is shown. */
  refreshLimits(): void {
    this.limits.refresh();
    this.#highLimits?.refresh();
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
  get isErrorAnswer(): UpstreamCluster["isErrorAnswer"] {
    return this.plan.isErrorAnswer;
  }
  get preconnectRatio(): number | undefined {
    return this.plan.preconnectRatio;
  }
  get dropShare(): number {
    return this.#members.policy.dropShare;
  }

  get localities(): readonly LocalityMembers<Endpoint>[] {
    return this.#members.localities;
  }

  /** Its endpoints are known, and so is their health. */
  get isWarm(): boolean {
    return this.hasEndpoints && this.#members.isHealthKnown;
  }

  /** What checks have found, by endpoint. */
  healthFlags(): ReadonlyMap<string, number> {
    return this.#members.healthFlags();
  }

  isEjected(endpoint: Endpoint): boolean {
    return this.#members.isEjected(endpoint);
  }

  pick(choice: EndpointChoice): UpstreamEndpoint | undefined {
    const picked = this.#pickOne(choice);
    if (picked?.internal?.passesState === true) return this.#pass(picked, picked.internal, choice);
    const names = this.#serverNames;
    if (names === undefined || picked?.tls === undefined) return picked;
    // What is no request names nobody.
    const authority = choice.wanted?.hostOr(names.header) ?? choice.authority;
    return authority === undefined ? picked : names.of(picked, picked.tls, authority);
  }

  #pass(
    picked: UpstreamEndpoint,
    internal: InternalTarget,
    choice: EndpointChoice,
  ): UpstreamEndpoint {
    this.#passed ??= new PassedEndpoints(() => this.#series.statesDropped().add(1));
    const { wanted, connection } = choice;
    return this.#passed.of(picked, internal, [wanted?.state, connection.state]);
  }

  #pickOne(choice: EndpointChoice): UpstreamEndpoint | undefined {
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
    drawn.priorities = choice.priorities;
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
    const wanted = this.#members.find(host);
    if (wanted === undefined) return undefined;
    return this.plan.overridable.has(this.#members.statusOf(wanted)) ? wanted : undefined;
  }

  /** Replaces all endpoints. One whose address, metadata and TLS stay the same lives on. */
  setEndpoints(
    localities: readonly LocalityDescription[],
    policy: AssignmentPolicy = plainPolicy,
  ): void {
    if (this.#isClosed) return;
    this.hasEndpoints = true;
    this.#members.set(localities, policy, (description) => this.#makeEndpoint(description));
  }

  /** Streams in flight keep using it; its idle connections close. */
  close(): void {
    this.#isClosed = true;
    this.#members.close();
    this.#destinations?.close();
  }

  /** As another thread has decided. */
  eject(ejection: Ejection): void {
    this.#members.eject(ejection);
  }

  /** Another thread that checks has told of it; `returned` are ejected no more. */
  onHealthTold(returned: readonly string[]): void {
    this.#members.onHealthTold(returned);
  }

  /** Another thread has been told by an endpoint that it is not well. */
  suspect(healthKey: string): void {
    this.#members.suspect(healthKey);
  }

  #makeEndpoint(description: EndpointDescription): Endpoint {
    const isIpv6 = description.address.address.includes(":");
    const { plan } = this;
    const { discovery } = plan;
    const sourceAddress = plan.sourceAddresses.find((one) => one.includes(":") === isIpv6);
    const { listener, metadata } = description;
    const internal =
      listener === undefined
        ? undefined
        : targetOf(listener, this.#passesFor(metadata), {
            endpoint: metadata,
            cluster: plan.metadata,
          });
    return new Endpoint(
      { ...description, sourceAddress, internal },
      {
        hashesHostname: plan.hashesHostname,
        isNamed: discovery.kind === "dns" && !discovery.isStrict,
        onConnectionsOver: (endpoint, how) => {
          this.#serverNames?.forget(endpoint, how);
          this.#passed?.forget(endpoint, how);
        },
        onReport: (endpoint, outcome) => this.#members.report(endpoint, outcome),
        ...(plan.health === undefined
          ? {}
          : { onSuspect: ({ healthKey }: Endpoint) => this.#members.suspect(healthKey) }),
      },
    );
  }

  #rebalance(): void {
    const { plan } = this;
    const { random, clock } = this.#services;
    const members = this.#members;
    const { localities, policy } = members;
    const make = (
      among: readonly LocalityMembers<Endpoint>[],
      countsWeights: boolean,
    ): Chooser<Endpoint> =>
      balancePriorities<Endpoint>(among, {
        policy: plan.policy,
        healthOf: (endpoint) => members.healthOf(endpoint),
        isLocalityWeighted: plan.isLocalityWeighted && countsWeights,
        failsOnPanic: plan.failsOnPanic,
        isHealthWeighted: policy.isHealthWeighted,
        overprovisioningPercent: policy.overprovisioningPercent,
        panicPercent: plan.panicPercent,
        onPanic: () => this.#series.panics.add(1),
        random,
        nowMs: () => clock.monotonicMs(),
      });
    const anybody = make(localities, true);
    this.#choose = anybody;
    this.#subsets = plan.subsets && new Subsets(plan.subsets, localities, { make, anybody });
    members.tell();
  }
}

/** Checks are made more often once there is something to be lost. */
function watched(cluster: string, { series, services, traffic }: MembersOptions): ClusterCounters {
  const { counters } = series;
  return {
    ...counters,
    onConnectionOpened() {
      counters.onConnectionOpened();
      if (traffic.isSeen) return;
      traffic.isSeen = true;
      services.onHealthNews?.({ kind: "traffic", cluster });
    },
  };
}
