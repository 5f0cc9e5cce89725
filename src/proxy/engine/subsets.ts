/**
 * Subsets of a cluster's endpoints, which requests ask for by the endpoints' `envoy.lb` metadata:
 * Envoy's `lb_subset_config`. A subset balances as the cluster would if it had no other endpoints.
 */
import {
  Cluster_LbSubsetConfig_LbSubsetFallbackPolicy as Fallback,
  Cluster_LbSubsetConfig_LbSubsetMetadataFallbackPolicy as MetadataFallback,
  Cluster_LbSubsetConfig_LbSubsetSelector_LbSubsetSelectorFallbackPolicy as SelectorFallback,
  type Cluster_LbSubsetConfig as Config,
  type Cluster_LbSubsetConfig_LbSubsetSelector as SelectorConfig,
} from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import type { Metadata } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type { Choice, Chooser } from "./chooser.ts";
import type { LocalityMembers } from "./priorities.ts";
import { refuse } from "./refusal.ts";

/** Keys in order, and the JSON of each value. */
export interface SubsetCriteria {
  readonly keys: readonly string[];
  readonly values: readonly string[];
  /** Where the request has a list of what else would do, in order: without it, and each of the list. */
  readonly listed?: readonly SubsetCriteria[];
}

/** What a request gets whose subset does not exist, or is empty. */
type FallbackPlan =
  | { readonly kind: "nobody" }
  | { readonly kind: "anybody" }
  | { readonly kind: "default" }
  /** The subset by a few of its keys. */
  | { readonly kind: "keys"; readonly keys: readonly string[] };

interface Selector {
  readonly keys: readonly string[];
  /** Undefined: as the cluster says. */
  readonly fallback: FallbackPlan | undefined;
  /** The first endpoint of a subset gets all of it, whatever its health. */
  readonly isSingle: boolean;
}

export interface SubsetPlan {
  readonly fallback: FallbackPlan;
  readonly defaultSubset: SubsetCriteria;
  /** By their keys. */
  readonly selectors: ReadonlyMap<string, Selector>;
  /** Anybody is better than nobody. */
  readonly panicsAny: boolean;
  readonly listsAreAlternatives: boolean;
  /** Requests may bring a list of what else would do. */
  readonly heedsList: boolean;
  /** A subset's localities count for what of them is in it. */
  readonly weighsLocalities: boolean;
  readonly scalesLocalities: boolean;
}

export interface SubsetMember {
  readonly subsetValues?: ReadonlyMap<string, string> | undefined;
}

/** Undefined where the cluster has no subsets. */
export function compileSubsets(config: Config | undefined, path: string): SubsetPlan | undefined {
  // As Envoy: without a selector there is nothing to look up.
  if (config === undefined || config.subsetSelectors.length === 0) return undefined;
  const selectors = new Map(
    config.subsetSelectors.map((selector, i) => {
      const compiled = compileSelector(selector, `${path}.subset_selectors[${i}]`);
      return [keyOf(compiled.keys), compiled] as const;
    }),
  );
  for (const [i, { keys, fallbackKeysSubset }] of config.subsetSelectors.entries()) {
    if (fallbackKeysSubset.length === 0) continue;
    const place = `${path}.subset_selectors[${i}].fallback_keys_subset`;
    if (!fallbackKeysSubset.every((key) => keys.includes(key))) refuse(place, "has other keys");
    if (new Set(fallbackKeysSubset).size === new Set(keys).size) refuse(place, "has all its keys");
  }
  return {
    fallback: compileFallback(config.fallbackPolicy),
    defaultSubset: criteriaOf(config.defaultSubset ?? {}),
    selectors,
    // As Envoy: who wants nobody else gets nobody else.
    panicsAny: config.panicModeAny && config.fallbackPolicy !== Fallback.NO_FALLBACK,
    listsAreAlternatives: config.listAsAny,
    heedsList: config.metadataFallbackPolicy === MetadataFallback.FALLBACK_LIST,
    weighsLocalities: config.localityWeightAware,
    scalesLocalities: config.scaleLocalityWeight,
  };
}

function compileFallback(policy: Fallback): FallbackPlan {
  if (policy === Fallback.ANY_ENDPOINT) return { kind: "anybody" };
  return { kind: policy === Fallback.DEFAULT_SUBSET ? "default" : "nobody" };
}

function compileSelector(selector: SelectorConfig, path: string): Selector {
  const keys = [...new Set(selector.keys)].toSorted();
  if (keys.length === 0) refuse(`${path}.keys`, "is required");
  const isSingle = selector.singleHostPerSubset;
  if (isSingle && keys.length > 1) refuse(`${path}.single_host_per_subset`, "needs a single key");
  return { keys, fallback: selectorFallback(selector, path), isSingle };
}

function selectorFallback(selector: SelectorConfig, path: string): FallbackPlan | undefined {
  switch (selector.fallbackPolicy) {
    case SelectorFallback.NOT_DEFINED:
      return undefined;
    case SelectorFallback.NO_FALLBACK:
      return { kind: "nobody" };
    case SelectorFallback.ANY_ENDPOINT:
      return { kind: "anybody" };
    case SelectorFallback.DEFAULT_SUBSET:
      return { kind: "default" };
    case SelectorFallback.KEYS_SUBSET: {
      const fewer = [...new Set(selector.fallbackKeysSubset)].toSorted();
      if (fewer.length === 0) refuse(`${path}.fallback_keys_subset`, "is required");
      return { kind: "keys", keys: fewer };
    }
    case SelectorFallback.UNRECOGNIZED:
    default:
      return refuse(`${path}.fallback_policy`, `${selector.fallbackPolicy} is not known`);
  }
}

