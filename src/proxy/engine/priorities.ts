/** Spreads choices over priorities (`priority-loads.ts`) and, in each, over localities. */
import type { Balanced, Choice, Chooser, ChooserTools, MakeChooser } from "./chooser.ts";
import { hashOf, type MakeHashedChooser, remainder, type Weighted } from "./consistent-hash.ts";
import { EarliestDeadline } from "./earliest-deadline.ts";
import {
  availabilityOf,
  type LoadRules,
  type PriorityHealth,
  type PriorityLoad,
  priorityLoads,
} from "./priority-loads.ts";
import { type Zone, zoneChooser, type ZoneOptions } from "./zones.ts";

/** Degraded ones get what the healthy cannot carry; excluded ones are not even counted. */
export type Health = "healthy" | "degraded" | "unfit" | "excluded";

export interface LocalityMembers<E> {
  /** Its region and zone, and what is in that; empty or absent: it names none. */
  readonly name?: string;
  readonly priority: number;
  /** Counts only with locality weighting. */
  readonly weight: number;
  readonly members: readonly E[];
}

/** How one endpoint is chosen: drawn from lists of equals, or found by a hash among all. */
export type EndpointPolicy<E> =
  | { readonly kind: "drawn"; readonly make: MakeChooser<E> }
  | { readonly kind: "hashed"; readonly make: MakeHashedChooser<E> };

export interface PriorityOptions<E> extends LoadRules, ChooserTools {
  readonly policy: EndpointPolicy<E>;
  readonly healthOf: (member: E) => Health;
  readonly isLocalityWeighted: boolean;
  /** A priority that panics fails its requests instead of using what is unfit. */
  readonly failsOnPanic?: boolean;
  /** Health counts by weight. */
  readonly isHealthWeighted?: boolean;
  /** Where choices look at zones. */
  readonly zones?: ZoneOptions | undefined;
  /** Told of each choice made in panic. */
  readonly onPanic?: () => void;
}

interface Load<E> {
  /** Upper end of this part of 1 to 100. */
  readonly until: number;
  readonly choose: Chooser<E>;
}

const nobody: Chooser<never> = () => undefined;

/** Built for one state of health; build again when health or membership changes. */
export function balancePriorities<E extends Balanced>(
  localities: readonly LocalityMembers<E>[],
  options: PriorityOptions<E>,
): Chooser<E> {
  const levels = groupByPriority(localities).map((level) => new Level(level, options));
  const loads = priorityLoads(
    levels.map(({ health }) => health),
    options,
  );
  const isHashed = options.policy.kind === "hashed";
  const made: (Chooser<E> | undefined)[] = [];
  const chooserOf = (at: number, kind: "healthy" | "degraded"): Chooser<E> => {
    const isPanicking = loads[at]?.isPanicking === true;
    // Hashes know the healthy alone.
    const among = isHashed ? "healthy" : kind;
    const which = among === "healthy" ? 0 : 1;
    const key = at * 3 + (isPanicking ? 2 : which);
    const known = made[key];
    if (known !== undefined) return known;
    const level = levels[at];
    const chooser = isPanicking ? level?.inPanic() : level?.among(among);
    return (made[key] = chooser ?? nobody);
  };
  const spread = (shares: readonly Shares[]): Chooser<E> => {
    const parts: Load<E>[] = [];
    let until = 0;
    for (const kind of ["healthy", "degraded"] as const) {
      for (const [at, share] of shares.entries()) {
        if (share[kind] <= 0) continue;
        until += share[kind];
        parts.push({ until, choose: chooserOf(at, kind) });
      }
    }
    const [only] = parts;
    if (parts.length <= 1) return only === undefined ? nobody : only.choose;
    return isHashed ? byHash(parts) : byChance(parts);
  };
  const anywhere = spread(loads);
  const usual: Chooser<E> = (choice) => {
    const { part } = choice;
    return part === undefined ? anywhere(choice) : chooserOf(part.priority, part.kind)(choice);
  };
  if (levels.length <= 1) return usual;
  const available = availabilityOf(
    levels.map(({ health }) => health),
    options,
  );
  return (choice) => {
    const shares = choice.part === undefined ? choice.priorities?.shares(available) : undefined;
    return shares === undefined ? usual(choice) : spread(shares)(choice);
  };
}

