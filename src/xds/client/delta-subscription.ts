/**
 * One resource type as a client of the incremental protocol sees it, over any number of streams.
 * Sans I/O: it says what to request and what to make of a response; the stream's owner writes.
 * Nonces belong to a stream, what is held outlives it.
 */
export class DeltaClientSubscription {
  readonly typeUrl: string;
  #wish: Wish;
  /** What this stream's server knows of our wish; undefined before the first request on it. */
  #requested: Wish | undefined;
  /** Wanted names to be asked for again: a server sends what is subscribed to anew. */
  readonly #again = new Set<string>();
  /** Versions of what was accepted, told to the next server so that it sends only what differs. */
  readonly #held = new Map<string, string>();

  constructor(typeUrl: string, wish: Wish) {
    this.typeUrl = typeUrl;
    this.#wish = wish;
  }

  get wish(): Wish {
    return this.#wish;
  }

  /** Versions of the resources that were accepted. */
  get held(): ReadonlyMap<string, string> {
    return this.#held;
  }

  setWish(wish: Wish): void {
    this.#wish = wish === "*" ? wish : new Set(wish);
    if (wish === "*") return;
    for (const name of this.#held.keys()) if (!wish.has(name)) this.#held.delete(name);
  }

  refresh(name: string): void {
    if (this.#requested !== undefined && this.#wants(name)) this.#again.add(name);
  }

  /** Forgets the stream: the next request is the first on another, and asks for what is not held. */
  streamLost(): void {
    this.#requested = undefined;
    this.#again.clear();
  }

  /** The request that brings the server up to date with our wish; undefined when it is. */
  nextRequest(): SubscriptionRequest | undefined {
    const before = this.#requested;
    const wish = this.#wish;
    if (before === undefined) {
      // Without names a first request would mean everything.
      if (wish !== "*" && wish.size === 0) return undefined;
      this.#requested = wish;
      return {
        subscribe: wish === "*" ? [] : [...wish],
        unsubscribe: [],
        initialVersions: Object.fromEntries(this.#held),
      };
    }
    if (before === wish && this.#again.size === 0) return undefined;
    this.#requested = wish;
    const { added, removed: unsubscribe } = difference(before, wish);
    const subscribe = [...new Set(added).union(this.#again)];
    this.#again.clear();
    if (subscribe.length === 0 && unsubscribe.length === 0) return undefined;
    return { subscribe, unsubscribe, initialVersions: {} };
  }

  /** Checks what arrived. A response that breaks the protocol is refused whole. */
  receive(response: DeltaResponse): Received {
    const names = new Set<string>();
    for (const { name } of [...response.resources, ...response.removed.map((name) => ({ name }))]) {
      if (name === "") return { kind: "broken", reason: "a resource without a name" };
      if (names.has(name))
        return { kind: "broken", reason: `resource ${name} twice in a response` };
      names.add(name);
    }
    // What was given up meanwhile is of no interest any more, and no reason to refuse.
    return {
      kind: "usable",
      resources: response.resources.filter(({ name }) => this.#wants(name)),
      removed: response.removed.filter((name) => this.#wants(name)),
    };
  }

  /** Notes that a response was accepted, also when its stream is gone. */
  accepted(
    resources: Iterable<{ name: string; version: string }>,
    removed: Iterable<string>,
  ): void {
    for (const { name, version } of resources) if (this.#wants(name)) this.#held.set(name, version);
    for (const name of removed) this.#held.delete(name);
  }

  #wants(name: string): boolean {
    return this.#wish === "*" || this.#wish.has(name);
  }
}

export type Wish = "*" | ReadonlySet<string>;

export interface SubscriptionRequest {
  readonly subscribe: readonly string[];
  readonly unsubscribe: readonly string[];
  readonly initialVersions: Readonly<Record<string, string>>;
}

export interface DeltaResponse {
  readonly resources: readonly DeltaResource[];
  readonly removed: readonly string[];
}

export interface DeltaResource {
  readonly name: string;
  readonly version: string;
  readonly bytes: Uint8Array;
}

export type Received =
  | { readonly kind: "broken"; readonly reason: string }
  | {
      readonly kind: "usable";
      readonly resources: readonly DeltaResource[];
      readonly removed: readonly string[];
      /** Wanted, and held already; of the variant that sends them again. */
      readonly unchanged?: readonly string[];
    };

function difference(before: Wish, after: Wish): { added: string[]; removed: string[] } {
  const from = before === "*" ? new Set(["*"]) : before;
  const to = after === "*" ? new Set(["*"]) : after;
  return {
    added: [...to].filter((name) => !from.has(name)),
    removed: [...from].filter((name) => !to.has(name)),
  };
}
