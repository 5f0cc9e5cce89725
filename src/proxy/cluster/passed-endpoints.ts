/**
 * Endpoints that are listeners of the same proxy, as connections reach them that tell something of
 * their own (`internal_upstream`): a connection of a pool serves those alone that tell the same.
 */
import type { SocketAddress } from "../../base/socket-address.ts";
import type { ClientTls } from "../../net/dialler.ts";
import type { UpstreamEndpoint, UpstreamOutcome } from "../context.ts";
import type { FilterState, StateObject } from "../engine/filter-state.ts";
import type { InternalTarget } from "../internal.ts";
import type { EndpointMetadata } from "./endpoint.ts";
import type { ClusterPlan, SocketChoice } from "./plan.ts";

/** For each endpoint; the one used longest ago goes first. */
const statesMax = 256;

/** `passes`: undefined where the listener is told nothing. */
export function targetOf(
  listener: string,
  passes: SocketChoice["passes"],
  metadata: { readonly endpoint: EndpointMetadata; readonly cluster: ClusterPlan["metadata"] },
): InternalTarget {
  if (passes === undefined) {
    return { listener, passesState: false, metadata: undefined, state: undefined };
  }
  const told = new Map<string, Readonly<Record<string, unknown>>>();
  for (const { of, name } of passes) {
    const values = metadata[of]?.[name];
    if (typeof values === "object" && values !== null) told.set(name, { ...values });
  }
  return { listener, passesState: true, metadata: told, state: undefined };
}

export class PassedEndpoints {
  readonly #onDropped: () => void;
  readonly #byEndpoint = new WeakMap<UpstreamEndpoint, Map<string, PassedEndpoint>>();

  constructor(onDropped: () => void) {
    this.#onDropped = onDropped;
  }

  /** `states`: the request's, and the connection's; the first that has something has its way. */
  of(
    endpoint: UpstreamEndpoint,
    internal: InternalTarget,
    states: readonly (FilterState | undefined)[],
  ): UpstreamEndpoint {
    const state = sharedOf(states);
    if (state === undefined) return endpoint;
    let passed = this.#byEndpoint.get(endpoint);
    if (passed === undefined) this.#byEndpoint.set(endpoint, (passed = new Map()));
    const key = JSON.stringify([...state].map(([name, { text }]) => [name, text]));
    const known = passed.get(key);
    if (known !== undefined) {
      passed.delete(key);
      passed.set(key, known);
      return known;
    }
    const made = new PassedEndpoint(endpoint, { ...internal, state });
    passed.set(key, made);
    const [oldest] = passed;
    if (passed.size > statesMax && oldest !== undefined) {
      passed.delete(oldest[0]);
      oldest[1].remove();
      this.#onDropped();
    }
    return made;
  }

  /** The endpoint goes, or its connections are to be replaced. */
  forget(endpoint: UpstreamEndpoint, how: "remove" | "drain"): void {
    for (const passed of this.#byEndpoint.get(endpoint)?.values() ?? []) passed[how]();
  }
}

/** What is meant for the other side, as the other side has it; undefined for nothing. */
function sharedOf(states: readonly (FilterState | undefined)[]): FilterState | undefined {
  let shared: Map<string, StateObject> | undefined;
  for (const state of states) {
    if (state === undefined) continue;
    for (const [key, { sharing, ...object }] of state) {
      if (sharing === undefined || shared?.has(key) === true) continue;
      shared ??= new Map();
      shared.set(key, sharing === "transitive" ? { ...object, sharing } : object);
    }
  }
  return shared;
}

class PassedEndpoint implements UpstreamEndpoint {
  readonly origin: UpstreamEndpoint;
  readonly internal: InternalTarget;
  onRemoved: (() => void) | undefined;
  onDrained: (() => void) | undefined;
  #isDropped = false;

  constructor(origin: UpstreamEndpoint, internal: InternalTarget) {
    this.origin = origin;
    this.internal = internal;
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
  get tls(): ClientTls | undefined {
    return this.origin.tls;
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
  get suspect(): (() => void) | undefined {
    return this.origin.suspect;
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
