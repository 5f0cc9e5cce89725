/**
 * The data plane's side of xDS: takes resources from a feed, checks them, warms what they need and
 * swaps them in. A resource that cannot be honoured is refused alone, by name and field; its last
 * good version goes on serving, and so does everything else of the same answer.
 */
import type { Clock, Timer } from "../base/clock.ts";
import { HeddleError, messageOf } from "../base/error.ts";
import type { SecretSource } from "../net/secret-source.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { MetricRegistry } from "../telemetry/metrics.ts";
import { Cluster } from "../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { ClusterLoadAssignment } from "../wire/gen/ts/envoy/config/endpoint/v3/endpoint.ts";
import { Listener } from "../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import { RouteConfiguration } from "../wire/gen/ts/envoy/config/route/v3/route.ts";
import { typeUrls, type XdsFeed, type XdsResource, type XdsUpdate } from "../xds/feed.ts";
import type { ClusterPool } from "./cluster.ts";
import { compileCluster } from "./cluster/plan.ts";
import { AppliedResources } from "./config/applied-resources.ts";
import { honouredAssignment, honouredCluster } from "./config/honoured-clusters.ts";
import { honouredRoutes } from "./config/honoured-routes.ts";
import { checkHonoured, type UnknownFieldCount } from "./config/honoured.ts";
import { checkListener, type ListenerNeeds } from "./config/listener-plan.ts";
import type { ListenerSet, PreparedListener, RouteSource } from "./context.ts";
import type { RouteTable } from "./engine/route-table.ts";

export interface ConfigurationOptions {
  readonly feed: XdsFeed;
  readonly clusters: ClusterPool;
  readonly listeners: ListenerSet;
  readonly secrets: SecretSource;
  /** Throws a refusal. */
  readonly compileRoutes: (config: RouteConfiguration) => RouteTable;
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: MetricRegistry;
}

interface WarmingListener {
  readonly resource: XdsResource;
  readonly needs: ListenerNeeds;
  readonly prepared: PreparedListener;
}

interface UnopenedListener {
  readonly resource: XdsResource;
  readonly reason: string;
  readonly retry: Timer;
}

/** A port in use may be free a moment later. */
const reopenMs = 1000;

export class Configuration implements RouteSource {
  readonly applied: AppliedResources;
  /** Called once, when the first complete configuration serves. */
  onReady: () => void = () => undefined;
  readonly #options: ConfigurationOptions;
  readonly #unknown: UnknownFieldCount = { count: 0 };
  readonly #tables = new Map<string, RouteTable>();
  readonly #warming = new Map<string, WarmingListener>();
  readonly #needs = new Map<string, ListenerNeeds>();
  /** Listeners whose sockets could not be opened; tried again until they can. */
  readonly #unopened = new Map<string, UnopenedListener>();
  readonly #answered = new Set<string>();
  readonly #stopSecrets: () => void;
  #starting = 0;
  #isReady = false;

  constructor(options: ConfigurationOptions) {
    this.#options = options;
    this.applied = new AppliedResources(options.clock);
    options.clusters.onReady = () => this.#advance();
    this.#stopSecrets = options.secrets.onChange(() => this.#advance());
    options.feed.onUpdate = (update) => this.#onUpdate(update);
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
    const [first] = this.#warming;
    if (first !== undefined) {
      return `listener ${first[0]} waits for ${this.#missing(first[1].needs).join(", ")}`;
    }
    const [unopened] = this.#unopened;
    if (unopened !== undefined)
      return `listener ${unopened[0]} cannot start: ${unopened[1].reason}`;
    return "listeners are starting";
  }

