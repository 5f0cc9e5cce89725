/**
 * Passes the agent's feed on to Envoy over a Unix socket, with the secrets that only the agent has.
 * A cluster goes out with its endpoints and a listener with its routes, so that Envoy is never told
 * that something does not exist while it is on its way. Envoy's answer is what the control plane
 * hears.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { GrpcMethod } from "../../net/grpc-server.ts";
import type { SecretSource } from "../../net/secret-source.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { AdsServer, type ProxyAnswer } from "../../xds/ads-server.ts";
import { typeUrls, type XdsFeed, type XdsUpdate } from "../../xds/feed.ts";
import { encodedResource, snapshotOf, type EncodedResource } from "../../xds/snapshot.ts";
import { secretNames } from "../identity/identity-keeper.ts";
import { endpointNamesOf, routeNamesOf } from "./references.ts";
import { encodeSecret } from "./secrets.ts";

export interface EnvoyRelayOptions {
  readonly feed: XdsFeed;
  readonly secrets: SecretSource;
  readonly clock: Clock;
  readonly log: Logger;
}

const proxyId = "envoy";
/** A port in use may be free a moment later. */
const reopenMs = 2000;
/** How long a set may wait for the endpoints and routes it names. */
const completeAfterMs = 2000;

type Resources = Map<string, EncodedResource>;

interface PendingAnswer {
  readonly typeUrl: string;
  /** The snapshot that carried it; 0 until it was published. */
  version: number;
  readonly respond: (refusal?: string) => void;
}

const listenerRoutes = {
  from: typeUrls.listener,
  to: typeUrls.route,
  namesOf: routeNamesOf,
} as const;

/** Types whose resources name others, and how. */
const followedTypes = [
  { from: typeUrls.cluster, to: typeUrls.endpoint, namesOf: endpointNamesOf },
  listenerRoutes,
] as const;

export class EnvoyRelay {
  readonly #server: AdsServer;
  readonly #options: EnvoyRelayOptions;
  readonly #types = new Map<string, Resources>();
  /** What Envoy has accepted, to go back to when it refuses something newer. */
  readonly #accepted = new Map<string, Resources>();
  /** Names that the control plane says do not exist; nobody waits for them. */
  readonly #absent = new Set<string>();
  /** Types that the control plane, or the disk, has said anything about. */
  readonly #known = new Set<string>();
  /** Types that Envoy has asked for on its present stream. */
  readonly #asked = new Set<string>();
  /** The first snapshot that held what the control plane says of listeners. */
  #firstWhole: number | undefined;
  #isConfigured = false;
  /** Listeners that Envoy could not bind and has no other version of, with its words. */
  readonly #unbound = new Map<string, string>();
  #reopen: Timer | undefined;
  #pending: PendingAnswer[] = [];
  #version = 0;
  #timer: Timer | undefined;
  #isPublishDue = false;

