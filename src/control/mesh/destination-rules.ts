/**
 * Which DestinationRule holds for a service, by the rules of istiod (push_context.go, destination_rule.go;
 * what is not copied of them: docs/decisions/0069). Pure questions to a model.
 */
import type { DestinationRule } from "../../model/config-resource.ts";
import type { PortPolicy, Subset, TrafficPolicy } from "../../model/destination-rule.ts";
import { selects } from "../../model/matching.ts";
import type { MeshShape, ServiceShape } from "../mesh-model.ts";
import { HostTable } from "./host-table.ts";
import { indexed } from "./index.ts";
import type { Client } from "./lookup.ts";
import { isVisible, resolveHost } from "./lookup.ts";

/** The policy of a service for one client: a rule, or several for the same host with merged subsets. */
export interface EffectiveRule {
  readonly rules: readonly DestinationRule[];
  readonly trafficPolicy: TrafficPolicy | undefined;
  readonly subsets: readonly { readonly subset: Subset; readonly rule: DestinationRule }[];
}

/**
 * The client's namespace is asked first, then the service's, then the root namespace; of each the host
 * closest to the service's. Clients in the root namespace (gateways, mostly) see what stands there for the
 * whole mesh last, and first only what is private to them.
 */
export function destinationRuleFor(
  model: MeshShape,
  service: Pick<ServiceShape, "hostname" | "namespace">,
  client: Client,
): EffectiveRule | undefined {
  const { rootNamespace } = model.settings;
  const byNamespace = rulesByNamespace(model);
  const own = byNamespace
    .get(client.namespace)
    ?.[client.namespace === rootNamespace ? "private" : "local"].closest(service.hostname);
  // Whoever has rules of its own for the host asks nobody else, even where all of them select others.
  if (own !== undefined && own.length > 0) return ruleOf(own, client);
  for (const namespace of [service.namespace, rootNamespace]) {
    const found = byNamespace.get(namespace)?.exported.closest(service.hostname) ?? [];
    const exported = found.filter(({ spec }) =>
      isVisible(spec.exportTo, namespace, client.namespace),
    );
    if (exported.length > 0) return ruleOf(exported, client);
  }
  return undefined;
}

/** Whether clients in the rule's own namespace see it. */
function isLocal({ namespace, spec }: DestinationRule): boolean {
  return spec.workloadSelector !== undefined || isVisible(spec.exportTo, namespace, namespace);
}

/** Whether nobody but they see it; a rule for some workloads is for those of its namespace. */
function isPrivate({ namespace, spec }: DestinationRule): boolean {
  if (spec.workloadSelector !== undefined) return true;
  const [only, ...others] = spec.exportTo ?? [];
  return others.length === 0 && (only === "." || only === namespace);
}

/** A namespace's rules by host, apart by who may see them. */
interface RulesOfNamespace {
  readonly local: HostTable<DestinationRule>;
  readonly private: HostTable<DestinationRule>;
  readonly exported: HostTable<DestinationRule>;
}

const rulesByNamespace = indexed((model: MeshShape): ReadonlyMap<string, RulesOfNamespace> => {
  const byNamespace = new Map<string, RulesOfNamespace>();
  for (const rule of model.resources.DestinationRule) {
    const { namespace } = rule;
    const known = byNamespace.get(namespace);
    const rules = known ?? {
      local: new HostTable(),
      private: new HostTable(),
      exported: new HostTable(),
    };
    if (known === undefined) byNamespace.set(namespace, rules);
    const host = resolveHost(model, rule.spec.host, namespace);
    if (isLocal(rule)) rules.local.add(host, rule);
    rules[isPrivate(rule) ? "private" : "exported"].add(host, rule);
  }
  return byNamespace;
});

/**
 * Of rules for one host: those whose selector chooses the client, else those without one. Rules are one
 * where they select and are exported alike; of several such the first that selects holds, else the last.
 */
function ruleOf(rules: readonly DestinationRule[], client: Client): EffectiveRule | undefined {
  const groups = new Map<string, [DestinationRule, ...DestinationRule[]]>();
  for (const rule of rules) {
    const key = groupKey(rule);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [rule]);
    else group.push(rule);
  }
  const all = [...groups.values()];
  const chosen =
    all.find(([{ spec }]) => {
      return spec.workloadSelector !== undefined && selects(spec.workloadSelector, client.labels);
    }) ?? all.findLast(([{ spec }]) => spec.workloadSelector === undefined);
  return chosen === undefined ? undefined : mergeRules(chosen);
}

function groupKey({ spec }: DestinationRule): string {
  const { workloadSelector, exportTo = [] } = spec;
  if (workloadSelector === undefined) return `to ${[...new Set(exportTo)].toSorted().join()}`;
  return `of ${JSON.stringify(Object.entries(workloadSelector).toSorted(byName))}`;
}

function byName([left]: [string, string], [right]: [string, string]): number {
  return left < right ? -1 : 1;
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
