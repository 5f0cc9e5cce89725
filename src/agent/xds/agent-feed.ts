/**
 * What Heddle's own proxy is configured from: the ADS client's answers, preceded by the last
 * accepted snapshot from disk, so that a proxy serves before (or without) a control plane. Every
 * update that the proxy accepts goes to disk.
 *
 * Secrets are not resources here: the proxy reads them from the agent's `SecretSource`.
 */
import { typeUrls, type XdsFeed, type XdsUpdate } from "../../xds/feed.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { typeLabel } from "../../xds/snapshot.ts";
import type { SnapshotStore } from "./snapshot-store.ts";

export interface AgentFeedOptions {
  readonly upstream: XdsFeed;
  readonly store: SnapshotStore;
  readonly log: Logger;
  /** Types that the agent uses itself; the proxy never hears of them. Throws to refuse. */
  readonly own: ReadonlyMap<string, (update: XdsUpdate) => void>;
}

export class AgentFeed implements XdsFeed {
  onUpdate: (update: XdsUpdate) => void = () => {};
  readonly #options: AgentFeedOptions;
  /** Types for which the control plane has answered since we started. */
  readonly #confirmed = new Set<string>();
  /** Names per type that the proxy was given from disk. */
  readonly #fromDisk = new Map<string, Set<string>>();
  readonly #wildcards = new Set<string>();

  constructor(options: AgentFeedOptions) {
    this.#options = options;
    options.upstream.onUpdate = (update) => this.#onUpstream(update);
  }

  /** Subscribes to what the agent needs for itself. */
  start(): void {
    for (const typeUrl of this.#options.own.keys()) this.subscribe(typeUrl, "*");
  }

  subscribe(typeUrl: string, names: "*" | ReadonlySet<string>): void {
    if (typeUrl === typeUrls.secret) return;
    if (names === "*") this.#wildcards.add(typeUrl);
    this.#options.upstream.subscribe(typeUrl, names);
    if (!this.#confirmed.has(typeUrl)) this.#deliverFromDisk(typeUrl, names);
  }

  refresh(typeUrl: string, name: string): void {
    this.#options.upstream.refresh?.(typeUrl, name);
  }

  #deliverFromDisk(typeUrl: string, names: "*" | ReadonlySet<string>): void {
    let given = this.#fromDisk.get(typeUrl);
    if (given === undefined) {
      given = new Set();
      this.#fromDisk.set(typeUrl, given);
    }
    const resources = [...this.#options.store.resources(typeUrl).values()].filter(
      ({ name }) => (names === "*" || names.has(name)) && given.has(name) === false,
    );
    if (resources.length === 0) return;
    for (const { name } of resources) given.add(name);
    this.#deliver({
      typeUrl,
      resources,
      removed: [],
      respond: (refusal) => {
        if (refusal === undefined) return;
        const { log } = this.#options;
        log.warn("configuration from disk refused", { type: typeLabel(typeUrl), reason: refusal });
      },
    });
  }

  #onUpstream(update: XdsUpdate): void {
    const { typeUrl, resources } = update;
    let { removed } = update;
    if (!this.#confirmed.has(typeUrl)) {
      this.#confirmed.add(typeUrl);
      // The first answer to a wildcard is complete: what only the disk knows is gone.
      if (this.#wildcards.has(typeUrl)) {
        const current = new Set(resources.map(({ name }) => name));
        const known = this.#options.store.resources(typeUrl).keys();
        removed = [...new Set([...removed, ...known])].filter((name) => !current.has(name));
      }
    }
    this.#deliver({
      ...update,
      removed,
      respond: (refusal) => {
        if (refusal === undefined) this.#options.store.apply(typeUrl, resources, removed);
        update.respond(refusal);
      },
    });
  }

  #deliver(update: XdsUpdate): void {
    const own = this.#options.own.get(update.typeUrl);
    if (own === undefined) {
      this.onUpdate(update);
      return;
    }
    try {
      own(update);
      update.respond();
    } catch (thrown) {
      update.respond(thrown instanceof Error ? thrown.message : String(thrown));
    }
  }
}