  constructor(options: EnvoyRelayOptions) {
    this.#options = options;
    this.#server = new AdsServer({
      clock: options.clock,
      log: options.log,
      events: {
        onAnswer: (_, answer) => this.#onAnswer(answer),
        onWish: (_, typeUrl) => void this.#asked.add(typeUrl),
        onDisconnect: () => this.#asked.clear(),
      },
    });
  }

  /** To be served on the Unix socket that only Envoy reaches. */
  methods(): readonly GrpcMethod[] {
    return this.#server.methods(() => proxyId);
  }

  start(): void {
    const { feed, secrets } = this.#options;
    feed.onUpdate = (update) => this.#onUpdate(update);
    secrets.onChange(() => this.#onSecrets());
    this.#onSecrets();
    feed.subscribe(typeUrls.cluster, "*");
    feed.subscribe(typeUrls.listener, "*");
  }

  /** Whether Envoy has answered to a first whole configuration. */
  get isConfigured(): boolean {
    return this.#isConfigured;
  }

  /** The first listener that Envoy cannot bind, and why; undefined when there is none. */
  get unbound(): string | undefined {
    const [first] = this.#unbound;
    return first === undefined ? undefined : `listener ${first[0]} cannot start: ${first[1]}`;
  }

  close(): void {
    this.#timer?.cancel();
    this.#reopen?.cancel();
  }

  #onUpdate(update: XdsUpdate): void {
    const { typeUrl, resources, removed } = update;
    const respond = (refusal?: string): void => update.respond(refusal);
    const known = this.#resources(typeUrl);
    const followed = followedTypes.find(({ from }) => from === typeUrl);
    try {
      for (const { name, bytes } of resources) {
        const references = followed === undefined ? [] : followed.namesOf(bytes);
        known.set(name, encodedResource(name, bytes, { references }));
        this.#absent.delete(`${typeUrl} ${name}`);
      }
    } catch (thrown) {
      respond(`a resource cannot be decoded: ${String(thrown)}`);
      return;
    }
    for (const name of removed) {
      known.delete(name);
      this.#absent.add(`${typeUrl} ${name}`);
    }
    this.#pending.push({ typeUrl, version: 0, respond });
    this.#known.add(typeUrl);
    if (followed !== undefined) this.#follow(followed);
    this.#schedulePublish();
  }

  #follow({ from, to }: (typeof followedTypes)[number]): void {
    const names = new Set<string>();
    for (const { references } of this.#resources(from).values()) {
      for (const name of references) names.add(name);
    }
    // What nobody names any more is gone with who named it.
    for (const name of this.#resources(to).keys()) {
      if (!names.has(name)) this.#resources(to).delete(name);
    }
    this.#options.feed.subscribe(to, names);
  }

  #onSecrets(): void {
    const resources: Resources = new Map();
    for (const name of Object.values(secretNames)) {
      const secret = this.#options.secrets.get(name);
      if (secret === undefined) continue;
      resources.set(name, encodedResource(name, encodeSecret(name, secret)));
    }
    this.#types.set(typeUrls.secret, resources);
    this.#schedulePublish();
  }

  /**
   * Several updates in a row go out together. Clusters may go out before listeners are known: the
   * control plane tells of listeners only when clusters have been accepted.
   */
  #schedulePublish(): void {
    if (this.#isPublishDue || !this.#known.has(typeUrls.cluster)) return;
    this.#isPublishDue = true;
    setImmediate(() => {
      this.#isPublishDue = false;
      if (this.#isComplete()) this.#publish();
      else {
        this.#timer ??= this.#options.clock.schedule(completeAfterMs, () => {
          this.#options.log.warn("configuration passed on without all it refers to");
          this.#publish();
        });
      }
    });
  }

  #isComplete(): boolean {
    return followedTypes.every(({ from, to }) => {
      const targets = this.#resources(to);
      return [...this.#resources(from).values()].every(({ references }) =>
        references.every((name) => targets.has(name) || this.#absent.has(`${to} ${name}`)),
      );
    });
  }

  #publish(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#version += 1;
    if (this.#known.has(typeUrls.listener)) this.#firstWhole ??= this.#version;
    for (const answer of this.#pending) if (answer.version === 0) answer.version = this.#version;
    const types = [...this.#types].map(
      ([typeUrl, resources]) => [typeUrl, resources.values()] as const,
    );
    this.#server.setSnapshot(proxyId, snapshotOf(String(this.#version), types));
    this.#settle();
  }

  #onAnswer(answer: ProxyAnswer): void {
    const { typeUrl } = answer;
    const version = Number(answer.version);
    const isWhole = this.#firstWhole !== undefined && version >= this.#firstWhole;
    if (isWhole && typeUrl === typeUrls.listener) this.#isConfigured = true;
    if (answer.kind === "acked") {
      if (typeUrl === typeUrls.listener) this.#boundAll();
      this.#accepted.set(typeUrl, new Map(this.#resources(typeUrl)));
      this.#respond((pending) => pending.typeUrl === typeUrl && pending.version <= version);
      this.#settle();
      return;
    }
    const names = answer.resources.map(({ name }) => name);
    const isHeld =
      typeUrl === typeUrls.listener &&
      /\bbind\b/i.test(answer.reason) &&
      this.#tryAgain(names, answer.reason);
    // The control plane hears nothing as long as it may still come right: nobody would take back
    // a refusal.
    if (!isHeld) this.#respond((pending) => pending.typeUrl === typeUrl, answer.reason);
    this.#revert(typeUrl, names);
  }

  /** What is part of an accepted answer is bound; what the control plane removed is not wanted. */
  #boundAll(): void {
    const current = this.#resources(typeUrls.listener);
    for (const name of this.#unbound.keys()) {
      const isGone = this.#absent.has(`${typeUrls.listener} ${name}`);
      if (current.has(name) || isGone) this.#unbound.delete(name);
    }
  }

  /**
   * Envoy does not try to bind again by itself: it is offered the listener anew, with the routes that
   * went with it. False when another version of it serves.
   */
  #tryAgain(names: readonly string[], reason: string): boolean {
    const current = this.#resources(typeUrls.listener);
    const unbound = names.flatMap((name) => {
      const resource = current.get(name);
      const hasOther = this.#accepted.get(typeUrls.listener)?.has(name) === true;
      return resource === undefined || hasOther ? [] : [resource];
    });
    for (const { name } of unbound) this.#unbound.set(name, reason.trim());
    this.#reopen?.cancel();
    this.#reopen = this.#options.clock.schedule(reopenMs, () => {
      for (const resource of unbound) {
        // Unless the control plane has said something newer of it.
        if (this.#unbound.has(resource.name) && !current.has(resource.name)) {
          current.set(resource.name, resource);
        }
      }
      this.#follow(listenerRoutes);
      this.#schedulePublish();
    });
    return unbound.length > 0;
  }

  /** Envoy keeps its last good version; so do we, for when it starts again. */
  #revert(typeUrl: string, refused: readonly string[]): void {
    const accepted = this.#accepted.get(typeUrl) ?? new Map<string, EncodedResource>();
    const current = this.#resources(typeUrl);
    for (const name of refused) {
      const last = accepted.get(name);
      if (last === undefined) current.delete(name);
      else current.set(name, last);
    }
    if (refused.length > 0) this.#schedulePublish();
  }

  /** What changed nothing for Envoy gets no answer of its own: it counts when all else is accepted. */
  #settle(): void {
    if (!this.#server.isSynced(proxyId)) return;
    if (this.#firstWhole !== undefined) this.#isConfigured = true;
    this.#respond(({ typeUrl, version }) => this.#asked.has(typeUrl) && version <= this.#version);
  }

  #respond(matches: (pending: PendingAnswer) => boolean, refusal?: string): void {
    const isHeld = ({ typeUrl }: PendingAnswer): boolean =>
      refusal === undefined && typeUrl === typeUrls.listener && this.#unbound.size > 0;
    const due = this.#pending.filter(
      (pending) => pending.version !== 0 && matches(pending) && !isHeld(pending),
    );
    if (due.length === 0) return;
    this.#pending = this.#pending.filter((pending) => !due.includes(pending));
    for (const pending of due) pending.respond(refusal);
  }

  #resources(typeUrl: string): Resources {
    const known = this.#types.get(typeUrl);
    if (known !== undefined) return known;
    const made: Resources = new Map();
    this.#types.set(typeUrl, made);
    return made;
  }
}
