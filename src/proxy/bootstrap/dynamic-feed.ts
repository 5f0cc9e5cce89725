/**
 * Static resources first, then those of a control plane or of files. What stands in the bootstrap
 * stays as it is: a dynamic resource of the same name is refused.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Logger } from "../../telemetry/logger.ts";
import {
  type SecretOrigin,
  typeUrls,
  type XdsFeed,
  type XdsResource,
  type XdsUpdate,
} from "../../xds/feed.ts";

export interface DynamicFeedOptions {
  readonly statics: ReadonlyMap<string, readonly XdsResource[]>;
  readonly sources: ReadonlyMap<string, FeedSource>;
  /** Endpoints and routes are asked for here, whatever names them. */
  readonly ads: XdsFeed | undefined;
  readonly wantSecrets: (secrets: ReadonlyMap<string, SecretOrigin>) => void;
  /** Secrets of the aggregated stream. */
  readonly onSecrets: (update: XdsUpdate) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface FeedSource {
  readonly feed: XdsFeed;
  /** 0 waits for ever. */
  readonly initialFetchTimeoutMs: number;
}

export class DynamicFeed implements XdsFeed {
  onUpdate: (update: XdsUpdate) => void = () => undefined;
  readonly #options: DynamicFeedOptions;
  /** Per type whose first answer is awaited. */
  readonly #waits = new Map<string, Timer>();
  readonly #applied = Promise.withResolvers<void>();
  /** Static types that were not answered yet. */
  readonly #open: Set<string>;

  constructor(options: DynamicFeedOptions) {
    this.#options = options;
    this.#open = new Set(options.statics.keys());
    if (this.#open.size === 0) this.#applied.resolve();
    const feeds = [...options.sources.values()].map(({ feed }) => feed);
    for (const feed of new Set([...feeds, options.ads])) {
      if (feed !== undefined) feed.onUpdate = (update) => this.#onDynamic(update);
    }
  }

  /** Resolves when what stands in the bootstrap was accepted or refused. */
  get staticsApplied(): Promise<void> {
    return this.#applied.promise;
  }

  subscribe(typeUrl: string, names: "*" | ReadonlySet<string>): void {
    const source = this.#options.sources.get(typeUrl);
    const statics = this.#options.statics.get(typeUrl);
    if (statics !== undefined || names === "*") {
      const isInterim = source === undefined ? {} : { isInterim: true as const };
      const respond = (): void => {
        this.#open.delete(typeUrl);
        if (this.#open.size === 0) this.#applied.resolve();
      };
      this.onUpdate({ typeUrl, resources: statics ?? [], removed: [], respond, ...isInterim });
    }
    if (source !== undefined) {
      this.#awaitFirst(typeUrl, source.initialFetchTimeoutMs);
      source.feed.subscribe(typeUrl, names);
    } else if (names !== "*") {
      this.#subscribeNamed(typeUrl, names);
    }
  }

  refresh(typeUrl: string, name: string): void {
    const source = this.#options.sources.get(typeUrl)?.feed ?? this.#options.ads;
    source?.refresh?.(typeUrl, name);
  }

  wantSecrets(secrets: ReadonlyMap<string, SecretOrigin>): void {
    this.#options.wantSecrets(secrets);
  }

  close(): void {
    for (const wait of this.#waits.values()) wait.cancel();
  }

  #subscribeNamed(typeUrl: string, names: ReadonlySet<string>): void {
    const { ads } = this.#options;
    if (ads !== undefined) {
      ads.subscribe(typeUrl, names);
      return;
    }
    this.onUpdate({ typeUrl, resources: [], removed: [...names], respond: () => undefined });
  }

  #onDynamic(update: XdsUpdate): void {
    const { typeUrl } = update;
    if (typeUrl === typeUrls.secret) {
      this.#options.onSecrets(update);
      return;
    }
    this.#waits.get(typeUrl)?.cancel();
    this.#waits.delete(typeUrl);
    const fixed = new Set(this.#options.statics.get(typeUrl)?.map(({ name }) => name));
    const taken = update.resources.filter(({ name }) => fixed.has(name));
    if (taken.length === 0 && !update.removed.some((name) => fixed.has(name))) {
      this.onUpdate(update);
      return;
    }
    const reasons = taken.map(({ name }) => `${name}: is the name of a static resource`);
    this.onUpdate({
      ...update,
      resources: update.resources.filter(({ name }) => !fixed.has(name)),
      removed: update.removed.filter((name) => !fixed.has(name)),
      respond: (refusal) => {
        const all = refusal === undefined ? reasons : [...reasons, refusal];
        update.respond(all.length === 0 ? undefined : all.join("; "));
      },
    });
  }

  #awaitFirst(typeUrl: string, timeoutMs: number): void {
    if (timeoutMs === 0 || this.#waits.has(typeUrl)) return;
    const wait = this.#options.clock.schedule(timeoutMs, () => {
      this.#options.log.warn("no answer yet; the proxy goes on with what is there", {
        type: typeUrl.split(".").at(-1) ?? typeUrl,
        timeoutMs,
      });
      this.onUpdate({ typeUrl, resources: [], removed: [], respond: () => undefined });
    });
    this.#waits.set(typeUrl, wait);
  }
}