type Shares = Pick<PriorityLoad, "healthy" | "degraded">;

function byChance<E>(parts: readonly Load<E>[]): Chooser<E> {
  return (choice) => {
    const point = choice.random() * 100;
    for (const part of parts) if (point < part.until) return part.choose(choice);
    return undefined;
  };
}

/** The same hash leads to the same priority, too. */
function byHash<E>(parts: readonly Load<E>[]): Chooser<E> {
  return (choice) => {
    const { hi, lo } = hashOf(choice);
    const point = remainder(hi, lo, 100) + 1;
    const found = choice.hash === undefined ? { ...choice, hash: { hi, lo } } : choice;
    for (const part of parts) if (point <= part.until) return part.choose(found);
    return undefined;
  };
}

/** By the number of the priority: those that nobody has are empty. */
function groupByPriority<E>(
  localities: readonly LocalityMembers<E>[],
): readonly (readonly LocalityMembers<E>[])[] {
  const levels: LocalityMembers<E>[][] = [];
  for (const locality of localities) {
    while (levels.length <= locality.priority) levels.push([]);
    levels[locality.priority]?.push(locality);
  }
  return levels;
}

/** One priority. */
class Level<E extends Balanced> {
  readonly health: PriorityHealth;
  readonly #localities: readonly LocalityMembers<E>[];
  readonly #options: PriorityOptions<E>;

  constructor(localities: readonly LocalityMembers<E>[], options: PriorityOptions<E>) {
    this.#localities = localities;
    this.#options = options;
    this.health = healthOf(localities, options);
  }

  /** Of all, whatever their health. */
  inPanic(): Chooser<E> {
    const { failsOnPanic, onPanic } = this.#options;
    if (failsOnPanic === true) return nobody;
    const choose = this.#choose(this.#localities.map(({ members }) => members));
    if (onPanic === undefined) return choose;
    return (choice) => {
      onPanic();
      return choose(choice);
    };
  }

