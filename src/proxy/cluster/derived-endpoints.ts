/**
 * Endpoints in other words: the same place and load, reached in a way of its own, so that connections
 * made for the one serve no other. Whoever derives them says by what they are known.
 */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Whole } from "../../base/whole.ts";
import type { ClientTls } from "../../net/dialler.ts";
import type { Ways } from "../../net/racing-dialler.ts";
import type { UpstreamEndpoint, UpstreamOutcome } from "../context.ts";
import type { InternalTarget } from "../internal.ts";
import type { Preface } from "./proxy-header.ts";

/** For each endpoint, unless told; the one used longest ago goes first. */
const derivedMaxDefault = 256;

/** What differs; the rest is as of the endpoint that it stands for. */
export interface OwnWay {
  readonly tls?: ClientTls;
  readonly internal?: InternalTarget;
  readonly preface?: Preface;
}

/** Those of a cluster. Two steps instead of a callback: this is asked for each request. */
export class DerivedEndpoints {
  readonly #onDropped: () => void;
  readonly #max: number;
  readonly #byEndpoint = new WeakMap<UpstreamEndpoint, Map<string, DerivedEndpoint>>();

  constructor(onDropped: () => void, max: number = derivedMaxDefault) {
    this.#onDropped = onDropped;
    this.#max = max;
  }

  find(endpoint: UpstreamEndpoint, key: string): UpstreamEndpoint | undefined {
    const derived = this.#byEndpoint.get(endpoint);
    const known = derived?.get(key);
    if (derived === undefined || known === undefined || derived.size < this.#max) return known;
    derived.delete(key);
    derived.set(key, known);
    return known;
  }

  add(endpoint: UpstreamEndpoint, key: string, own: OwnWay): UpstreamEndpoint {
    let derived = this.#byEndpoint.get(endpoint);
    if (derived === undefined) this.#byEndpoint.set(endpoint, (derived = new Map()));
    const made = new DerivedEndpoint(endpoint, own);
    derived.set(key, made);
    const [oldest] = derived;
    if (derived.size > this.#max && oldest !== undefined) {
      derived.delete(oldest[0]);
      oldest[1].remove();
      this.#onDropped();
    }
    return made;
  }

  /** The endpoint goes, or its connections are to be replaced: so do those derived from it. */
  forget(endpoint: UpstreamEndpoint, how: "remove" | "drain"): void {
    for (const derived of this.#byEndpoint.get(endpoint)?.values() ?? []) derived[how]();
  }
}

/** One that nobody looks for again, so that it takes no other's place. */
export function derivedOnce(endpoint: UpstreamEndpoint, own: OwnWay): UpstreamEndpoint {
  return new DerivedEndpoint(endpoint, own);
}

class DerivedEndpoint implements Whole<UpstreamEndpoint> {
  readonly origin: UpstreamEndpoint;
  readonly tls: ClientTls | undefined;
  readonly internal: InternalTarget | undefined;
  readonly preface: Preface | undefined;
  onRemoved: (() => void) | undefined;
  onDrained: (() => void) | undefined;
  #isDropped = false;

  constructor(origin: UpstreamEndpoint, own: OwnWay) {
    this.origin = origin;
    this.tls = own.tls ?? origin.tls;
    this.internal = own.internal ?? origin.internal;
    this.preface = own.preface ?? origin.preface;
  }

  get address(): SocketAddress {
    return this.origin.address;
  }
  get hostname(): string {
    return this.origin.hostname;
  }
  get metadata(): UpstreamEndpoint["metadata"] {
    return this.origin.metadata;
  }
  get sourceAddress(): string | undefined {
    return this.origin.sourceAddress;
  }
  get ways(): Ways | undefined {
    return this.origin.ways;
  }
  get active(): number {
    return this.origin.active;
  }
  set active(count: number) {
    this.origin.active = count;
  }
  get connections(): number {
    return this.origin.connections ?? 0;
  }
  set connections(count: number) {
    this.origin.connections = count;
  }
  get priority(): number {
    return this.origin.priority ?? 0;
  }
  get isRemoved(): boolean {
    return this.#isDropped || this.origin.isRemoved === true;
  }
  get stats(): UpstreamEndpoint["stats"] {
    return this.origin.stats;
  }
  get suspect(): (() => void) | undefined {
    return this.origin.suspect;
  }
  get onLoadReport(): UpstreamEndpoint["onLoadReport"] {
    return this.origin.onLoadReport;
  }

  report(outcome: UpstreamOutcome): void {
    this.origin.report(outcome);
  }

  remove(): void {
    this.#isDropped = true;
    this.onRemoved?.();
  }

  drain(): void {
    this.onDrained?.();
  }
}
