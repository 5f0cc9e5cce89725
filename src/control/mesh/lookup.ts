/**
 * Istio's lookup rules: who sees what (`exportTo`), what a short hostname means, which DestinationRule
 * and which VirtualService hold for a service. Pure questions to a model.
 */
import type { DestinationRule, Gateway, VirtualService } from "../../model/config-resource.ts";
import type { PortPolicy, Subset, TrafficPolicy } from "../../model/destination-rule.ts";
import { hostMatches, selects } from "../../model/matching.ts";
import type { WorkloadInstance } from "../../model/workload.ts";
import type { MeshShape, ServiceShape } from "../mesh-model.ts";

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

/** The policy of a service for one client: a rule, or several for the same host with merged subsets. */
export interface EffectiveRule {
  readonly rules: readonly DestinationRule[];
  readonly trafficPolicy: TrafficPolicy | undefined;
  readonly subsets: readonly { readonly subset: Subset; readonly rule: DestinationRule }[];
}

export type Client = Pick<WorkloadInstance, "namespace" | "labels">;

/** Client's namespace before service's namespace before root namespace, as Istio looks them up. */
export function destinationRuleFor(
  model: MeshShape,
  service: Pick<ServiceShape, "hostname" | "namespace">,
  client: Client,
): EffectiveRule | undefined {
  const tiers = [client.namespace, service.namespace, model.settings.rootNamespace];
  for (const namespace of new Set(tiers)) {
    const found = rulesIn(model, namespace, service.hostname, client);
    if (found.length > 0) return mergeRules(found);
  }
  return undefined;
}

function rulesIn(
  model: MeshShape,
  namespace: string,
  hostname: string,
  client: Client,
): readonly DestinationRule[] {
  let best: readonly DestinationRule[] = [];
  let bestScore = -1;
  for (const rule of model.destinationRules) {
    if (rule.namespace !== namespace) continue;
    const { workloadSelector, exportTo } = rule.spec;
    const isOwn = namespace === client.namespace;
    if (workloadSelector !== undefined && !(isOwn && selects(workloadSelector, client.labels))) {
      continue;
    }
    if (!isOwn && !isVisible(exportTo, namespace, client.namespace)) continue;
    const host = resolveHost(model, rule.spec.host, namespace);
    if (!hostMatches(host, hostname)) continue;
    const score =
      (workloadSelector === undefined ? 0 : 1000) + (host === hostname ? 500 : host.length);
    if (score > bestScore) {
      best = [rule];
      bestScore = score;
    } else if (score === bestScore) {
      best = [...best, rule];
    }
  }
  return best;
}

function mergeRules(rules: readonly DestinationRule[]): EffectiveRule {
  const subsets = new Map<string, { readonly subset: Subset; readonly rule: DestinationRule }>();
  for (const rule of rules) {
    for (const subset of rule.spec.subsets ?? []) {
      if (!subsets.has(subset.name)) subsets.set(subset.name, { subset, rule });
    }
  }
  const trafficPolicy = rules.find((rule) => rule.spec.trafficPolicy !== undefined)?.spec
    .trafficPolicy;
  return { rules, trafficPolicy, subsets: [...subsets.values()] };
}

/**
 * What holds for one port of a service or subset. A subset's policy overrides field by field; port
 * level settings replace what is above them whole, as in Istio.
 */
export function policyFor(
  rule: EffectiveRule | undefined,
  subset: Subset | undefined,
  port: number,
): PortPolicy {
  const base = policyAtPort(rule?.trafficPolicy, port);
  if (subset?.trafficPolicy === undefined) return base;
  return { ...base, ...policyAtPort(subset.trafficPolicy, port) };
}

function policyAtPort(policy: TrafficPolicy | undefined, port: number): PortPolicy {
  if (policy === undefined) return {};
  const { portLevelSettings, ...general } = policy;
  const own = portLevelSettings?.find((setting) => setting.port.number === port);
  if (own === undefined) return general;
  const { port: _, ...settings } = own;
  return settings;
}

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
