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

export interface SotwRequest extends RequestFields {
  readonly resourceNames: readonly string[];
}

/**
 * The state-of-the-world variant: every response holds all the client asked for. A request with a
 * stale nonce is void, names and all; the client sends another when it has read what came since.
 */
export class SotwServerSubscription implements ServerSubscription {
  readonly #typeUrl: string;
  #names: ReadonlySet<string> = new Set();
  #isWildcard: boolean;
  /** Whether a request ever named a resource: from then on no names means nothing. */
  #hasNamed = false;
  /** As last sent: what vanishes goes on being sent until removals are due. */
  #held: ReadonlyMap<string, EncodedResource> = new Map();
  /** As last accepted, and what of the present was refused by name. */
  readonly #good = new Map<string, EncodedResource>();
  readonly #refused = new Map<string, string>();
  #nonce: string | undefined;
  #outstanding: Outstanding | undefined;
  #mustSend = true;
  #settled: Settled | undefined;

  constructor(typeUrl: string, first: SotwRequest) {
    this.#typeUrl = typeUrl;
    this.#isWildcard = false;
    this.#setNames(first.resourceNames);
  }

  get wish(): "*" | ReadonlySet<string> {
    return this.#isWildcard ? "*" : this.#names;
  }

  get isOutstanding(): boolean {
    return this.#outstanding !== undefined;
  }

  isAnswered(name: string): boolean {
    // A response without a name we were asked for is how this variant says that it is absent.
    const isAsked = this.#isWildcard || this.#names.has(name);
    return isAsked && this.#outstanding === undefined && !this.#mustSend;
  }

  isSent(name: string): boolean {
    return this.#held.has(name);
  }

  /** Takes a request after the first. */
  receive(request: SotwRequest): Answer | undefined {
    if (this.#nonce !== undefined && request.responseNonce !== this.#nonce) return undefined;
    this.#setNames(request.resourceNames);
    const outstanding = this.#outstanding;
    if (outstanding === undefined) return undefined;
    this.#outstanding = undefined;
    const answer = answerTo(outstanding, request);
    if (answer.kind === "refused") this.#sendRestAgain(answer.resources);
    else for (const resource of answer.change.resources) this.#good.set(resource.name, resource);
    return answer;
  }

  next(view: ResourceSet, removals: Removals): Change | undefined {
    if (this.#outstanding !== undefined) return undefined;
    if (this.#settled?.view === view && this.#settled.removals === removals) return undefined;
    const resources = this.#wanted(view);
    const gone = [...this.#held.values()].filter((resource) => !view.has(resource.name));
    if (removals === "later") resources.push(...gone);
    const isSame =
      resources.length === this.#held.size &&
      resources.every((resource) => this.#held.get(resource.name)?.version === resource.version);
    if (isSame && !this.#mustSend) {
      this.#settled = { view, removals };
      return undefined;
    }
    return { resources, removed: removals === "now" ? gone.map(({ name }) => name) : [] };
  }

  sent(change: Change, nonce: string): void {
    this.#outstanding = { nonce, change };
    this.#nonce = nonce;
    this.#mustSend = false;
    this.#settled = undefined;
    this.#held = new Map(change.resources.map((resource) => [resource.name, resource]));
    for (const name of change.removed) {
      this.#good.delete(name);
      this.#refused.delete(name);
    }
  }

  force(names: Iterable<string>): void {
    for (const name of names) {
      if (!this.#held.has(name)) continue;
      this.#mustSend = true;
      this.#settled = undefined;
      return;
    }
  }

  /**
   * A client may refuse a whole response for one bad resource. The others are sent again beside its
   * last good version, which ends: each refusal names one more.
   */
  #sendRestAgain(refused: readonly EncodedResource[]): void {
    if (refused.length === 0) return;
    const held = new Map(this.#held);
    for (const { name, version } of refused) {
      this.#refused.set(name, version);
      const good = this.#good.get(name);
      if (good === undefined) held.delete(name);
      else held.set(name, good);
    }
    this.#held = held;
    this.#mustSend = true;
    this.#settled = undefined;
  }

  #setNames(names: readonly string[]): void {
    const named = names.filter((name) => name !== "*");
    const isWildcard =
      names.includes("*") || (names.length === 0 && !this.#hasNamed && hasWildcard(this.#typeUrl));
    this.#hasNamed ||= names.length > 0;
    const added = named.some((name) => !this.#names.has(name));
    if (added || (isWildcard && !this.#isWildcard)) this.#mustSend = true;
    if (added || isWildcard !== this.#isWildcard || named.length !== this.#names.size) {
      this.#settled = undefined;
    }
    this.#names = new Set(named);
    this.#isWildcard = isWildcard;
    if (isWildcard) return;
    this.#held = new Map([...this.#held].filter(([name]) => this.#names.has(name)));
  }

  #wanted(view: ResourceSet): EncodedResource[] {
    const wanted: EncodedResource[] = [];
    for (const name of this.#isWildcard ? view.keys() : this.#names) {
      const resource = view.get(name);
      if (resource === undefined) continue;
      const isRefused = this.#refused.get(name) === resource.version;
      const usable = isRefused ? this.#good.get(name) : resource;
      if (usable !== undefined) wanted.push(usable);
    }
    return wanted;
  }
}
