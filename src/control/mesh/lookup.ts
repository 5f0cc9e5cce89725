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
  return model.virtualServices
    .filter((one) => (one.spec.gateways ?? [meshGateway]).includes(meshGateway))
    .filter((one) => isVisible(one.spec.exportTo, one.namespace, client.namespace))
    .toSorted(
      (left, right) =>
        Number(right.namespace === client.namespace) - Number(left.namespace === client.namespace),
    );
}

/** The VirtualService whose hosts cover `hostname` most closely. */
export function virtualServiceFor(
  model: MeshShape,
  candidates: readonly VirtualService[],
  hostname: string,
): VirtualService | undefined {
  let best: VirtualService | undefined;
  let bestLength = -1;
  for (const candidate of candidates) {
    const length = closenessOf(model, candidate, hostname);
    if (length <= bestLength) continue;
    best = candidate;
    bestLength = length;
  }
  return best;
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

/** VirtualServices bound to a gateway, in order of namespace and name. */
export function gatewayVirtualServices(
  model: MeshShape,
  gateway: Gateway,
): readonly VirtualService[] {
  const name = `${gateway.namespace}/${gateway.name}`;
  return model.virtualServices.filter(
    (one) =>
      (one.spec.gateways ?? []).some((written) => gatewayName(written, one.namespace) === name) &&
      isVisible(one.spec.exportTo, one.namespace, gateway.namespace),
  );
}

/** Gateways that a gateway instance serves: those whose selector its labels meet, in any namespace. */
export function gatewaysOf(
  model: MeshShape,
  instance: Pick<WorkloadInstance, "labels">,
): readonly Gateway[] {
  return model.gateways.filter((one) => selects(one.spec.selector, instance.labels));
}
