/**
 * Listeners on their way to serving: their addresses are bound first, so that one that cannot be had
 * is refused by name, then they wait for the routes and secrets they name. Everything here that
 * opens sockets runs one after another: two versions of a listener never fight for an address.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import { messageOf } from "../../base/error.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { XdsResource } from "../../xds/feed.ts";
import type { PreparedListener } from "../preparation.ts";
import type { ListenerNeeds } from "./listener-plan.ts";

export interface WarmingListenersOptions {
  readonly clock: Clock;
  readonly log: Logger;
  /** Whom listeners ask ahead of requests are there: the first wait for all clusters, as in Envoy. */
  readonly mayPrepare: () => boolean;
  /** A listener has prepared what it needs. */
  readonly onPrepared: () => void;
  /** What a listener needs and is not there. */
  readonly missing: (needs: ListenerNeeds) => readonly string[];
  /** It has its addresses. */
  readonly onBound: (resource: XdsResource) => void;
  readonly onRefused: (resource: XdsResource, reason: string) => void;
  /** A listener that was refused, because it could not be bound, serves after all. */
  readonly onRecovered: (resource: XdsResource) => void;
  /** Nothing is being opened any more. */
  readonly onSettled: () => void;
  /** Prepares once more what could not be bound; throws a refusal. */
  readonly prepareAgain: (resource: XdsResource) => void;
}

interface Warming {
  readonly resource: XdsResource;
  readonly needs: ListenerNeeds;
  readonly prepared: PreparedListener;
  isBound: boolean;
  preparation: "waits" | "runs" | "done";
  /** It was refused before. */
  isSecondTry: boolean;
}

interface Unbound {
  readonly resource: XdsResource;
  readonly needs: ListenerNeeds;
  readonly reason: string;
  readonly retry: Timer;
}

/** A port in use may be free a moment later. */
const retryMs = 1000;

export class WarmingListeners {
  readonly #options: WarmingListenersOptions;
  readonly #warming = new Map<string, Warming>();
  /** Of the versions that serve. */
  readonly #needs = new Map<string, ListenerNeeds>();
  /** Listeners whose addresses could not be bound; tried again until they can. */
  readonly #unbound = new Map<string, Unbound>();
  readonly #tasks: (() => Promise<void> | undefined)[] = [];
  #isBusy = false;
  #isClosed = false;

  constructor(options: WarmingListenersOptions) {
    this.#options = options;
  }

  get isIdle(): boolean {
    return this.#warming.size === 0 && this.#unbound.size === 0 && !this.#isBusy;
  }

