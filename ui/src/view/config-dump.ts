/**
 * A proxy's configuration dump, as far as the page shows it: what it holds, by type, with a name, a
 * short description and the whole of it for who asks.
 */
export interface DumpEntry {
  readonly name: string;
  readonly summary: string;
  readonly state: string;
  readonly json: unknown;
}

export type DumpKind = "listeners" | "routes" | "clusters" | "endpoints" | "secrets";

export const dumpKinds: readonly DumpKind[] = [
  "listeners",
  "routes",
  "clusters",
  "endpoints",
  "secrets",
];

type Tree = Readonly<Record<string, unknown>>;

const sections: Readonly<Record<DumpKind, readonly (readonly [list: string, field: string])[]>> = {
  listeners: [
    ["dynamic_listeners", "listener"],
    ["static_listeners", "listener"],
  ],
  routes: [
    ["dynamic_route_configs", "route_config"],
    ["static_route_configs", "route_config"],
  ],
  clusters: [
    ["dynamic_active_clusters", "cluster"],
    ["dynamic_warming_clusters", "cluster"],
    ["static_clusters", "cluster"],
  ],
  endpoints: [
    ["dynamic_endpoint_configs", "endpoint_config"],
    ["static_endpoint_configs", "endpoint_config"],
  ],
  secrets: [
    ["dynamic_active_secrets", "secret"],
    ["dynamic_warming_secrets", "secret"],
    ["static_secrets", "secret"],
  ],
};

export function readDump(dump: unknown, kind: DumpKind): readonly DumpEntry[] {
  const entries: DumpEntry[] = [];
  for (const config of listOf(treeOf(dump)["configs"])) {
    for (const [list, field] of sections[kind]) {
      for (const item of listOf(treeOf(config)[list]))
        entries.push(entryOf(treeOf(item), field, list));
    }
  }
  return entries.toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

function entryOf(item: Tree, field: string, list: string): DumpEntry {
  // A listener's newest version hides one level deeper.
  const active = treeOf(item["active_state"] ?? item["warming_state"]);
  const resource = treeOf(item[field] ?? active[field]);
  const isWarming =
    list.includes("warming") ||
    (item["warming_state"] !== undefined && item["active_state"] === undefined);
  const failure = treeOf(item["error_state"])["details"];
  return {
    name: textOf(resource["name"]) || textOf(resource["cluster_name"]) || textOf(item["name"]),
    summary: summaryOf(resource),
    state:
      failure !== undefined
        ? `refused: ${textOf(failure)}`
        : isWarming
          ? "warming"
          : list.startsWith("static")
            ? "static"
            : "active",
    json: Object.keys(resource).length > 0 ? resource : item,
  };
}

function summaryOf(resource: Tree): string {
  const socket = treeOf(treeOf(resource["address"])["socket_address"]);
  if (socket["address"] !== undefined)
    return `${textOf(socket["address"])}:${textOf(socket["port_value"])}`;
  const hosts = listOf(resource["virtual_hosts"]);
  if (hosts.length > 0) return `${hosts.length} virtual hosts`;
  const localities = listOf(resource["endpoints"]);
  if (resource["cluster_name"] !== undefined) {
    const count = localities.reduce(
      (sum: number, one) => sum + listOf(treeOf(one)["lb_endpoints"]).length,
      0,
    );
    return `${count} endpoints`;
  }
  return textOf(resource["type"] ?? treeOf(resource["cluster_type"])["name"]);
}

function treeOf(value: unknown): Tree {
  return typeof value === "object" && value !== null
    ? Object.fromEntries(Object.entries(value))
    : {};
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}

function textOf(value: unknown): string {
  return typeof value === "string" || typeof value === "number" ? String(value) : "";
}
