/** Where the proxies are, as the cluster of the proxy itself says: for zone-aware balancing. */
import type { Health, LocalityMembers } from "../engine/priorities.ts";
import type { LocalZones } from "../engine/zones.ts";
import type { Endpoint } from "./endpoint.ts";

/** The cluster whose endpoints are the proxies that stand beside this one. */
export interface LocalCluster {
  readonly name: string;
  /** Region, zone and what is in it, of this proxy; as `localityName()` writes it. */
  readonly locality: string;
}

export function localZonesOf(
  own: string,
  localities: readonly LocalityMembers<Endpoint>[],
  healthOf: (endpoint: Endpoint) => Health,
): LocalZones {
  // Envoy knows no others in such a cluster.
  const first = localities.filter(({ priority }) => priority === 0);
  const byName = Map.groupBy(first, ({ name = "" }) => name);
  const zones = [...byName].map(([name, each]) => {
    const all = each.flatMap(({ members }) => members);
    return { name, members: all.length, healthy: all.filter((one) => healthOf(one) === "healthy") };
  });
  const health = first.flatMap(({ members }) => members.map(healthOf));
  const counted = health.filter((each) => each !== "excluded");
  const fit = counted.filter((each) => each !== "unfit").length;
  return {
    own,
    zones: zones.filter(({ members }) => members > 0),
    fitPercent: counted.length === 0 ? 0 : (100 * fit) / counted.length,
  };
}
