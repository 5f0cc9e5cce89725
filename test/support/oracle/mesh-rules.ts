/**
 * Which rules of a mesh hold for a host, by asking every one of them: what `destinationRuleFor`,
 * `httpVirtualServices` and `virtualServicesFor` find by index.
 */
import type { DestinationRule, VirtualService } from "../../../src/model/config-resource.ts";
import { hostMatches, selects } from "../../../src/model/matching.ts";
import type { MeshModel } from "../../../src/control/mesh-model.ts";
import type { Client } from "../../../src/control/mesh/lookup.ts";
import { isVisible, resolveHost } from "../../../src/control/mesh/lookup.ts";

/** The names of the rules that hold together, in order. */
export function destinationRulesByScan(
  model: MeshModel,
  service: { readonly hostname: string; readonly namespace: string },
  client: Client,
): readonly string[] {
  const { rootNamespace } = model.settings;
  const isOwn = client.namespace === rootNamespace ? isPrivate : isLocal;
  const own = closestRules(model, client.namespace, service.hostname, isOwn);
  if (own.length > 0) return holding(own, client);
  for (const namespace of [service.namespace, rootNamespace]) {
    const found = closestRules(model, namespace, service.hostname, (rule) => !isPrivate(rule));
    const exported = found.filter(({ spec }) =>
      isVisible(spec.exportTo, namespace, client.namespace),
    );
    if (exported.length > 0) return holding(exported, client);
  }
  return [];
}

function isLocal({ namespace, spec }: DestinationRule): boolean {
  return spec.workloadSelector !== undefined || isVisible(spec.exportTo, namespace, namespace);
}

function isPrivate({ namespace, spec }: DestinationRule): boolean {
  if (spec.workloadSelector !== undefined) return true;
  const [only, ...others] = spec.exportTo ?? [];
  return others.length === 0 && (only === "." || only === namespace);
}

function closestRules(
  model: MeshModel,
  namespace: string,
  hostname: string,
  counts: (rule: DestinationRule) => boolean,
): readonly DestinationRule[] {
  let found: DestinationRule[] = [];
  let closest = -1;
  for (const rule of model.resources.DestinationRule) {
    if (rule.namespace !== namespace || !counts(rule)) continue;
    const host = resolveHost(model, rule.spec.host, namespace);
    if (!hostMatches(host, hostname)) continue;
    const length = host === hostname ? Infinity : host.length;
    if (length > closest) {
      found = [rule];
      closest = length;
    } else if (length === closest) {
      found.push(rule);
    }
  }
  return found;
}

/** The rules that are one with the first that selects the client, or with the last that selects nobody. */
function holding(rules: readonly DestinationRule[], client: Client): readonly string[] {
  const isFor = ({ spec }: DestinationRule): boolean =>
    spec.workloadSelector !== undefined && selects(spec.workloadSelector, client.labels);
  const general = rules.filter(({ spec }) => spec.workloadSelector === undefined);
  const keys = general.map(({ spec }) => JSON.stringify([...(spec.exportTo ?? [])].toSorted()));
  // Groups stand in the order of their first rules.
  const last = [...new Set(keys)].at(-1);
  const first = rules.find(isFor);
  const chosen =
    first === undefined
      ? general.filter((_, index) => keys[index] === last)
      : rules.filter(({ spec }) => hasSelectorOf(spec, first.spec));
  return chosen.map(nameOf);
}

function hasSelectorOf(left: DestinationRule["spec"], right: DestinationRule["spec"]): boolean {
  const [one, other] = [left, right].map(({ workloadSelector }) => workloadSelector);
  if (one === undefined || other === undefined) return false;
  return selects(one, other) && selects(other, one);
}

function nameOf({ namespace, name }: VirtualService | DestinationRule): string {
  return `${namespace}/${name}`;
}

/** Names of the VirtualServices that cover `hostname` for a client, in its order, and how closely. */
export function virtualServicesByScan(
  model: MeshModel,
  client: Client,
  hostname: string,
): readonly { readonly name: string; readonly closeness: number }[] {
  return model.resources.VirtualService.map((rule) => ({
    name: nameOf(rule),
    closeness: closenessOf(model, rule, hostname),
    reach: reachOf(rule, client.namespace),
  }))
    .filter(({ closeness, reach }) => closeness >= 0 && reach < 3)
    .toSorted((left, right) => left.reach - right.reach)
    .map(({ name, closeness }) => ({ name, closeness }));
}

/** 0: its namespace alone; 1: by name; 2: all; 3: not at all. */
function reachOf({ namespace, spec }: VirtualService, viewer: string): number {
  const { exportTo = [], gateways = ["mesh"] } = spec;
  if (!gateways.includes("mesh")) return 3;
  if (exportTo.length === 0 || exportTo.includes("*")) return 2;
  if (exportTo.includes("~") || !isVisible(exportTo, namespace, viewer)) return 3;
  return namespace === viewer ? 0 : 1;
}

function closenessOf(model: MeshModel, rule: VirtualService, hostname: string): number {
  let closest = -1;
  for (const written of rule.spec.hosts) {
    const host = resolveHost(model, written, rule.namespace);
    const length = host === hostname ? Infinity : host.length;
    if (length > closest && hostMatches(host, hostname)) closest = length;
  }
  return closest;
}
