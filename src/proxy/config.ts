/**
 * The data plane's side of xDS: takes resources from a feed, checks them, warms what they need and
 * swaps them in. A resource that cannot be honoured is refused alone, by name and field; its last
 * good version goes on serving, and so does everything else of the same answer.
 */
import { assert } from "../base/assert.ts";
import type { Clock } from "../base/clock.ts";
import { HeddleError, messageOf } from "../base/error.ts";
import type { SecretSource } from "../net/secret-source.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import { Cluster } from "../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { ClusterLoadAssignment } from "../wire/gen/ts/envoy/config/endpoint/v3/endpoint.ts";
import { Listener } from "../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import {
  type SecretOrigin,
  typeUrls,
  type XdsFeed,
  type XdsResource,
  type XdsUpdate,
} from "../xds/feed.ts";
import type { ClusterPool } from "./cluster.ts";
import { compileCluster } from "./cluster/plan.ts";
import { countAnswer } from "./config/answer-counts.ts";
import { AppliedResources } from "./config/applied-resources.ts";
import { Extensions, readExtension } from "./config/extensions.ts";
import { honouredAssignment, honouredCluster } from "./config/honoured-clusters.ts";
import { checkHonoured, type UnknownFieldCount } from "./config/honoured.ts";
import { checkListener, type ListenerNeeds } from "./config/listener-plan.ts";
import { RouteTables } from "./config/route-tables.ts";
import { Slices, type Work } from "./config/slices.ts";
import { WarmingListeners } from "./config/warming-listeners.ts";
import type { ListenerSet, RouteSource } from "./context.ts";
import { Refusal, type RefusedField, RefusalList } from "./engine/refusal.ts";
import { compileRouteConfiguration } from "./engine/route-configuration.ts";
import type { RouteTable } from "./engine/route-table.ts";
import { httpFilterOverrides } from "./http.ts";
import { ConfigurationSeries } from "./stats/configuration-series.ts";

export interface ConfigurationOptions {
  readonly feed: XdsFeed;
  readonly clusters: ClusterPool;
  readonly listeners: ListenerSet;
  /** Also where filters look; its own unless told. */
  readonly extensions?: Extensions;
  readonly secrets: SecretSource;
  /** Another thread of this version has checked everything that comes: it is only compiled here. */
  readonly isChecked?: boolean;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: MetricRegistry;
}

export interface RefusedResourceFields {
  readonly typeUrl: string;
  readonly name: string;
  readonly fields: readonly RefusedField[];
}

interface Applier {
  /** What it returns is done in slices. Throws a refusal. */
  readonly apply: (resource: XdsResource) => Work<void> | void;
  readonly remove: (name: string) => void;
}

export class Configuration implements RouteSource {
  readonly applied: AppliedResources;
  readonly extensions: Extensions;
  /** Called once, when the first complete configuration serves. */
  onReady: () => void = () => undefined;
  readonly #options: ConfigurationOptions;
  readonly #unknown: UnknownFieldCount = { count: 0 };
  readonly #tables: RouteTables;
  readonly #slices: Slices;
  readonly #warming: WarmingListeners;
  readonly #answered = new Set<string>();
  readonly #series: ConfigurationSeries | undefined;
  readonly #stopSecrets: () => void;
  #isReady = false;

