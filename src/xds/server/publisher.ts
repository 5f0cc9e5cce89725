import { typeUrls } from "../feed.ts";
import { resourcesOf, type Snapshot } from "../snapshot.ts";
import { type DeltaRequest, DeltaServerSubscription } from "./delta-subscription.ts";
import { encodeDeltaResponse, encodeSotwResponse } from "./response.ts";
import { type SotwRequest, SotwServerSubscription } from "./sotw-subscription.ts";
import type { Answer, Change, Removals, ServerSubscription } from "./subscription.ts";

/**
 * Decides what one stream is sent, and when. Sans I/O: the owner hands in requests, snapshots and the
 * time, and writes what `poll()` gives.
 *
 * Make before break: clusters, then endpoints, then listeners, then routes, and only when the proxy
 * has answered for all of them what is gone. Listeners and routes wait until the proxy has the
 * endpoints of clusters that are new to it, since a route to a cluster that still warms answers 503;
 * they wait no longer than `warmingTimeoutMs`. One response per type is under way at a time.
 */
export class StreamPublisher {
  readonly #variant: XdsVariant;
  readonly #warmingTimeoutMs: number;
  readonly #subscriptions = new Map<string, ServerSubscription>();
  #snapshot: Snapshot | undefined;
  #removals: Removals = "later";
  #lastNonce = 0;
  /** Names of endpoints whose clusters are new to the proxy. */
  readonly #warming = new Set<string>();
  #warmingUntilMs = 0;
  /** Resources to send again to a subscription that is still to come. */
  readonly #forced = new Map<string, Set<string>>();

  constructor(variant: XdsVariant, warmingTimeoutMs: number) {
    this.#variant = variant;
    this.#warmingTimeoutMs = warmingTimeoutMs;
  }

  get variant(): XdsVariant {
    return this.#variant;
  }

  /** When `poll()` must be called at the latest, though nothing was received; undefined if never. */
  get deadlineMs(): number | undefined {
    return this.#warming.size === 0 ? undefined : this.#warmingUntilMs;
  }

  setSnapshot(snapshot: Snapshot): void {
    this.#snapshot = snapshot;
    this.#removals = "later";
  }

  receiveDelta(typeUrl: string, request: DeltaRequest): Answer | undefined {
    const subscription = this.#subscriptions.get(typeUrl);
    if (subscription instanceof DeltaServerSubscription) {
      return this.#noteAnswer(typeUrl, subscription.receive(request));
    }
    this.#add(typeUrl, new DeltaServerSubscription(typeUrl, request));
    return undefined;
  }

  receiveSotw(typeUrl: string, request: SotwRequest): Answer | undefined {
    const subscription = this.#subscriptions.get(typeUrl);
    if (subscription instanceof SotwServerSubscription) {
      return this.#noteAnswer(typeUrl, subscription.receive(request));
    }
    this.#add(typeUrl, new SotwServerSubscription(typeUrl, request));
    return undefined;
  }

  /** The types asked for so far. */
  get typeUrls(): Iterable<string> {
    return this.#subscriptions.keys();
  }

  wish(typeUrl: string): "*" | ReadonlySet<string> {
    return this.#subscriptions.get(typeUrl)?.wish ?? new Set();
  }

  isAnswered(typeUrl: string, name: string): boolean {
    return this.#subscriptions.get(typeUrl)?.isAnswered(name) ?? false;
  }

