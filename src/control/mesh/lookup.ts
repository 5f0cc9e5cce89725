/**
 * Istio's lookup rules: who sees what (`exportTo`), what a short hostname means, which VirtualServices
 * hold for a host or at a gateway. Pure questions to a model; DestinationRules are found beside.
 */
import type { Gateway, VirtualService } from "../../model/config-resource.ts";
import { hostMatches, selects } from "../../model/matching.ts";
import type { WorkloadInstance } from "../../model/workload.ts";
import type { MeshShape } from "../mesh-model.ts";

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
  return inOrderFor(model.virtualServices.filter(isForMesh), client);
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

/**
 * VirtualServices that may have the HTTP routes of a service; the first that has any for this caller and port
 * has them all. As in Istio: those that name the host, in their order; else the first of those with the
 * closest wildcard.
 */
export function httpVirtualServices(
  model: MeshShape,
  candidates: readonly VirtualService[],
  hostname: string,
): readonly VirtualService[] {
  const covering = candidates
    .map((rule) => ({ rule, closeness: closenessOf(model, rule, hostname) }))
    .filter(({ closeness }) => closeness >= 0);
  const closest = Math.max(...covering.map(({ closeness }) => closeness));
  const rules = covering.filter(({ closeness }) => closeness === closest).map(({ rule }) => rule);
  return closest === Infinity ? rules : rules.slice(0, 1);
}

/** All whose hosts cover `hostname`, the closest first. */
export function virtualServicesFor(
  model: MeshShape,
  candidates: readonly VirtualService[],
  hostname: string,
): readonly VirtualService[] {
  return candidates
    .map((candidate) => ({ candidate, length: closenessOf(model, candidate, hostname) }))
    .filter(({ length }) => length >= 0)
    .toSorted((left, right) => (left.length === right.length ? 0 : right.length - left.length))
    .map(({ candidate }) => candidate);
}

/** How long a host of the rule that covers `hostname` is; -1 where none does. */
function closenessOf(model: MeshShape, rule: VirtualService, hostname: string): number {
  let closest = -1;
  for (const written of rule.spec.hosts) {
    const host = resolveHost(model, written, rule.namespace);
    const length = host === hostname ? Infinity : host.length;
    if (length > closest && hostMatches(host, hostname)) closest = length;
  }
  return closest;
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
  const name = `${gateway.namespace}/${gateway.name}`;
  const bound = model.virtualServices.filter((one) =>
    (one.spec.gateways ?? []).some((written) => gatewayName(written, one.namespace) === name),
  );
  return inOrderFor(bound, proxy);
}

/** Gateways that a gateway instance serves: those whose selector its labels meet, in any namespace. */
export function gatewaysOf(
  model: MeshShape,
  instance: Pick<WorkloadInstance, "labels">,
): readonly Gateway[] {
  return model.gateways.filter((one) => selects(one.spec.selector, instance.labels));
}