  among(health: Health): Chooser<E> {
    const { healthOf: of, policy, isLocalityWeighted, overprovisioningPercent } = this.#options;
    const fit = this.#localities.map(({ members }) => members.filter((one) => of(one) === health));
    if (policy.kind === "hashed") return this.#choose(fit);
    if (!isLocalityWeighted) return this.#byZone(health, this.#choose(fit));
    const weights = this.#localities.map(({ weight, members }, i) => {
      const counted = members.filter((one) => of(one) !== "excluded").length;
      const share = counted === 0 ? 0 : (fit[i]?.length ?? 0) / counted;
      return weight * Math.min(1, (overprovisioningPercent / 100) * share);
    });
    // Nowhere a weight: localities mean nothing then.
    return this.#byLocality(fit, weights) ?? this.#byZone(health, this.#choose(fit));
  }

  /** `anywhere`: where zones do not matter. */
  #byZone(health: Health, anywhere: Chooser<E>): Chooser<E> {
    const { zones: options, healthOf: of, policy, failsOnPanic, panicPercent } = this.#options;
    const isFirst = this.#localities[0]?.priority === 0;
    if (options === undefined || policy.kind === "hashed" || !isFirst) return anywhere;
    const { rules, local, count } = options;
    const zones = this.#zones(local.own);
    const draw = zoneChooser(zones, options);
    if (draw === undefined) return anywhere;
    const choosers = zones.map(({ all }) => {
      const fit = all.filter((one) => of(one) === health);
      return fit.length === 0 ? nobody : policy.make(fit, this.#options);
    });
    return (choice) => {
      const { random } = choice;
      if (rules.enabledPercent < 100 && random() * 100 >= rules.enabledPercent) {
        return anywhere(choice);
      }
      if (local.fitPercent >= panicPercent) return choosers[draw(random)]?.(choice);
      count("lb_local_cluster_not_ok");
      return failsOnPanic === true ? undefined : anywhere(choice);
    };
  }

  /** The own one first, if it is there. */
  #zones(own: string): readonly (Zone & { readonly all: readonly E[] })[] {
    const { healthOf: of } = this.#options;
    const byName = Map.groupBy(this.#localities, ({ name = "" }) => name);
    const zones = [...byName].map(([name, localities]) => {
      const all = localities.flatMap(({ members }) => members);
      const healthy = all.filter((one) => of(one) === "healthy");
      return { name, all, members: all.length, healthy };
    });
    // Those without members are none, in Envoy.
    const there = zones.filter(({ members }) => members > 0);
    return there.toSorted((a, b) => Number(b.name === own) - Number(a.name === own));
  }

  #byLocality(fit: readonly (readonly E[])[], weights: readonly number[]): Chooser<E> | undefined {
    const { policy } = this.#options;
    if (policy.kind === "hashed") return undefined;
    const choices = fit.flatMap((members, i) => {
      const weight = weights[i] ?? 0;
      return weight <= 0 || members.length === 0
        ? []
        : [{ weight, choose: policy.make(members, this.#options) }];
    });
    const [first] = choices;
    if (choices.length <= 1) return first?.choose;
    const schedule = new EarliestDeadline(choices, ({ weight }) => weight);
    const skipped = Math.floor(this.#options.random() * choices.length);
    for (let i = 0; i < skipped; i++) schedule.next();
    return (choice: Choice) => schedule.next()?.choose(choice);
  }

  #choose(lists: readonly (readonly E[])[]): Chooser<E> {
    const { policy, isLocalityWeighted } = this.#options;
    if (policy.kind === "drawn") {
      const members = lists.flat();
      return members.length === 0 ? nobody : policy.make(members, this.#options);
    }
    const weights = isLocalityWeighted ? this.#localities.map(({ weight }) => weight) : undefined;
    const weighted = weights === undefined ? shares([lists.flat()], [1]) : shares(lists, weights);
    return weighted.length === 0 ? nobody : policy.make(weighted);
  }
}

/** Each member's share of all: of its list by its own weight, of all lists by theirs. */
function shares<E extends Balanced>(
  lists: readonly (readonly E[])[],
  weights: readonly number[],
): readonly Weighted<E>[] {
  const total = weights.reduce((sum, weight) => sum + weight, 0);
  if (total === 0) return [];
  return lists.flatMap((members, i) => {
    const weight = weights[i] ?? 0;
    if (weight === 0) return [];
    const all = members.reduce((sum, member) => sum + member.weight, 0);
    return members.map((member) => ({ member, share: (member.weight * (weight / total)) / all }));
  });
}

type HealthRules<E> = Pick<PriorityOptions<E>, "healthOf" | "isHealthWeighted">;

/** By priority, also of those that nobody has. */
export function priorityHealths<E extends Balanced>(
  localities: readonly LocalityMembers<E>[],
  rules: HealthRules<E>,
): readonly PriorityHealth[] {
  return groupByPriority(localities).map((level) => healthOf(level, rules));
}

function healthOf<E extends Balanced>(
  localities: readonly LocalityMembers<E>[],
  { healthOf: of, isHealthWeighted }: HealthRules<E>,
): PriorityHealth {
  const found = { counted: 0, healthy: 0, degraded: 0, members: 0, countedMembers: 0, fit: 0 };
  for (const { members } of localities) {
    for (const member of members) {
      found.members++;
      const health = of(member);
      if (health === "excluded") continue;
      const amount = isHealthWeighted === true ? member.weight : 1;
      found.countedMembers++;
      found.counted += amount;
      if (health === "unfit") continue;
      found.fit++;
      found[health] += amount;
    }
  }
  const { fit, ...rest } = found;
  return { ...rest, fitMembers: fit };
}
