import type { Problem } from "../../base/problem.ts";
import type { WorkloadInstance } from "../../model/workload.ts";
import type { AdsServer, ServedProxy, ServedType } from "../../xds/ads-server.ts";
import { typeUrls } from "../../xds/feed.ts";
import { typeLabel } from "../../xds/snapshot.ts";
import type {
  ProxyConnection,
  ProxyRefusal,
  ProxyStatus,
  ProxyTypeStatus,
} from "../control-view.ts";
import { type Locate, placeOf, proxyIdOf } from "./proxy-snapshots.ts";

/** What is known of the proxies, in the words of the console and the CLI. */
export function proxyStatusOf(
  instance: WorkloadInstance,
  served: ServedProxy | undefined,
  locate: Locate,
): ProxyStatus {
  const proxy = proxyIdOf(instance);
  const types = (served?.types ?? []).toSorted((a, b) => rank(a.typeUrl) - rank(b.typeUrl));
  return {
    proxy,
    instance: instance.name,
    workload: instance.workload,
    namespace: instance.namespace,
    dataPlane: instance.dataPlane,
    role: instance.role,
    connection: connectionOf(served, types),
    types: types.map((type) => typeStatusOf(type, served?.connection.kind === "connected")),
    refusals: types.flatMap((type) => refusalOf(proxy, type, locate)),
  };
}

/** Every present refusal of one proxy. */
export function refusalsOf(
  proxy: string,
  served: ServedProxy | undefined,
  locate: Locate,
): readonly ProxyRefusal[] {
  return (served?.types ?? []).flatMap((type) => refusalOf(proxy, type, locate));
}

/** Refusals as problems, for `status` and the console. */
export function refusalProblems(
  ads: AdsServer,
  proxies: Iterable<string>,
  locate: Locate,
): Problem[] {
  const problems: Problem[] = [];
  for (const proxy of proxies) {
    for (const { typeUrl, refusal } of ads.status(proxy)?.types ?? []) {
      if (refusal === undefined) continue;
      const names = refusal.resources.map(({ name }) => name).join(", ");
      const origins = refusal.resources.flatMap((resource) => resource.origins);
      problems.push({
        code: "xds.refused",
        severity: "error",
        path: "",
        message: `proxy ${proxy} refused ${typeLabel(typeUrl)} ${names}: ${refusal.reason}`,
        ...placeOf(origins, locate),
      });
    }
  }
  return problems;
}

const order: readonly string[] = [
  typeUrls.listener,
  typeUrls.route,
  typeUrls.cluster,
  typeUrls.endpoint,
];

function rank(typeUrl: string): number {
  const index = order.indexOf(typeUrl);
  return index < 0 ? order.length : index;
}

function connectionOf(
  served: ServedProxy | undefined,
  types: readonly ServedType[],
): ProxyConnection {
  if (served === undefined) return { kind: "never" };
  const { connection } = served;
  if (connection.kind !== "connected") return connection;
  const { sinceMs, address, variant } = connection;
  return { kind: "connected", sinceMs, address, protocol: types.length === 0 ? "none" : variant };
}

function typeStatusOf(type: ServedType, isConnected: boolean): ProxyTypeStatus {
  const { typeUrl, resources, sent, acked } = type;
  return {
    typeUrl,
    label: typeLabel(typeUrl),
    state: stateOf(type, isConnected),
    resources,
    sentVersion: sent?.version,
    sentAtMs: sent?.atMs,
    ackedVersion: acked?.version,
    ackedAtMs: acked?.atMs,
  };
}

function stateOf(type: ServedType, isConnected: boolean): ProxyTypeStatus["state"] {
  if (type.refusal !== undefined) return "refused";
  if (!isConnected) return "pending";
  if (type.sent === undefined) return "idle";
  return type.isSettled ? "synced" : "pending";
}

function refusalOf(
  proxy: string,
  { typeUrl, refusal }: ServedType,
  locate: Locate,
): readonly ProxyRefusal[] {
  if (refusal === undefined) return [];
  const origins = new Map(
    refusal.resources
      .flatMap((resource) => resource.origins)
      .map((ref) => [`${ref.kind} ${ref.namespace}/${ref.name}`, ref]),
  );
  return [
    {
      proxy,
      typeUrl,
      label: typeLabel(typeUrl),
      resources: refusal.resources.map(({ name }) => name),
      origins: [...origins.values()].map((ref) => {
        const source = locate(ref);
        return source === undefined ? { ref } : { ref, source };
      }),
      reason: refusal.reason,
      atMs: refusal.atMs,
    },
  ];
}
