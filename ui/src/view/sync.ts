import type { ProxyStatus } from "../../../src/console/api.ts";

export type SyncState = "refused" | "disconnected" | "pending" | "synced";

/** One word for a proxy: the worst of what is true of it. */
export function syncOf({ connection, types, refusals }: ProxyStatus): SyncState {
  if (refusals.length > 0 || types.some(({ state }) => state === "refused")) return "refused";
  if (connection.kind !== "connected") return "disconnected";
  return types.some(({ state }) => state === "pending") ? "pending" : "synced";
}

const order: readonly SyncState[] = ["refused", "disconnected", "pending", "synced"];

/** Trouble first, then by name. */
export function sortedBySync(proxies: readonly ProxyStatus[]): readonly ProxyStatus[] {
  return proxies.toSorted(
    (a, b) => order.indexOf(syncOf(a)) - order.indexOf(syncOf(b)) || (a.proxy < b.proxy ? -1 : 1),
  );
}
