/**
 * Spreads choices over priorities and localities: a priority gets as much as its healthy share,
 * overprovisioned, can carry; the rest spills to the next. Where too few endpoints are healthy, a
 * priority panics and uses all of them: better a few errors than one endpoint under all the load.
 */
import type { Balanced, Choice, Chooser, MakeChooser } from "./chooser.ts";

export interface LocalityMembers<E> {
  readonly priority: number;
  /** Counts only with locality weighting. */
  readonly weight: number;
  readonly members: readonly E[];
}

export interface PriorityOptions<E> {
  readonly makeChooser: MakeChooser<E>;
  readonly isHealthy: (member: E) => boolean;
  readonly isLocalityWeighted: boolean;
  /** 1.4: a priority counts as whole down to 71 % healthy. */
  readonly overprovisioning: number;
  /** 0–100; below this share of healthy endpoints a priority panics. 0 = never. */
  readonly panicPercent: number;
  readonly random: () => number;
}

interface Load<E> {
  /** Upper end of this priority's part of [0, 100). */
  readonly until: number;
  readonly choose: Chooser<E>;
}

/** Built for one state of health; build again when health or membership changes. */
export function balancePriorities<E extends Balanced>(
  localities: readonly LocalityMembers<E>[],
  options: PriorityOptions<E>,
): Chooser<E> {
  const levels = groupByPriority(localities);
  const available = levels.map((level) => availability(level, options));
  const total = Math.min(
    100,
    available.reduce((sum, percent) => sum + percent, 0),
  );
  const loads: Load<E>[] = [];
  let until = 0;
  for (const [i, level] of levels.entries()) {
    const share = total === 0 ? memberShare(levels, i) : ((available[i] ?? 0) * 100) / total;
    const part = Math.min(100 - until, share);
    if (part <= 0) continue;
    until += part;
    const choose = chooserFor(level, total, options);
    if (choose !== undefined) loads.push({ until, choose });
  }
  const [only] = loads;
  if (loads.length <= 1) return only === undefined ? () => undefined : only.choose;
  return (choice) => {
    const point = choice.random() * until;
    for (const load of loads) if (point < load.until) return load.choose(choice);
    return loads.at(-1)?.choose(choice);
  };
}

function groupByPriority<E>(
  localities: readonly LocalityMembers<E>[],
): readonly (readonly LocalityMembers<E>[])[] {
  const levels = Map.groupBy(localities, (locality) => locality.priority);
  return [...levels.entries()].toSorted(([a], [b]) => a - b).map(([, level]) => level);
}

function countMembers<E>(level: readonly LocalityMembers<E>[]): number {
  return level.reduce((sum, locality) => sum + locality.members.length, 0);
}

function memberShare<E>(levels: readonly (readonly LocalityMembers<E>[])[], at: number): number {
  const all = levels.reduce((sum, level) => sum + countMembers(level), 0);
  return all === 0 ? 0 : (countMembers(levels[at] ?? []) * 100) / all;
}

function healthyPercent<E>(
  level: readonly LocalityMembers<E>[],
  { isHealthy }: PriorityOptions<E>,
): number {
  const total = countMembers(level);
  let healthy = 0;
  for (const { members } of level) for (const member of members) if (isHealthy(member)) healthy++;
  return total === 0 ? 0 : (healthy * 100) / total;
}

function availability<E>(
  level: readonly LocalityMembers<E>[],
  options: PriorityOptions<E>,
): number {
  return Math.min(100, healthyPercent(level, options) * options.overprovisioning);
}

function chooserFor<E extends Balanced>(
  level: readonly LocalityMembers<E>[],
  totalAvailable: number,
  options: PriorityOptions<E>,
): Chooser<E> | undefined {
  const { makeChooser, isHealthy, random } = options;
  const isPanic = totalAvailable < 100 && healthyPercent(level, options) < options.panicPercent;
  if (isPanic || !options.isLocalityWeighted) {
    const all = level.flatMap((locality) => locality.members);
    const members = isPanic ? all : all.filter(isHealthy);
    return members.length === 0 ? undefined : makeChooser(members, random);
  }
  let total = 0;
  const choices = level.flatMap((locality) => {
    const healthy = locality.members.filter(isHealthy);
    const fit = Math.min(
      1,
      (options.overprovisioning * healthy.length) / Math.max(1, locality.members.length),
    );
    const weight = locality.weight * fit;
    if (healthy.length === 0 || weight <= 0) return [];
    total += weight;
    return [{ until: total, choose: makeChooser(healthy, random) }];
  });
  if (choices.length === 0) return undefined;
  return (choice: Choice) => {
    const point = choice.random() * total;
    return (choices.find((each) => point < each.until) ?? choices.at(-1))?.choose(choice);
  };
}