  constructor(options: ConfigurationOptions) {
    this.#options = options;
    const { isChecked, metrics, clock } = options;
    // Every thread has a configuration; the one that answers for it counts.
    if (isChecked !== true) this.#series = new ConfigurationSeries(metrics, clock);
    this.applied = new AppliedResources(clock, (...change) => this.#series?.onResource(...change));
    this.extensions = options.extensions ?? new Extensions(options.clock);
    this.extensions.onGivenUp = () => this.#advance();
    // Before the first listener serves, there is nobody to be held up.
    this.#slices = new Slices({
      clock: options.clock,
      isAtOnce: () => !this.#warming.hasServing,
    });
    this.#tables = new RouteTables({
      ...options,
      overrides: httpFilterOverrides,
      unknown: this.#unknown,
    });
    const { listener } = typeUrls;
    this.#warming = new WarmingListeners({
      ...options,
      mayPrepare: () => this.#isReady || options.clusters.warmingNames().length === 0,
      onPrepared: () => this.#advance(),
      missing: (needs) => this.#missing(needs),
      onRefused: (resource, reason) =>
        this.applied.refuse(listener, resource, { reason, fields: [{ path: "address", reason }] }),
      onBound: (resource) => this.applied.accept(listener, resource),
      onRecovered: ({ name }) => options.feed.refresh?.(listener, name),
      prepareAgain: (resource) => this.#applyListener(resource),
      onSettled: () => this.#checkReady(),
    });
    options.clusters.onReady = () => this.#advance();
    this.#stopSecrets = options.secrets.onChange(() => this.#advance());
    options.feed.onUpdate = (update) => {
      if (update.typeUrl !== listener) void this.#onUpdate(update);
      else this.#warming.run(() => this.#onUpdate(update));
    };
  }

  /** Asks for everything. */
  start(): void {
    this.#options.feed.subscribe(typeUrls.cluster, "*");
    this.#options.feed.subscribe(typeUrls.listener, "*");
  }

  get isReady(): boolean {
    return this.#isReady;
  }

  /** Why it is not ready, in one sentence; undefined when it is. */
  get waitingFor(): string | undefined {
    if (this.#isReady) return undefined;
    if (!this.#answered.has(typeUrls.cluster)) return "no clusters have arrived";
    if (!this.#answered.has(typeUrls.listener)) return "no listeners have arrived";
    const clusters = this.#options.clusters.warmingNames();
    if (clusters.length > 0) return `waiting for endpoints or secrets of ${clusters.join(", ")}`;
    return this.#warming.waitingFor ?? "listeners are starting";
  }

  /** Before it is shown. */
  refreshSeries(): void {
    const { clusters } = this.#options;
    clusters.refreshLimits();
    this.#series?.show("cluster", clusters.counts);
    this.#series?.show("listener", this.#warming.counts);
    if (this.#isReady) this.#series?.showStarted();
  }

  /** Names of all secrets that clusters and listeners refer to. */
  secretNames(): ReadonlySet<string> {
    return new Set(this.#secretOrigins().keys());
  }

  #secretOrigins(): ReadonlyMap<string, SecretOrigin> {
    const listeners = this.#warming.needs().flatMap(({ secrets }) => [...secrets]);
    return new Map([...this.#options.clusters.secretOrigins(), ...listeners]);
  }

  /** What was refused last, of every type: `name: field: reason`. */
  refusals(): readonly string[] {
    return Object.keys(this.#appliers).flatMap((typeUrl) =>
      this.applied.refused(typeUrl).map(({ resource, reason }) => `${resource.name}: ${reason}`),
    );
  }

  /** The same, with the places in each resource. */
  refusedFields(): readonly RefusedResourceFields[] {
    return Object.keys(this.#appliers).flatMap((typeUrl) =>
      this.applied.refused(typeUrl).map(({ resource, fields }) => {
        return { typeUrl, name: resource.name, fields };
      }),
    );
  }

  get(name: string): RouteTable | undefined {
    return this.#tables.get(name);
  }

  close(): void {
    this.#stopSecrets();
    this.#slices.close();
    this.extensions.close();
    this.#warming.close();
  }

  /** A promise where it is applied in slices, or sockets must be opened before it can be answered. */
  #onUpdate(update: XdsUpdate): Promise<void> | undefined {
    const apply = this.#appliers[update.typeUrl];
    if (apply === undefined) {
      update.respond(`type ${update.typeUrl} was not asked for`);
      return undefined;
    }
    return this.#slices.run(this.#applyAll(update, apply));
  }

  *#applyAll(update: XdsUpdate, { apply, remove }: Applier): Work<Promise<void> | undefined> {
    const { typeUrl } = update;
    const refusals: string[] = [];
    const seen = new Set<string>();
    const before = this.#unknown.count;
    for (const resource of update.resources) {
      const reason = seen.has(resource.name)
        ? "occurs twice in one answer"
        : yield* this.#applyOne(typeUrl, resource, apply);
      seen.add(resource.name);
      if (reason !== undefined) refusals.push(`${resource.name}: ${reason}`);
      yield;
    }
    for (const name of update.removed) {
      remove(name);
      this.applied.remove(typeUrl, name);
      yield;
    }
    if (update.isInterim !== true) this.#answered.add(typeUrl);
    const unknown = this.#unknown.count - before;
    const binding = typeUrl === typeUrls.listener ? this.#warming.bind() : undefined;
    if (binding === undefined) {
      yield* this.#finish(update, refusals, unknown);
      return undefined;
    }
    return binding.then((unbound) =>
      this.#slices.run(this.#finish(update, [...refusals, ...unbound], unknown)),
    );
  }

  /** What can serve does so before it is acknowledged: whoever waits for that may count on it. */
  *#finish(update: XdsUpdate, refusals: readonly string[], unknown: number): Work<undefined> {
    const { typeUrl } = update;
    countAnswer(this.#options, { typeUrl, refusals, unknownFields: unknown });
    const users = this.#warming.needs().flatMap(({ routeUsers }) => routeUsers);
    this.#series?.onAnswer(update, refusals.length > 0, users);
    this.#advance();
    yield;
    update.respond(refusals.length === 0 ? undefined : refusals.join("; "));
    yield;
    this.#subscribeDependents(update);
    yield;
    if (update.typeUrl === typeUrls.cluster || update.typeUrl === typeUrls.listener) {
      this.#options.feed.wantSecrets?.(this.#secretOrigins());
      this.#options.secrets.keepOnly?.(this.secretNames());
    }
    return undefined;
  }

  *#applyOne(
    typeUrl: string,
    resource: XdsResource,
    apply: Applier["apply"],
  ): Work<string | undefined> {
    if (this.applied.isCurrent(typeUrl, resource)) return undefined;
    try {
      yield* apply(resource) ?? [];
      // A listener is when it has its address.
      if (typeUrl !== typeUrls.listener) this.applied.accept(typeUrl, resource);
      return undefined;
    } catch (thrown) {
      // A refusal is the operator's business; anything else is a fault of ours or a broken message,
      // and must not take the other resources of this answer with it.
      if (!(thrown instanceof HeddleError)) {
        this.#options.log.error("applying a resource failed", {
          type: typeUrl,
          resource: resource.name,
          reason: messageOf(thrown),
        });
      }
      const reason = messageOf(thrown);
      const fields = thrown instanceof Refusal ? thrown.fields : [{ path: "", reason }];
      this.applied.refuse(typeUrl, resource, { reason, fields });
      return reason;
    }
  }

  readonly #appliers: Readonly<Record<string, Applier>> = {
    [typeUrls.cluster]: {
      apply: (resource) => this.#applyCluster(resource),
      remove: (name) => this.#options.clusters.remove(name),
    },
    [typeUrls.endpoint]: {
      apply: (resource) => this.#applyEndpoints(resource),
      remove: (name) => this.#options.clusters.removeEndpoints(name),
    },
    [typeUrls.listener]: {
      apply: (resource) => this.#applyListener(resource),
      remove: (name) => this.#removeListener(name),
    },
    [typeUrls.extension]: {
      apply: (resource) => this.#applyExtension(resource),
      remove: (name) => this.extensions.remove(name),
    },
    [typeUrls.route]: {
      apply: ({ name, bytes }) => this.#tables.apply(name, bytes),
      // A listener that still asks for it answers 404, as Envoy does.
      remove: (name) => this.#tables.delete(name),
    },
  };

  #applyCluster(resource: XdsResource): void {
    const cluster = Cluster.decode(resource.bytes);
    const refusals = new RefusalList();
    refusals.attempt(() =>
      this.#check(() => checkHonoured(cluster, honouredCluster, "", this.#unknown)),
    );
    const plan = refusals.attempt(() => compileCluster(cluster));
    refusals.throwIfAny();
    assert(plan !== undefined, "a cluster without a plan was refused");
    this.#options.clusters.apply(plan);
  }

  #applyEndpoints(resource: XdsResource): void {
    const assignment = ClusterLoadAssignment.decode(resource.bytes);
    this.#check(() => checkHonoured(assignment, honouredAssignment, "", this.#unknown));
    this.#options.clusters.applyEndpoints(assignment);
  }

  #applyListener(resource: XdsResource): void {
    const listener = Listener.decode(resource.bytes);
    const refusals = new RefusalList();
    const needs = refusals.attempt(() => checkListener(listener, this.#unknown));
    for (const { routes, path } of needs?.inlineRoutes ?? []) {
      const compile = (): unknown => compileRouteConfiguration(routes, httpFilterOverrides);
      refusals.attempt(() => this.#check(compile), path);
    }
    // Also where it is refused already: one answer names all that its sender has to mend.
    const prepared = refusals.attempt(() => this.#options.listeners.prepare(listener));
    if (!refusals.isEmpty) prepared?.discard();
    refusals.throwIfAny();
    assert(needs !== undefined && prepared !== undefined, "what is missing was refused");
    this.#warming.add(resource, needs, prepared);
  }

  #applyExtension(resource: XdsResource): void {
    const needs = this.#warming.needs().flatMap(({ extensions }) => extensions);
    const config = readExtension(resource, needs);
    this.#check(() => this.#options.listeners.checkFilter(config));
    this.extensions.set(resource.name, config);
  }

  /** Throws a refusal. */
  #check(check: () => unknown): void {
    if (this.#options.isChecked !== true) check();
  }

  #removeListener(name: string): void {
    this.#warming.remove(name);
    this.#options.listeners.remove(name);
  }

  /** Names follow from what was just applied: endpoints from clusters, routes from listeners. */
  #subscribeDependents({ typeUrl, isInterim }: XdsUpdate): void {
    const { feed, clusters } = this.#options;
    if (typeUrl === typeUrls.cluster) {
      this.#subscribe(feed, typeUrls.endpoint, clusters.endpointNames());
    }
    if (typeUrl === typeUrls.listener) {
      const names = new Set(this.#warming.needs().flatMap(({ routes }) => [...routes]));
      this.#subscribe(feed, typeUrls.route, names);
      const needed = this.#warming.needs().flatMap(({ extensions }) => extensions);
      const { wanted, gone } = this.extensions.follow(needed, isInterim !== true);
      for (const name of gone) this.applied.remove(typeUrls.extension, name);
      this.#subscribe(feed, typeUrls.extension, wanted);
    }
  }

  readonly #wishes = new Map<string, ReadonlySet<string>>();

  #subscribe(feed: XdsFeed, typeUrl: string, names: ReadonlySet<string>): void {
    const before = this.#wishes.get(typeUrl);
    if (before === names) return;
    if (before?.size === names.size && names.isSubsetOf(before)) return;
    if (before === undefined && names.size === 0) return;
    this.#wishes.set(typeUrl, names);
    feed.subscribe(typeUrl, names);
  }

  /** Starts listeners whose needs are met, and notices when all is there for the first time. */
  #advance(): void {
    this.#warming.startReady();
    this.#checkReady();
  }

  #missing(needs: ListenerNeeds): string[] {
    return [
      ...this.extensions.missing(needs.extensions),
      ...[...needs.routes]
        .filter((name) => !this.#tables.has(name))
        .map((name) => `routes ${name}`),
      ...[...needs.secrets.keys()]
        .filter((name) => this.#options.secrets.get(name) === undefined)
        .map((name) => `secret ${name}`),
    ];
  }

  #checkReady(): void {
    if (this.#isReady || !this.#warming.isIdle) return;
    if (!this.#answered.has(typeUrls.cluster) || !this.#answered.has(typeUrls.listener)) return;
    if (this.#options.clusters.warmingNames().length > 0) return;
    this.#isReady = true;
    this.onReady();
  }
}
