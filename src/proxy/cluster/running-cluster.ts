/**
 * One version of a cluster, running: its endpoints (`members.ts`) and the balancer over them. How
 * endpoints become known (EDS, DNS, the connection's destination) is the owner's business.
 */
import type { Clock } from "../../base/clock.ts";
import type { TcpKeepAlive } from "../../net/dialler.ts";
import type { AppendLines } from "../../telemetry/batch-writer.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { HeadLimits } from "../../wire/http1-head.ts";
import type {
  ClusterCounters,
  ClusterPart,
  EndpointChoice,
  UpstreamCluster,
  UpstreamEndpoint,
  UpstreamHttp2,
} from "../context.ts";
import { Forecast } from "../engine/forecast.ts";
import type { LoadReport } from "../engine/load-weights.ts";
import type { Health, LocalityMembers } from "../engine/priorities.ts";
import type { LocalZones } from "../engine/zones.ts";
import type { ProxyDialler } from "../internal.ts";
import type { ClusterSeries } from "../stats/envoy-series.ts";
import { type Aggregate, type AggregateMember, aggregateOf } from "./aggregate.ts";
import { type AssignmentPolicy, plainPolicy } from "./assignment.ts";
import { Balancer } from "./balancer.ts";
import type { HealthNews } from "./cluster-health.ts";
import type { Ejection } from "./ejections.ts";
import { Endpoint, type EndpointDescription } from "./endpoint.ts";
import { makeEndpoint } from "./endpoint-making.ts";
import { destinationOf } from "./destination.ts";
import { HighPriority } from "./high-priority.ts";
import { type ClusterLimits, makeLimits, type SharedLimits } from "./limits.ts";
import { LoadWeighting } from "./load-weighting.ts";
import { Members, type MembersOptions } from "./members.ts";
import { OriginalDestinations } from "./original-destinations.ts";
import { overridingHost, tellSelected } from "./override-hosts.ts";
import type { ClusterPlan } from "./plan.ts";
import { ReachedEndpoints } from "./reached-endpoints.ts";
import type { ToldHealth } from "./told-health.ts";
import { watched } from "./watched-counters.ts";

export interface ClusterServices {
  readonly clock: Clock;
  readonly log: Logger;
  readonly random: () => number;
  /** Where several threads share the limits of a cluster. */
  readonly sharedLimits?: SharedLimits | undefined;
  /** Where several threads use a cluster: to be told to the others. */
  readonly onEjected?: ((ejection: Ejection) => void) | undefined;
  /** Where proxies are, as far as the cluster's requests look at zones. */
  readonly zonesFor?: (cluster: RunningCluster) => LocalZones | undefined;
  /** Its members, or their health, have changed. */
  readonly onMembers?: (cluster: RunningCluster) => void;
  /** Clusters that serve, for aggregates of them. */
  readonly findCluster?: (name: string) => AggregateMember | undefined;
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

export class RunningCluster implements UpstreamCluster {
  readonly plan: ClusterPlan;
  readonly counters: ClusterCounters;
  readonly limits: ClusterLimits;
  readonly http2: UpstreamHttp2 | undefined;
  readonly http1: UpstreamCluster["http1"];
  readonly tracked: UpstreamCluster["tracked"];
  readonly memberFor: UpstreamCluster["memberFor"];
  readonly forecast: Forecast<UpstreamEndpoint> | undefined;
  readonly #aggregate: Aggregate | undefined;
  /** False until the first endpoints have arrived. */
  hasEndpoints = false;
  readonly #services: ClusterServices;
  readonly #series: ClusterSeries;
  readonly #members: Members;
  readonly #destinations: OriginalDestinations | undefined;
  readonly #socketFor: MembersOptions["socketFor"];
  readonly #reached: ReachedEndpoints;
  readonly #onInvalid = (): void => this.#series.count("original_dst_host_invalid");
  readonly #balancer: Balancer;
  readonly #weighting: LoadWeighting | undefined;
  #isClosed = false;
  #high: HighPriority | undefined;
  #highLimits: ClusterLimits | undefined;

