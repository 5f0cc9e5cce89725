/**
 * Istio's lookup rules: who sees what (`exportTo`), what a short hostname means, which VirtualServices
 * hold for a host or at a gateway. Pure questions to a model; DestinationRules are found beside.
 */
import type { Gateway, VirtualService } from "../../model/config-resource.ts";
import { selects } from "../../model/matching.ts";
import type { WorkloadInstance } from "../../model/workload.ts";
import type { MeshShape } from "../mesh-model.ts";
import { HostTable, patternsOver } from "./host-table.ts";
import { indexed } from "./index.ts";

/** Whether something in `namespace` with this `exportTo` is seen from `viewer`. */
export function isVisible(
  exportTo: readonly string[] | undefined,
  namespace: string,
  viewer: string,
): boolean {
  if (exportTo === undefined || exportTo.length === 0) return true;
  return exportTo.some(
    (name) => name === "*" || name === viewer || (name === "." && namespace === viewer),
  );
}

/** A host of a rule as a hostname: one without dots is a service in the rule's own namespace. */
export function resolveHost(model: MeshShape, host: string, namespace: string): string {
  const name = host.toLowerCase();
  if (name.includes(".") || name === "*") return name;
  const local = `${name}.${namespace}.svc.${model.domain}`;
  return !model.services.has(local) && model.services.has(name) ? name : local;
}

/** Who asks. */
export type Client = Pick<WorkloadInstance, "namespace" | "labels">;

const meshGateway = "mesh";

/** VirtualServices for requests that workloads send, by the order in which a client prefers them. */
export function meshVirtualServices(model: MeshShape, client: Client): readonly VirtualService[] {
  return inOrderFor(model.resources.VirtualService.filter(isForMesh), client);
}

export function isForMesh({ spec }: VirtualService): boolean {
  return (spec.gateways ?? [meshGateway]).includes(meshGateway);
}

/**
 * As istiod orders them: those that only the client's namespace sees, those exported to it by name, those
 * for all; within each by the order of the model.
 */
function inOrderFor(
  rules: readonly VirtualService[],
  { namespace }: Pick<Client, "namespace">,
): readonly VirtualService[] {
  return rules
    .map((rule) => ({ rule, reach: reachOf(rule, namespace) }))
    .filter(({ reach }) => reach !== "none")
    .toSorted((left, right) => reaches.indexOf(left.reach) - reaches.indexOf(right.reach))
    .map(({ rule }) => rule);
}

/** Whether clients and gateways in `viewer` have its routes. */
export function isSeenBy(rule: VirtualService, viewer: string): boolean {
  return reachOf(rule, viewer) !== "none";
}

const reaches = ["own", "named", "all", "none"] as const;

/** By what `viewer` sees a VirtualService. */
function reachOf({ namespace, spec }: VirtualService, viewer: string): (typeof reaches)[number] {
  const { exportTo = [] } = spec;
  if (exportTo.length === 0 || exportTo.includes("*")) return "all";
  // Istio's "nobody", whatever stands beside it.
  if (exportTo.includes("~") || !isVisible(exportTo, namespace, viewer)) return "none";
  return namespace === viewer ? "own" : "named";
}

const meshRules = indexed((model: MeshShape): HostTable<VirtualService> => {
  const table = new HostTable<VirtualService>();
  for (const rule of model.resources.VirtualService.filter(isForMesh)) {
    const hosts = rule.spec.hosts.map((host) => resolveHost(model, host, rule.namespace));
    for (const host of new Set(hosts)) table.add(host, rule);
  }
  return table;
});

/**
 * VirtualServices that may have the HTTP routes of a service; the first that has any for this caller and port
 * has them all. As in Istio: those that name the host, in their order; else the first of those with the
 * closest wildcard.
 */
export function httpVirtualServices(
  model: MeshShape,
  client: Client,
  hostname: string,
): readonly VirtualService[] {
  for (const { host, items } of meshRules(model).covering(hostname)) {
    const rules = inOrderFor(items, client);
    if (rules.length > 0) return host === hostname ? rules : rules.slice(0, 1);
  }
  return [];
}

/**
 * All whose hosts cover `hostname`, in the order in which a client prefers them: as in Istio, how closely
 * they do is nothing to routes of connections.
 */
export function virtualServicesFor(
  model: MeshShape,
  client: Client,
  hostname: string,
): readonly VirtualService[] {
  const found = new Set([...meshRules(model).covering(hostname)].flatMap(({ items }) => items));
  const place = places(model);
  const inPlace = [...found].toSorted(
    (one, next) => (place.get(one) ?? 0) - (place.get(next) ?? 0),
  );
  return inOrderFor(inPlace, client);
}

const places = indexed(
  (model: MeshShape): ReadonlyMap<VirtualService, number> =>
    new Map(model.resources.VirtualService.map((rule, index) => [rule, index])),
);

const servicesByPattern = indexed((model: MeshShape): HostTable<string> => {
  const table = new HostTable<string>();
  for (const hostname of model.services.keys()) {
    for (const pattern of patternsOver(hostname)) table.add(pattern, hostname);
  }
  return table;
});

/** Hostnames of services that `host`, a name or a wildcard, covers; in order. */
export function hostnamesUnder(model: MeshShape, host: string): readonly string[] {
  if (!host.startsWith("*")) return model.services.has(host) ? [host] : [];
  return servicesByPattern(model).at(host);
}

/** `<namespace>/<name>`, with the VirtualService's namespace where none is written. */
export function gatewayName(written: string, namespace: string): string {
  return written.includes("/") ? written : `${namespace}/${written}`;
}

/**
 * VirtualServices bound to a Gateway, by the order in which who carries it out prefers them. As in Istio
 * they must be visible in the proxy's namespace, which may be another than the Gateway's.
 */
export function gatewayVirtualServices(
  model: MeshShape,
  gateway: Gateway,
  proxy: Pick<Client, "namespace">,
): readonly VirtualService[] {
  const bound = gatewayRules(model).get(`${gateway.namespace}/${gateway.name}`) ?? [];
  return inOrderFor(bound, proxy);
}

const gatewayRules = indexed((model: MeshShape): ReadonlyMap<string, readonly VirtualService[]> => {
  const rules = new Map<string, VirtualService[]>();
  for (const rule of model.resources.VirtualService) {
    const names = (rule.spec.gateways ?? []).map((one) => gatewayName(one, rule.namespace));
    for (const name of new Set(names)) {
      const known = rules.get(name);
      if (known === undefined) rules.set(name, [rule]);
      else known.push(rule);
    }
  }
  return rules;
});

/** Gateways by `<namespace>/<name>`. */
export const gatewaysByName: (model: MeshShape) => ReadonlyMap<string, Gateway> = indexed(
  (model) => new Map(model.resources.Gateway.map((one) => [`${one.namespace}/${one.name}`, one])),
);

/** Gateways that a gateway instance serves: those whose selector its labels meet, in any namespace. */
export function gatewaysOf(
  model: MeshShape,
  instance: Pick<WorkloadInstance, "labels">,
): readonly Gateway[] {
  return model.resources.Gateway.filter((one) => selects(one.spec.selector, instance.labels));
}