/** What routes ask for, the later over the earlier; undefined when they ask for nothing. */
export function routeCriteria(
  ...levels: readonly (Metadata | undefined)[]
): SubsetCriteria | undefined {
  const found = levels.map((level) => level?.filterMetadata["envoy.lb"]);
  if (found.every((each) => each === undefined)) return undefined;
  const merged: Readonly<Record<string, unknown>> = Object.assign({}, ...found);
  const criteria = criteriaOf(merged);
  if (criteria.keys.length === 0) return undefined;
  const { [listKey]: list, ...rest } = merged;
  if (list === undefined) return criteria;
  // As Envoy: what is no list is an empty one.
  const items: readonly unknown[] = Array.isArray(list) ? list : [];
  const listed = items.map((each) =>
    criteriaOf(typeof each === "object" && !Array.isArray(each) ? { ...rest, ...each } : rest),
  );
  return { ...criteria, listed: listed.length === 0 ? [criteriaOf(rest)] : listed };
}

/** Beside the criteria that it stands in for. */
const listKey = "fallback_list";

function criteriaOf(values: { readonly [key: string]: unknown }): SubsetCriteria {
  const keys = Object.keys(values).toSorted();
  return { keys, values: keys.map((key) => JSON.stringify(values[key]) ?? "") };
}

function keyOf(parts: readonly string[]): string {
  return JSON.stringify(parts);
}

/** Makes the chooser of some of the endpoints; localities' weights count only if it is said. */
export type MakeSubset<E> = (
  localities: readonly LocalityMembers<E>[],
  countsWeights: boolean,
) => Chooser<E>;

/** Built for one state of health, as the cluster's own chooser; a subset when it is first asked for. */
export class Subsets<E extends SubsetMember> {
  readonly #plan: SubsetPlan;
  readonly #localities: readonly LocalityMembers<E>[];
  readonly #make: MakeSubset<E>;
  readonly #anybody: Chooser<E>;
  /** By keys and values; bounded by what endpoints have, for what is empty is not kept. */
  readonly #made = new Map<string, Chooser<E>>();

  constructor(
    plan: SubsetPlan,
    localities: readonly LocalityMembers<E>[],
    { make, anybody }: { readonly make: MakeSubset<E>; readonly anybody: Chooser<E> },
  ) {
    this.#plan = plan;
    this.#localities = localities;
    this.#make = make;
    this.#anybody = anybody;
  }

  choose(criteria: SubsetCriteria | undefined, choice: Choice): E | undefined {
    const listed = this.#plan.heedsList ? criteria?.listed : undefined;
    if (listed === undefined) return this.#chooseBy(criteria, choice);
    for (const one of listed) {
      const found = this.#chooseBy(one, choice);
      if (found !== undefined) return found;
    }
    return undefined;
  }

  #chooseBy(criteria: SubsetCriteria | undefined, choice: Choice): E | undefined {
    const { panicsAny } = this.#plan;
    return this.#find(criteria, choice) ?? (panicsAny ? this.#anybody(choice) : undefined);
  }

  #find(criteria: SubsetCriteria | undefined, choice: Choice): E | undefined {
    const selector =
      criteria === undefined ? undefined : this.#plan.selectors.get(keyOf(criteria.keys));
    if (selector === undefined || criteria === undefined) {
      return this.#fallBack(this.#plan.fallback, criteria, choice);
    }
    const subset = this.#of(criteria, selector.isSingle);
    if (subset !== undefined) return subset(choice);
    return this.#fallBack(selector.fallback ?? this.#plan.fallback, criteria, choice);
  }

  #fallBack(
    plan: FallbackPlan,
    criteria: SubsetCriteria | undefined,
    choice: Choice,
  ): E | undefined {
    switch (plan.kind) {
      case "nobody":
        return undefined;
      case "anybody":
        return this.#anybody(choice);
      case "default":
        return this.#of(this.#plan.defaultSubset)?.(choice);
      case "keys": {
        const wanted = (criteria?.keys ?? []).flatMap((key, i) =>
          plan.keys.includes(key) ? [[key, criteria?.values[i] ?? ""] as const] : [],
        );
        return this.#find(
          { keys: wanted.map(([key]) => key), values: wanted.map(([, value]) => value) },
          choice,
        );
      }
    }
  }

  /** Undefined when nobody is in it. */
  #of(criteria: SubsetCriteria, isSingle = false): Chooser<E> | undefined {
    const key = keyOf([...criteria.keys, ...criteria.values, String(isSingle)]);
    const known = this.#made.get(key);
    if (known !== undefined) return known;
    const { weighsLocalities, scalesLocalities } = this.#plan;
    const localities = this.#localities.map((locality) => {
      const members = locality.members.filter((member) => this.#isIn(member, criteria));
      if (!scalesLocalities) return { ...locality, members };
      const share = members.length / Math.max(1, locality.members.length);
      return { ...locality, members, weight: Math.round(locality.weight * share) };
    });
    const byPriority = localities.toSorted((a, b) => a.priority - b.priority);
    const first = byPriority.find(({ members }) => members.length > 0)?.members[0];
    if (first === undefined) return undefined;
    const chooser = isSingle ? () => first : this.#make(localities, weighsLocalities);
    this.#made.set(key, chooser);
    return chooser;
  }

  #isIn({ subsetValues }: E, { keys, values }: SubsetCriteria): boolean {
    return keys.every((key, i) => {
      const own = subsetValues?.get(key);
      const wanted = values[i];
      if (own === wanted) return true;
      if (own === undefined || !this.#plan.listsAreAlternatives || !own.startsWith("["))
        return false;
      const list: unknown = JSON.parse(own);
      return Array.isArray(list) && list.some((each) => JSON.stringify(each) === wanted);
    });
  }
}