  /** Whether the proxy has answered for all the snapshot holds of this type. */
  isSettled(typeUrl: string): boolean {
    const subscription = this.#subscriptions.get(typeUrl);
    if (subscription === undefined) return true;
    if (this.#snapshot === undefined) return false;
    return !subscription.isOutstanding && this.#next(typeUrl, subscription, "now") === undefined;
  }

  /** What is to be sent now. `nowMs` is monotonic. */
  poll(nowMs: number): readonly Outgoing[] {
    const outgoing: Outgoing[] = [];
    if (this.#snapshot === undefined) return outgoing;
    this.#publishAll(nowMs, outgoing);
    if (this.#removals === "later" && this.#isWhole()) {
      this.#removals = "now";
      this.#publishAll(nowMs, outgoing);
    }
    return outgoing;
  }

  #publishAll(nowMs: number, outgoing: Outgoing[]): void {
    for (const typeUrl of this.#inOrder()) {
      if (isTraffic(typeUrl) && this.#isClusterPending(nowMs)) continue;
      const subscription = this.#subscriptions.get(typeUrl);
      if (subscription === undefined) continue;
      const change = this.#next(typeUrl, subscription, this.#removals);
      if (change !== undefined) outgoing.push(this.#send(typeUrl, subscription, { change, nowMs }));
    }
  }

  #next(typeUrl: string, subscription: ServerSubscription, removals: Removals): Change | undefined {
    // Only what routes point to must outlive its removal from the snapshot.
    const isTarget = typeUrl === typeUrls.cluster || typeUrl === typeUrls.endpoint;
    return subscription.next(resourcesOf(this.#snapshot, typeUrl), isTarget ? removals : "now");
  }

  #send(
    typeUrl: string,
    subscription: ServerSubscription,
    { change, nowMs }: { readonly change: Change; readonly nowMs: number },
  ): Outgoing {
    this.#noteDependents(typeUrl, subscription, { change, nowMs });
    const nonce = String(++this.#lastNonce);
    const version = this.#snapshot?.version ?? "";
    subscription.sent(change, nonce);
    const head = { typeUrl, version, nonce };
    const message =
      this.#variant === "delta"
        ? encodeDeltaResponse(head, change)
        : encodeSotwResponse(head, change);
    return { typeUrl, version, change, message };
  }

  /**
   * A changed cluster warms again and needs its endpoints again, though the client has them and may
   * not ask (Envoy keeps the old cluster's subscription); likewise a changed listener its routes.
   */
  #noteDependents(
    typeUrl: string,
    subscription: ServerSubscription,
    { change, nowMs }: { readonly change: Change; readonly nowMs: number },
  ): void {
    const dependent = dependents.get(typeUrl);
    if (dependent === undefined) return;
    const again = new Set<string>();
    for (const resource of change.resources) {
      const isNew = !subscription.isSent(resource.name);
      for (const name of resource.references) {
        if (!isNew) again.add(name);
        else if (typeUrl === typeUrls.cluster) this.#warming.add(name);
      }
    }
    if (this.#warming.size > 0) this.#warmingUntilMs = nowMs + this.#warmingTimeoutMs;
    if (again.size === 0) return;
    const dependentSubscription = this.#subscriptions.get(dependent);
    if (dependentSubscription === undefined) this.#forced.set(dependent, again);
    else dependentSubscription.force(again);
  }

  #noteAnswer(typeUrl: string, answer: Answer | undefined): Answer | undefined {
    // What was refused does not warm: nothing may wait for it.
    if (answer?.kind === "refused" && typeUrl === typeUrls.cluster) this.#warming.clear();
    return answer;
  }

  #add(typeUrl: string, subscription: ServerSubscription): void {
    this.#subscriptions.set(typeUrl, subscription);
    const forced = this.#forced.get(typeUrl);
    if (forced === undefined) return;
    this.#forced.delete(typeUrl);
    subscription.force(forced);
  }

  /** Whether listeners and routes must wait. */
  #isClusterPending(nowMs: number): boolean {
    const clusters = this.#subscriptions.get(typeUrls.cluster);
    if (clusters === undefined) return false;
    if (clusters.isOutstanding) return true;
    const endpoints = this.#subscriptions.get(typeUrls.endpoint);
    if (endpoints?.isOutstanding === true) return true;
    if (this.#warming.size === 0) return false;
    if (nowMs >= this.#warmingUntilMs) this.#warming.clear();
    const view = resourcesOf(this.#snapshot, typeUrls.endpoint);
    for (const name of this.#warming) {
      if (!view.has(name) || endpoints?.isAnswered(name) === true) this.#warming.delete(name);
    }
    return this.#warming.size > 0;
  }

  /** Whether everything but removals has been sent and answered. */
  #isWhole(): boolean {
    for (const typeUrl of publishOrder) {
      const subscription = this.#subscriptions.get(typeUrl);
      if (subscription === undefined) continue;
      if (subscription.isOutstanding) return false;
      if (this.#next(typeUrl, subscription, "later") !== undefined) return false;
    }
    return true;
  }

  #inOrder(): readonly string[] {
    const asked = [...this.#subscriptions.keys()];
    const others = asked.filter((typeUrl) => !publishOrder.includes(typeUrl));
    return [...publishOrder, ...others];
  }
}

export type XdsVariant = "delta" | "sotw";

/** One response to write. */
export interface Outgoing {
  readonly typeUrl: string;
  readonly version: string;
  readonly change: Change;
  /** The encoded response message. */
  readonly message: Uint8Array;
}

const publishOrder: readonly string[] = [
  typeUrls.cluster,
  typeUrls.endpoint,
  typeUrls.listener,
  typeUrls.route,
];

const dependents: ReadonlyMap<string, string> = new Map([
  [typeUrls.cluster, typeUrls.endpoint],
  [typeUrls.listener, typeUrls.route],
]);

function isTraffic(typeUrl: string): boolean {
  return typeUrl === typeUrls.listener || typeUrl === typeUrls.route;
}
