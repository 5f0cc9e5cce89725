/**
 * Aggregates of clusters, `envoy.clusters.aggregate`: the priorities of several clusters stand in one
 * row, in the order of the clusters, and what the first of them cannot carry spills over to the next,
 * as between priorities of one cluster. A member then chooses among the endpoints of its priority
 * itself, by its own policy, and its connections, limits and series are its own; what a request has
 * of its cluster as a whole (retries, answers by code) is the aggregate's.
 */
import { honouredAggregate } from "../config/honoured-clusters.ts";
import { honoured } from "../config/honoured.ts";
import {
  Cluster_LbPolicy as LbPolicy,
  type Cluster,
} from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { ClusterConfig } from "../../wire/gen/ts/envoy/extensions/clusters/aggregate/v3/cluster.ts";
import type { ClusterCounters, ClusterPart, EndpointChoice, UpstreamCluster } from "../context.ts";
import { type Health, type LocalityMembers, priorityHealths } from "../engine/priorities.ts";
import {
  availabilityOf,
  type PriorityHealth,
  type PriorityLoad,
  priorityLoads,
} from "../engine/priority-loads.ts";
import type { Availability } from "../engine/previous-priorities.ts";
import { refuse } from "../engine/refusal.ts";
import type { AssignmentPolicy } from "./assignment.ts";
import type { Endpoint } from "./endpoint.ts";
import type { ClusterPlan } from "./plan.ts";
import type { ClusterServices } from "./running-cluster.ts";

export interface AggregateDiscovery {
  readonly kind: "aggregate";
  /** Names of its members, the first first. */
  readonly clusters: readonly string[];
}

export const aggregateUrl =
  "type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig";

/** What says something of endpoints, of which an aggregate has none of its own. */
const ofEndpoints = [
  "loadAssignment",
  "edsClusterConfig",
  "outlierDetection",
  "lbSubsetConfig",
  "transportSocket",
  "transportSocketMatches",
  "upstreamBindConfig",
  "preconnectPolicy",
] as const;

export function compileAggregate(cluster: Cluster, bytes: Uint8Array): AggregateDiscovery {
  const path = "cluster_type.typed_config";
  const { clusters } = honoured(ClusterConfig.decode(bytes), honouredAggregate, path);
  if (clusters.length === 0) refuse(`${path}.clusters`, "is required");
  if (cluster.lbPolicy !== LbPolicy.CLUSTER_PROVIDED || cluster.loadBalancingPolicy !== undefined) {
    refuse("lb_policy", "must be CLUSTER_PROVIDED: members of an aggregate choose by their own");
  }
  for (const field of ofEndpoints) {
    const value = cluster[field];
    if (value === undefined || (Array.isArray(value) && value.length === 0)) continue;
    const name = field.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    refuse(name, "means nothing in an aggregate, which has no endpoints of its own");
  }
  return { kind: "aggregate", clusters };
}

/** What an aggregate looks at in its members. */
export interface AggregateMember extends UpstreamCluster {
  readonly localities: readonly LocalityMembers<Endpoint>[];
  readonly policy: AssignmentPolicy;
  healthOf(endpoint: Endpoint): Health;
}

/** One priority of one member, for its healthy endpoints or its degraded ones. */
interface Part extends ClusterPart {
  readonly cluster: UpstreamCluster;
}

interface Place {
  readonly health: PriorityHealth;
  readonly parts: Readonly<Record<ClusterPart["kind"], Part>>;
}

interface AggregateOptions {
  readonly clusters: readonly string[];
  /** Where fewer of a priority's endpoints are fit, it panics. */
  readonly panicPercent: number;
  readonly find: (name: string) => AggregateMember | undefined;
  readonly random: () => number;
  readonly counters: ClusterCounters;
}

/** Undefined for a cluster that is none. */
export function aggregateOf(
  { discovery, panicPercent }: Pick<ClusterPlan, "discovery" | "panicPercent">,
  { findCluster: find = () => undefined, random }: ClusterServices,
  counters: ClusterCounters,
): Aggregate | undefined {
  if (discovery.kind !== "aggregate") return undefined;
  return new Aggregate({ clusters: discovery.clusters, panicPercent, find, random, counters });
}

/** As Envoy: nothing of what a cluster's assignment says counts here. */
const overprovisioningPercent = 140;

export class Aggregate {
  readonly #options: AggregateOptions;
  #places: readonly Place[] = [];
  #loads: readonly Shares[] = [];
  #available: Availability = { healthy: [], degraded: [] };

  constructor(options: AggregateOptions) {
    this.#options = options;
    this.refresh();
  }

  /** It, its endpoints or the health of those have changed. */
  onCluster(name: string): void {
    if (this.#options.clusters.includes(name)) this.refresh();
  }

  refresh(): void {
    const { clusters, find, panicPercent, counters } = this.#options;
    const places: Place[] = [];
    for (const name of clusters) {
      const cluster = find(name);
      if (cluster !== undefined) places.push(...placesOf(cluster, places.length, counters));
    }
    const rules = { panicPercent, overprovisioningPercent };
    const healths = places.map(({ health }) => health);
    this.#places = places;
    this.#loads = priorityLoads(healths, rules);
    this.#available = availabilityOf(healths, rules);
  }

  /** Whose turn it is; which of its endpoints is said in `choice`. */
  memberFor(choice: EndpointChoice): UpstreamCluster | undefined {
    // As in Envoy, where endpoints that requests insist on are looked for in the cluster itself.
    if (choice.override?.isStrict === true) return undefined;
    const part = this.#draw(choice.priorities?.shares(this.#available) ?? this.#loads);
    choice.part = part;
    return part?.cluster;
  }

  #draw(loads: readonly Shares[]): Part | undefined {
    let point = this.#options.random() * 100;
    for (const kind of kinds) {
      for (let at = 0; at < loads.length; at++) {
        point -= loads[at]?.[kind] ?? 0;
        if (point < 0) return this.#places[at]?.parts[kind];
      }
    }
    return undefined;
  }
}

type Shares = Pick<PriorityLoad, "healthy" | "degraded">;
const kinds = ["healthy", "degraded"] as const;

/** As Envoy: a priority without endpoints has no place in the row. */
function placesOf(
  cluster: AggregateMember,
  before: number,
  counters: ClusterCounters,
): readonly Place[] {
  const { localities, policy } = cluster;
  const healths = priorityHealths(localities, {
    healthOf: (endpoint: Endpoint) => cluster.healthOf(endpoint),
    isHealthWeighted: policy.isHealthWeighted,
  });
  const there = [...healths.entries()].filter(([, { members }]) => members > 0);
  return there.map(([priority, health], i) => {
    const part = (kind: ClusterPart["kind"]): Part => ({
      cluster,
      priority,
      kind,
      place: before + i,
      counters,
    });
    return {
      health: { ...health, overprovisioningPercent: policy.overprovisioningPercent },
      parts: { healthy: part("healthy"), degraded: part("degraded") },
    };
  });
}
