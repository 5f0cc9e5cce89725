/**
 * Addresses for hosts of ServiceEntries that have none, as Istio gives them: only a name that resolves
 * to an address of its own tells two TCP services on one port apart. They lie in ranges that nobody
 * routes, and no packet to them leaves a workload's namespace.
 */

import { allocatedPlacesMax, type AllocatedPlace } from "../../base/allocated-addresses.ts";

/**
 * A place for each host. A host keeps the one it had; a new one gets that which its name gives, so that
 * it is the same after a restart, or the next free one. Hosts beyond the range get none.
 */
export function allocatePlaces(
  hosts: readonly string[],
  earlier: ReadonlyMap<string, AllocatedPlace>,
): ReadonlyMap<string, AllocatedPlace> {
  const places = new Map<string, AllocatedPlace>();
  for (const host of hosts) {
    const known = earlier.get(host);
    if (known !== undefined) places.set(host, known);
  }
  const taken = new Set(places.values());
  for (const host of hosts.toSorted()) {
    if (places.has(host) || taken.size >= allocatedPlacesMax) continue;
    let place = firstPlace(host);
    while (taken.has(place)) place = (place % allocatedPlacesMax) + 1;
    taken.add(place);
    places.set(host, place);
  }
  return places;
}

/** FNV-1a: the same on every machine and in every version. */
function firstPlace(host: string): AllocatedPlace {
  let hash = 0x811c9dc5;
  for (const byte of new TextEncoder().encode(host)) {
    hash = Math.imul(hash ^ byte, 0x01000193) >>> 0;
  }
  return (hash % allocatedPlacesMax) + 1;
}
