/**
 * Endpoints that are listeners of the same proxy, as connections reach them that tell something of
 * their own (`internal_upstream`): a connection of a pool serves those alone that tell the same.
 */
import type { UpstreamEndpoint } from "../context.ts";
import type { FilterState, StateObject } from "../engine/filter-state.ts";
import type { InternalTarget } from "../internal.ts";
import type { DerivedEndpoints } from "./derived-endpoints.ts";
import type { EndpointMetadata } from "./endpoint.ts";
import type { ClusterPlan } from "./plan.ts";
import type { SocketChoice } from "./sockets.ts";

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

/** `states`: the request's, and the connection's; the first that has something has its way. */
export function passedEndpoint(
  derived: DerivedEndpoints,
  endpoint: UpstreamEndpoint,
  internal: InternalTarget,
  states: readonly (FilterState | undefined)[],
): UpstreamEndpoint {
  const state = sharedOf(states);
  if (state === undefined) return endpoint;
  const key = JSON.stringify([...state].map(([name, { text }]) => [name, text]));
  return (
    derived.find(endpoint, key) ?? derived.add(endpoint, key, { internal: { ...internal, state } })
  );
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