  get counts(): { readonly active: number; readonly warming: number } {
    return { active: this.#needs.size, warming: this.#warming.size + this.#unbound.size };
  }

  get hasServing(): boolean {
    return this.#needs.size > 0;
  }

  /** Why the first one does not serve; undefined when all do. */
  get waitingFor(): string | undefined {
    const [first] = this.#warming;
    if (first !== undefined) {
      const [name, { needs, preparation }] = first;
      const missing = this.#options.missing(needs);
      if (missing.length > 0) return `listener ${name} waits for ${missing.join(", ")}`;
      return `listener ${name} ${preparation === "runs" ? "prepares for requests" : "is starting"}`;
    }
    const [unbound] = this.#unbound;
    if (unbound === undefined) return undefined;
    return `listener ${unbound[0]} cannot start: ${unbound[1].reason}`;
  }

  /** Of all versions that serve or are on their way, those that wait for an address among them. */
  needs(): readonly ListenerNeeds[] {
    const coming = [...this.#warming.values(), ...this.#unbound.values()];
    return [...this.#needs.values(), ...coming.map(({ needs }) => needs)];
  }

  /** Runs what may open sockets when everything before it is done; at once where nothing is under way. */
  run(task: () => Promise<void> | undefined): void {
    if (this.#isBusy) {
      this.#tasks.push(task);
      return;
    }
    const work = task();
    if (work === undefined) return;
    this.#isBusy = true;
    void work.finally(() => {
      this.#isBusy = false;
      for (let next = this.#tasks.shift(); next !== undefined; next = this.#tasks.shift()) {
        this.run(next);
        if (this.#isBusy) return;
      }
      this.#options.onSettled();
    });
  }

  add(resource: XdsResource, needs: ListenerNeeds, prepared: PreparedListener): void {
    const { name } = resource;
    const isSecondTry = this.#unbound.get(name)?.resource === resource;
    this.#forgetUnbound(name);
    this.#warming.get(name)?.prepared.discard();
    const preparation = prepared.begin === undefined ? "done" : "waits";
    this.#warming.set(name, {
      resource,
      needs,
      prepared,
      isBound: false,
      preparation,
      isSecondTry,
    });
  }

  remove(name: string): void {
    this.#warming.get(name)?.prepared.discard();
    this.#warming.delete(name);
    this.#needs.delete(name);
    this.#forgetUnbound(name);
  }

  /**
   * Binds what is new; undefined when nothing is. Resolves with what cannot be bound:
   * `name: reason`.
   */
  bind(): Promise<readonly string[]> | undefined {
    const opening: Opening[] = [];
    for (const [name, warming] of this.#warming) {
      if (warming.isBound) continue;
      const open = warming.prepared.open();
      if (open === undefined) this.#onBound(warming);
      else opening.push({ name, warming, open });
    }
    return opening.length === 0 ? undefined : this.#settle(opening);
  }

  async #settle(opening: readonly Opening[]): Promise<readonly string[]> {
    const failed = await this.#failuresOf(opening);
    if (failed.length === 0) return [];
    // Another listener of the same answer may give the address up as it starts.
    this.startReady();
    const again = failed.flatMap(({ name, warming }) => {
      const open = warming.prepared.open();
      if (open === undefined) this.#onBound(warming);
      return open === undefined ? [] : [{ name, warming, open }];
    });
    const lost = await this.#failuresOf(again);
    for (const { name, warming, reason } of lost) this.#onUnbound(name, warming, reason);
    return lost.map(({ name, reason }) => `${name}: ${reason}`);
  }

  /** Starts listeners that are bound and whose needs are met. */
  startReady(): void {
    for (const [name, warming] of this.#warming) {
      const { resource, needs, prepared, isBound, isSecondTry } = warming;
      if (!isBound || this.#options.missing(needs).length > 0) continue;
      this.#prepare(warming);
      if (warming.preparation !== "done") continue;
      this.#warming.delete(name);
      this.#needs.set(name, needs);
      prepared.start();
      if (isSecondTry) this.#options.onRecovered(resource);
    }
  }

  #prepare(warming: Warming): void {
    if (warming.preparation !== "waits" || !this.#options.mayPrepare()) return;
    const waits = warming.prepared.begin?.(() => {
      warming.preparation = "done";
      if (!this.#isClosed) this.#options.onPrepared();
    });
    warming.preparation = waits === true ? "runs" : "done";
  }

  close(): void {
    this.#isClosed = true;
    this.#tasks.length = 0;
    for (const { retry } of this.#unbound.values()) retry.cancel();
    for (const { prepared } of this.#warming.values()) prepared.discard();
    this.#warming.clear();
  }

  #onBound(warming: Warming): void {
    warming.isBound = true;
    this.#options.onBound(warming.resource);
  }

  async #failuresOf(
    openings: readonly Opening[],
  ): Promise<readonly (Omit<Opening, "open"> & { readonly reason: string })[]> {
    const failures = await Promise.all(
      openings.map(async ({ name, warming, open }) => {
        try {
          await open;
          this.#onBound(warming);
          return [];
        } catch (thrown) {
          return [{ name, warming, reason: messageOf(thrown) }];
        }
      }),
    );
    return failures.flat();
  }

  #onUnbound(name: string, warming: Warming, reason: string): void {
    const { resource, needs, prepared, isSecondTry } = warming;
    // What was closed or removed in the meantime is not tried again.
    if (this.#isClosed || this.#warming.get(name)?.prepared !== prepared) return;
    prepared.discard();
    this.#warming.delete(name);
    const { clock, log, onRefused } = this.#options;
    if (!isSecondTry) log.error("a listener cannot start", { listener: name, reason, retryMs });
    onRefused(resource, reason);
    const retry = clock.schedule(retryMs, () => this.run(() => this.#tryAgain(name)));
    this.#unbound.set(name, { resource, needs, reason, retry });
  }

  #tryAgain(name: string): Promise<void> | undefined {
    const unbound = this.#unbound.get(name);
    if (unbound === undefined) return undefined;
    this.#options.prepareAgain(unbound.resource);
    const binding = this.bind();
    if (binding === undefined) {
      this.startReady();
      this.#options.onSettled();
      return undefined;
    }
    return binding.then(() => this.startReady());
  }

  #forgetUnbound(name: string): void {
    this.#unbound.get(name)?.retry.cancel();
    this.#unbound.delete(name);
  }
}

interface Opening {
  readonly name: string;
  readonly warming: Warming;
  readonly open: Promise<void>;
}
