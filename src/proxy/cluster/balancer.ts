/** Chooses an endpoint of a cluster for each request, from what is known of them now. */
import type { EndpointChoice } from "../context.ts";
import type { Chooser, HashBits } from "../engine/chooser.ts";
import type { PreviousPriorities } from "../engine/previous-priorities.ts";
import { balancePriorities, type Health, type LocalityMembers } from "../engine/priorities.ts";
import { Subsets } from "../engine/subsets.ts";
import type { LocalZones, ZoneEvent } from "../engine/zones.ts";
import type { AssignmentPolicy } from "./assignment.ts";
import type { Endpoint } from "./endpoint.ts";
import type { ClusterPlan } from "./plan.ts";
import type { ClusterServices } from "./running-cluster.ts";

/** How often another endpoint is drawn when the one chosen was tried before. */
const redrawsMaxDefault = 5;

export interface Balanceable {
  readonly localities: readonly LocalityMembers<Endpoint>[];
  readonly policy: AssignmentPolicy;
  healthOf(endpoint: Endpoint): Health;
}

export interface BalancerTools {
  readonly services: ClusterServices;
  readonly count: (event: ZoneEvent) => void;
  /** A choice was made among all, because too few are healthy. */
  readonly onPanic: () => void;
}

export class Balancer {
  readonly #plan: ClusterPlan;
  readonly #tools: BalancerTools;
  /** Filled for each request. */
  readonly #choice: {
    hash: HashBits | undefined;
    attempt: number;
    priorities: PreviousPriorities | undefined;
    part: EndpointChoice["part"];
    readonly random: () => number;
  };
  /** Chosen for requests that have not come yet, the next one's first. */
  #ahead: Endpoint[] = [];
  /** Of those: as many as are healthy, as in Envoy. */
  #aheadMax = 0;
  #choose: Chooser<Endpoint> = () => undefined;
  #subsets: Subsets<Endpoint> | undefined;

  constructor(plan: ClusterPlan, tools: BalancerTools) {
    const { random } = tools.services;
    this.#plan = plan;
    this.#tools = tools;
    this.#choice = { hash: undefined, attempt: 0, priorities: undefined, part: undefined, random };
  }

  pick(choice: EndpointChoice): Endpoint | undefined {
    const { avoid, criteria, redrawsMax = redrawsMaxDefault } = choice;
    const drawn = this.#choice;
    drawn.hash = choice.hash;
    drawn.attempt = 0;
    drawn.priorities = choice.priorities;
    drawn.part = choice.part;
    const first = this.#draw(criteria);
    if (avoid === undefined || first === undefined || !avoid(first)) return first;
    let last = first;
    while (drawn.attempt < redrawsMax) {
      drawn.attempt++;
      const other = this.#draw(criteria);
      if (other === undefined) return undefined;
      if (!avoid(other)) return other;
      last = other;
    }
    return last;
  }

  #draw(criteria: EndpointChoice["criteria"]): Endpoint | undefined {
    const subsets = this.#subsets;
    if (subsets !== undefined) return subsets.choose(criteria, this.#choice);
    const { priorities, part } = this.#choice;
    if (this.#ahead.length > 0 && priorities === undefined && part === undefined) {
      return this.#ahead.shift();
    }
    return this.#choose(this.#choice);
  }

  /**
   * Whom one of the requests to come will get, each time the one after; undefined where that depends on the
   * request, or on what happens until then. Only of those in good health.
   */
  peek(): Endpoint | undefined {
    const { policy } = this.#plan;
    const isKnown = policy.kind === "drawn" && this.#subsets === undefined;
    if (!isKnown || this.#ahead.length >= this.#aheadMax) return undefined;
    const next = this.#choose({ ...aheadOfRequests, random: this.#tools.services.random });
    if (next !== undefined) this.#ahead.push(next);
    return next;
  }

  /** Members, their health, or where the proxies are have changed. */
  rebalance(members: Balanceable, local: LocalZones | undefined): void {
    const plan = this.#plan;
    const { services, count, onPanic } = this.#tools;
    this.#ahead = [];
    if (plan.forecastRatio !== undefined) this.#aheadMax = countHealthy(members);
    const { random, clock } = services;
    const { localities, policy } = members;
    const make = (
      among: readonly LocalityMembers<Endpoint>[],
      countsWeights: boolean,
    ): Chooser<Endpoint> =>
      balancePriorities<Endpoint>(among, {
        policy: plan.policy,
        healthOf: (endpoint) => members.healthOf(endpoint),
        isLocalityWeighted: plan.isLocalityWeighted && countsWeights,
        failsOnPanic: plan.failsOnPanic,
        isHealthWeighted: policy.isHealthWeighted,
        overprovisioningPercent: policy.overprovisioningPercent,
        panicPercent: plan.panicPercent,
        zones: local && { rules: plan.zones, local, count },
        onPanic,
        random,
        nowMs: () => clock.monotonicMs(),
      });
    const anybody = make(localities, true);
    this.#choose = anybody;
    this.#subsets = plan.subsets && new Subsets(plan.subsets, localities, { make, anybody });
  }
}

const aheadOfRequests = { hash: undefined, attempt: 0, isAhead: true } as const;

function countHealthy(among: Balanceable): number {
  const all = among.localities.flatMap(({ members }) => members);
  return all.filter((endpoint) => among.healthOf(endpoint) === "healthy").length;
}
