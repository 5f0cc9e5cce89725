/** What endpoints come to: which of two versions of a cluster are the same, and how much the heaviest weighs. */
import { formatSocketAddress } from "../../base/socket-address.ts";
import { healthFlag } from "../engine/health-check.ts";
import type { Health } from "../engine/priorities.ts";
import type { Endpoint, EndpointDescription } from "./endpoint.ts";

export function endpointKey({ address, hostname, metadata, tlvs }: EndpointDescription): string {
  const values =
    tlvs === undefined ? "" : tlvs.map(({ type, value }) => `|${type} ${value.join()}`).join("");
  return `${formatSocketAddress(address)}|${hostname}|${JSON.stringify(metadata)}${values}`;
}

export function maxWeightOf(endpoints: Iterable<Endpoint>): number {
  let max = 0;
  for (const { weight } of endpoints) max = Math.max(max, weight);
  return max;
}

/** Tells those that are counted by themselves how they are, too. */
export function countByHealth(
  endpoints: Iterable<Endpoint>,
  healthOf: (endpoint: Endpoint) => Health,
): Readonly<Record<Health, number>> {
  const counts = { healthy: 0, degraded: 0, unfit: 0, excluded: 0 };
  for (const endpoint of endpoints) {
    const health = healthOf(endpoint);
    counts[health]++;
    endpoint.stats?.setHealthy(health === "healthy");
  }
  return counts;
}

export function isWell({ checked, status }: Endpoint): boolean {
  return (checked & healthFlag.failed) === 0 && status !== "UNHEALTHY" && status !== "TIMEOUT";
}