  /** Names of all secrets that clusters and listeners refer to. */
  secretNames(): ReadonlySet<string> {
    const warming = [...this.#warming.values()].map(({ needs }) => needs);
    const names = [...this.#needs.values(), ...warming].flatMap(({ secrets }) => [...secrets]);
    return this.#options.clusters.secretNames().union(new Set(names));
  }

  /** What was refused last, of every type: `name: field: reason`. */
  refusals(): readonly string[] {
    return Object.keys(this.#appliers).flatMap((typeUrl) =>
      this.applied.refused(typeUrl).map(({ resource, reason }) => `${resource.name}: ${reason}`),
    );
  }

  get(name: string): RouteTable | undefined {
    return this.#tables.get(name);
  }

  close(): void {
    this.#stopSecrets();
    for (const { retry } of this.#unopened.values()) retry.cancel();
    for (const { prepared } of this.#warming.values()) prepared.discard();
    this.#warming.clear();
  }

  #onUpdate(update: XdsUpdate): void {
    const apply = this.#appliers[update.typeUrl];
    if (apply === undefined) {
      update.respond(`type ${update.typeUrl} was not asked for`);
      return;
    }
    const refusals: string[] = [];
    const seen = new Set<string>();
    const before = this.#unknown.count;
    for (const resource of update.resources) {
      const reason = seen.has(resource.name)
        ? "occurs twice in one answer"
        : this.#applyOne(update.typeUrl, resource, apply.apply);
      seen.add(resource.name);
      if (reason !== undefined) refusals.push(`${resource.name}: ${reason}`);
    }
    for (const name of update.removed) {
      apply.remove(name);
      this.applied.remove(update.typeUrl, name);
    }
    this.#answered.add(update.typeUrl);
    this.#count(update.typeUrl, refusals, this.#unknown.count - before);
    update.respond(refusals.length === 0 ? undefined : refusals.join("; "));
    this.#subscribeDependents(update.typeUrl);
    this.#advance();
  }

  #applyOne(
    typeUrl: string,
    resource: XdsResource,
    apply: (resource: XdsResource) => void,
  ): string | undefined {
    if (this.applied.isCurrent(typeUrl, resource)) return undefined;
    try {
      apply(resource);
      this.applied.accept(typeUrl, resource);
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
      this.applied.refuse(typeUrl, resource, reason);
      return reason;
    }
  }

  readonly #appliers: Readonly<
    Record<
      string,
      { readonly apply: (resource: XdsResource) => void; readonly remove: (name: string) => void }
    >
  > = {
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
    [typeUrls.route]: {
      apply: (resource) => this.#applyRoutes(resource),
      // A listener that still asks for it answers 404, as Envoy does.
      remove: (name) => void this.#tables.delete(name),
    },
  };

  #applyCluster(resource: XdsResource): void {
    const cluster = Cluster.decode(resource.bytes);
    checkHonoured(cluster, honouredCluster, "", this.#unknown);
    this.#options.clusters.apply(compileCluster(cluster));
  }

  #applyEndpoints(resource: XdsResource): void {
    const assignment = ClusterLoadAssignment.decode(resource.bytes);
    checkHonoured(assignment, honouredAssignment, "", this.#unknown);
    this.#options.clusters.applyEndpoints(assignment);
  }

  #applyRoutes(resource: XdsResource): void {
    const config = RouteConfiguration.decode(resource.bytes);
    checkHonoured(config, honouredRoutes, "", this.#unknown);
    this.#tables.set(resource.name, this.#options.compileRoutes(config));
  }

  #applyListener(resource: XdsResource): void {
    const listener = Listener.decode(resource.bytes);
    const needs = checkListener(listener, this.#unknown);
    for (const routes of needs.inlineRoutes) this.#options.compileRoutes(routes);
    const prepared = this.#options.listeners.prepare(listener);
    this.#forgetUnopened(resource.name);
    this.#warming.get(resource.name)?.prepared.discard();
    this.#warming.set(resource.name, { resource, needs, prepared });
  }

  #removeListener(name: string): void {
    this.#warming.get(name)?.prepared.discard();
    this.#warming.delete(name);
    this.#needs.delete(name);
    this.#forgetUnopened(name);
    this.#options.listeners.remove(name);
  }

  /** Names follow from what was just applied: endpoints from clusters, routes from listeners. */
  #subscribeDependents(typeUrl: string): void {
    const { feed, clusters } = this.#options;
    if (typeUrl === typeUrls.cluster) {
      this.#subscribe(feed, typeUrls.endpoint, clusters.endpointNames());
    }
    if (typeUrl === typeUrls.listener) {
      const active = [...this.#needs.values()].map((needs) => needs.routes);
      const warming = [...this.#warming.values()].map(({ needs }) => needs.routes);
      const names = new Set([...active, ...warming].flatMap((routes) => [...routes]));
      this.#subscribe(feed, typeUrls.route, names);
    }
  }

  readonly #wishes = new Map<string, ReadonlySet<string>>();

  #subscribe(feed: XdsFeed, typeUrl: string, names: ReadonlySet<string>): void {
    const before = this.#wishes.get(typeUrl);
    if (before !== undefined && before.symmetricDifference(names).size === 0) return;
    if (before === undefined && names.size === 0) return;
    this.#wishes.set(typeUrl, names);
    feed.subscribe(typeUrl, names);
  }

  /** Starts listeners whose needs are met, and notices when all is there for the first time. */
  #advance(): void {
    for (const [name, warming] of this.#warming) {
      if (this.#missing(warming.needs).length > 0) continue;
      this.#warming.delete(name);
      this.#needs.set(name, warming.needs);
      void this.#startListener(name, warming);
    }
    this.#checkReady();
  }

  async #startListener(name: string, warming: WarmingListener): Promise<void> {
    const { prepared, resource, needs } = warming;
    this.#starting++;
    try {
      await prepared.start();
      if (this.#refusalOf(resource) !== undefined) {
        this.applied.accept(typeUrls.listener, resource);
      }
    } catch (thrown) {
      // What was replaced or removed in the meantime is not tried again.
      const isLatest = this.#needs.get(name) === needs && !this.#warming.has(name);
      if (isLatest) this.#onUnopened(name, resource, messageOf(thrown));
    } finally {
      this.#starting--;
      this.#checkReady();
    }
  }