  constructor(plan: ClusterPlan, options: MembersOptions) {
    const { series, services, tlsFor } = options;
    this.plan = plan;
    this.#series = series;
    this.#services = services;
    this.#socketFor = options.socketFor;
    this.#reached = new ReachedEndpoints(plan, series);
    this.counters = plan.health === undefined ? series.counters : watched(plan.name, options);
    this.http1 = plan.http1;
    this.tracked = plan.tracked && series.tracked(plan.tracked);
    this.http2 = plan.http2 && { ...plan.http2, counters: series.http2() };
    this.limits = this.#limitsFor("default");
    const { forecastRatio } = plan;
    if (forecastRatio !== undefined)
      this.forecast = new Forecast(forecastRatio, () => this.#peek());
    this.#balancer = new Balancer(plan, {
      services,
      count: series.count,
      onPanic: () => series.panics.add(1),
    });
    this.#members = new Members(plan, options, () => this.#rebalance());
    const { discovery, loadWeights } = plan;
    if (loadWeights !== undefined) {
      this.#weighting = new LoadWeighting(loadWeights, {
        clock: services.clock,
        localities: () => this.localities,
        onChange: () => this.#rebalance(),
      });
    }
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
    const aggregate = aggregateOf(plan, services, this.counters);
    if (aggregate === undefined) return;
    this.#aggregate = aggregate;
    this.memberFor = (choice) => {
      const member = aggregate.memberFor(choice);
      if (member === undefined) this.#missed(undefined);
      return member;
    };
    this.hasEndpoints = true;
  }

  #limitsFor(priority: "default" | "high"): ClusterLimits {
    const { name: cluster, limits, highLimits } = this.plan;
    return makeLimits({
      cluster,
      limits: priority === "high" ? highLimits : limits,
      priority,
      series: this.#series,
      shared: this.#services.sharedLimits,
      clock: this.#services.clock,
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
  get socketOptions(): UpstreamCluster["socketOptions"] {
    return this.plan.socketOptions;
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
  get maxStreamDurationMs(): number {
    return this.plan.maxStreamDurationMs;
  }
  get headLimits(): HeadLimits {
    return this.plan.headLimits;
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

  healthOf(endpoint: Endpoint): Health {
    return this.#members.healthOf(endpoint);
  }

  readonly isWell = (endpoint: UpstreamEndpoint): boolean => {
    const own = endpoint.origin ?? endpoint;
    if (!(own instanceof Endpoint)) return true;
    const health = this.healthOf(own);
    return health !== "unfit" && health !== "excluded";
  };

  get policy(): AssignmentPolicy {
    return this.#members.policy;
  }

  /** Another cluster has changed, come or gone. */
  onCluster(name: string): void {
    this.#aggregate?.onCluster(name);
  }

  /** The proxies are elsewhere. */
  onLocalZones(): void {
    if (this.localities.length > 1) this.#rebalance();
  }

  pick(choice: EndpointChoice): UpstreamEndpoint | undefined {
    const picked = this.#pickOne(choice);
    if (picked !== undefined) return this.#reached.reach(picked, choice);
    this.#missed(choice.part);
    return undefined;
  }

  /** As in Envoy the cluster counts it that was asked for. */
  #missed(part: ClusterPart | undefined): void {
    (part?.counters ?? this.counters).count("upstream_cx_none_healthy");
  }

  /** For one of the requests to come. */
  #peek(): UpstreamEndpoint | undefined {
    const next = this.#balancer.peek();
    if (next === undefined || this.healthOf(next) !== "healthy") return undefined;
    return this.#reached.foresee(next);
  }

  #pickOne(choice: EndpointChoice): Endpoint | undefined {
    if (this.#destinations !== undefined) {
      const address = destinationOf(this.plan.discovery, choice, this.#onInvalid);
      return address === undefined ? undefined : this.#destinations.pick(address);
    }
    const { override } = choice;
    if (override !== undefined && choice.part === undefined) {
      const wanted = this.#overriding(override.host);
      if (wanted !== undefined || override.isStrict) return wanted;
    }
    const { overrideHosts } = this.plan;
    const { wanted } = choice;
    if (overrideHosts === undefined || wanted === undefined) return this.#balancer.pick(choice);
    const picked =
      overridingHost(overrideHosts, wanted, (host) => this.#members.find(host)) ??
      this.#balancer.pick(choice);
    if (picked !== undefined) tellSelected(overrideHosts, wanted, picked);
    return picked;
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
    this.limits.close();
    this.#highLimits?.close();
    this.#members.close();
    this.#weighting?.close();
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
    return makeEndpoint(description, {
      plan: this.plan,
      series: this.#series,
      socketFor: this.#socketFor,
      onConnectionsOver: (endpoint, how) => this.#reached.forget(endpoint, how),
      onReport: (endpoint, outcome) => this.#members.report(endpoint, outcome),
      ...(this.plan.health === undefined
        ? {}
        : { onSuspect: ({ healthKey }: Endpoint) => this.#members.suspect(healthKey) }),
      ...(this.#weighting === undefined
        ? {}
        : {
            onLoadReport: (endpoint: Endpoint, report: LoadReport) =>
              this.#weighting?.hear(endpoint, report),
          }),
    });
  }

  #rebalance(): void {
    const members = this.#members;
    this.#balancer.rebalance(members, this.#services.zonesFor?.(this));
    members.tell();
    this.#services.onMembers?.(this);
  }
}
