import type { EncodedResource, ResourceSet } from "../snapshot.ts";
import {
  type Answer,
  answerTo,
  type Change,
  hasWildcard,
  type Outstanding,
  type Removals,
  type RequestFields,
  type ServerSubscription,
  type Settled,
} from "./subscription.ts";

export interface DeltaRequest extends RequestFields {
  readonly resourceNamesSubscribe: readonly string[];
  readonly resourceNamesUnsubscribe: readonly string[];
  readonly initialResourceVersions: Readonly<Record<string, string>>;
}

/** In place of a version: the client was told that the resource does not exist. */
const absent = "";

/**
 * The incremental variant: the client is sent what changed and what vanished, resource by resource.
 * Subscription changes count whatever the nonce; a re-subscribed name is always sent again; a name
 * given up that the wildcard still covers is answered for (xDS protocol, "Unsubscribing").
 */
export class DeltaServerSubscription implements ServerSubscription {
  readonly #names = new Set<string>();
  #isWildcard = false;
  /** Versions as sent, also of what was refused by name: that is not sent again unchanged. */
  readonly #held = new Map<string, string>();
  readonly #forced = new Set<string>();
  #outstanding: Outstanding | undefined;
  /** The first request is answered even with nothing, so that the client can go on. */
  #owesAnswer = true;
  /** Undefined after anything that may have changed it. */
  #settled: Settled | undefined;

  constructor(typeUrl: string, first: DeltaRequest) {
    this.#isWildcard = hasWildcard(typeUrl) && first.resourceNamesSubscribe.length === 0;
    for (const [name, version] of Object.entries(first.initialResourceVersions)) {
      this.#held.set(name, version);
    }
    this.#subscribe(first);
    // Subscribing says "send it again", but not for what the client says it kept.
    for (const name of this.#held.keys()) {
      this.#forced.delete(name);
      if (!this.#wants(name)) this.#held.delete(name);
    }
  }

  get wish(): "*" | ReadonlySet<string> {
    return this.#isWildcard ? "*" : this.#names;
  }

  get isOutstanding(): boolean {
    return this.#outstanding !== undefined;
  }

  isAnswered(name: string): boolean {
    if (!this.#held.has(name)) return false;
    const change = this.#outstanding?.change;
    if (change === undefined) return true;
    return !change.removed.includes(name) && !change.resources.some((r) => r.name === name);
  }

  isSent(name: string): boolean {
    const version = this.#held.get(name);
    return version !== undefined && version !== absent;
  }

  /** Takes a request after the first. */
  receive(request: DeltaRequest): Answer | undefined {
    this.#subscribe(request);
    const outstanding = this.#outstanding;
    if (outstanding === undefined || request.responseNonce !== outstanding.nonce) return undefined;
    this.#outstanding = undefined;
    const answer = answerTo(outstanding, request);
    if (answer.kind === "refused") this.#sendRestAgain(answer.change, answer.resources);
    return answer;
  }

  next(view: ResourceSet, removals: Removals): Change | undefined {
    if (this.#outstanding !== undefined) return undefined;
    if (this.#settled?.view === view && this.#settled.removals === removals) return undefined;
    const resources: EncodedResource[] = [];
    for (const resource of this.#wanted(view)) {
      const { name, version } = resource;
      if (this.#forced.has(name) || this.#held.get(name) !== version) resources.push(resource);
    }
    const removed = removals === "now" ? this.#removedFrom(view) : this.#unknownIn(view);
    if (resources.length === 0 && removed.length === 0 && !this.#owesAnswer) {
      this.#settled = { view, removals };
      return undefined;
    }
    return { resources, removed };
  }

  sent(change: Change, nonce: string): void {
    this.#outstanding = { nonce, change };
    this.#owesAnswer = false;
    this.#settled = undefined;
    for (const { name, version } of change.resources) {
      this.#held.set(name, version);
      this.#forced.delete(name);
    }
    for (const name of change.removed) {
      // A name asked for stays known as absent, so that it is told once; others are forgotten.
      if (this.#names.has(name)) this.#held.set(name, absent);
      else this.#held.delete(name);
      this.#forced.delete(name);
    }
  }

  force(names: Iterable<string>): void {
    for (const name of names) {
      if (this.#wants(name) && this.#held.has(name)) this.#forced.add(name);
    }
    this.#settled = undefined;
  }

  /**
   * A client may refuse a whole response for one bad resource (Envoy does when a field is out of
   * range). The others are sent again without it, which ends: each refusal names one more.
   */
  #sendRestAgain(change: Change, refused: readonly EncodedResource[]): void {
    if (refused.length === 0) return;
    this.#settled = undefined;
    for (const resource of change.resources) {
      if (!refused.includes(resource)) this.#held.delete(resource.name);
    }
  }

  #subscribe(request: DeltaRequest): void {
    const { resourceNamesSubscribe, resourceNamesUnsubscribe } = request;
    if (resourceNamesSubscribe.length === 0 && resourceNamesUnsubscribe.length === 0) return;
    this.#settled = undefined;
    for (const name of resourceNamesSubscribe) {
      if (name === "*") this.#isWildcard = true;
      else {
        this.#names.add(name);
        this.#forced.add(name);
      }
    }
    for (const name of resourceNamesUnsubscribe) {
      if (name === "*") this.#endWildcard();
      else this.#unsubscribe(name);
    }
  }

  #unsubscribe(name: string): void {
    const wasSubscribed = this.#names.delete(name);
    this.#forced.delete(name);
    if (this.#isWildcard) {
      if (wasSubscribed) this.#forced.add(name);
    } else {
      this.#held.delete(name);
    }
  }

  #endWildcard(): void {
    this.#isWildcard = false;
    for (const name of this.#held.keys()) {
      if (!this.#names.has(name)) this.#held.delete(name);
    }
    for (const name of this.#forced) if (!this.#names.has(name)) this.#forced.delete(name);
  }

  #wants(name: string): boolean {
    return this.#isWildcard || this.#names.has(name);
  }

  *#wanted(view: ResourceSet): Iterable<EncodedResource> {
    if (this.#isWildcard) {
      yield* view.values();
      return;
    }
    for (const name of this.#names) {
      const resource = view.get(name);
      if (resource !== undefined) yield resource;
    }
  }

  /** Names asked for that do not exist and that the client never had: nothing breaks by saying so. */
  #unknownIn(view: ResourceSet): readonly string[] {
    return [...this.#names].filter((name) => !view.has(name) && !this.#held.has(name));
  }

  #removedFrom(view: ResourceSet): readonly string[] {
    const removed = new Set<string>();
    for (const [name, version] of this.#held) {
      if (version !== absent && !view.has(name)) removed.add(name);
    }
    for (const name of this.#names) {
      if (!view.has(name) && this.#held.get(name) !== absent) removed.add(name);
    }
    for (const name of this.#forced) if (!view.has(name)) removed.add(name);
    return [...removed];
  }
}