  #onUnopened(name: string, resource: XdsResource, reason: string): void {
    const { clock, log } = this.#options;
    if (this.#refusalOf(resource) !== reason) {
      log.error("a listener cannot start", { listener: name, reason, retryMs: reopenMs });
    }
    this.applied.refuse(typeUrls.listener, resource, reason);
    const retry = clock.schedule(reopenMs, () => this.#reopen(name));
    this.#unopened.set(name, { resource, reason, retry });
  }

  #refusalOf(resource: XdsResource): string | undefined {
    const refused = this.applied.refused(typeUrls.listener);
    return refused.find((one) => one.resource === resource)?.reason;
  }

  #reopen(name: string): void {
    const unopened = this.#unopened.get(name);
    if (unopened === undefined) return;
    this.#unopened.delete(name);
    this.#applyListener(unopened.resource);
    this.#advance();
  }

  #forgetUnopened(name: string): void {
    this.#unopened.get(name)?.retry.cancel();
    this.#unopened.delete(name);
  }

  #missing(needs: ListenerNeeds): string[] {
    return [
      ...[...needs.routes]
        .filter((name) => !this.#tables.has(name))
        .map((name) => `routes ${name}`),
      ...[...needs.secrets]
        .filter((name) => this.#options.secrets.get(name) === undefined)
        .map((name) => `secret ${name}`),
    ];
  }

  #checkReady(): void {
    if (this.#isReady || this.#starting > 0) return;
    if (this.#warming.size > 0 || this.#unopened.size > 0) return;
    if (!this.#answered.has(typeUrls.cluster) || !this.#answered.has(typeUrls.listener)) return;
    if (this.#options.clusters.warmingNames().length > 0) return;
    this.#isReady = true;
    this.onReady();
  }

  #count(typeUrl: string, refusals: readonly string[], unknown: number): void {
    const { metrics, log } = this.#options;
    const type = typeUrl.split(".").at(-1) ?? typeUrl;
    const updates = metrics.counter("heddle_xds_updates_total", "xDS answers by outcome", {
      type,
      outcome: refusals.length === 0 ? "accepted" : "refused",
    });
    updates.add(1);
    if (unknown > 0) {
      const fields = metrics.counter(
        "heddle_xds_unknown_fields_total",
        "Fields of xDS resources that the schema does not know",
        { type },
      );
      fields.add(unknown);
    }
    for (const refusal of refusals) log.warn("xDS resource refused", { type, refusal });
  }
}
