/**
 * How much of the load each priority gets, in whole per cent as Envoy counts: as much as its healthy
 * endpoints, overprovisioned, can carry, then its degraded ones, the rest spilling over to the next.
 * Where too few endpoints are healthy a priority panics and uses all of them: better a few errors
 * than one endpoint under all the load.
 */

/** Of one priority: numbers of endpoints, or their weights where health is weighed. */
export interface PriorityHealth {
  /** All but those whose health nobody knows yet. */
  readonly counted: number;
  readonly healthy: number;
  readonly degraded: number;
  /** The same in numbers of endpoints, always. */
  readonly members: number;
  readonly countedMembers: number;
  readonly fitMembers: number;
  /** Where it is not that of all of them. */
  readonly overprovisioningPercent?: number;
}

export interface PriorityLoad {
  /** Per cent of all requests. */
  healthy: number;
  degraded: number;
  isPanicking: boolean;
}

export interface LoadRules {
  /** 140: a priority counts as whole down to 71 % healthy. */
  readonly overprovisioningPercent: number;
  /** 0–100; below this share of fit endpoints a priority panics. 0 = never. */
  readonly panicPercent: number;
}

/** In per cent, by priority: what could be carried. */
export function availabilityOf(
  priorities: readonly PriorityHealth[],
  rules: LoadRules,
): { readonly healthy: readonly number[]; readonly degraded: readonly number[] } {
  const share = (each: PriorityHealth, kind: "healthy" | "degraded"): number => {
    const { counted, overprovisioningPercent: percent = rules.overprovisioningPercent } = each;
    return counted === 0 ? 0 : Math.min(100, Math.floor((percent * each[kind]) / counted));
  };
  return {
    healthy: priorities.map((each) => share(each, "healthy")),
    degraded: priorities.map((each) => share(each, "degraded")),
  };
}

/** In order of priority. Loads add up to 100 unless there is nobody at all. */
export function priorityLoads(
  priorities: readonly PriorityHealth[],
  rules: LoadRules,
): readonly PriorityLoad[] {
  const { panicPercent } = rules;
  const { healthy, degraded } = availabilityOf(priorities, rules);
  const total = Math.min(100, sum(healthy) + sum(degraded));
  const loads = distribute(healthy, degraded, total);
  const first = loads[0];
  if (first === undefined) return loads;
  if (panicPercent === 0 && total === 0) {
    // Nobody is fit, and nobody may panic: whoever is asked answers that there is nobody.
    first.healthy = 100;
    return loads;
  }
  if (total < 100) {
    for (const [i, load] of loads.entries()) {
      const { fitMembers = 0, countedMembers = 0 } = priorities[i] ?? {};
      const percent = countedMembers === 0 ? 0 : (100 * fitMembers) / countedMembers;
      load.isPanicking = percent < panicPercent;
    }
  }
  if (loads.every(({ isPanicking }) => isPanicking)) spreadByMembers(loads, priorities);
  return loads;
}

function distribute(
  healthy: readonly number[],
  degraded: readonly number[],
  total: number,
): PriorityLoad[] {
  let left = total === 0 ? 0 : 100;
  const part = (percent: number): number => {
    const given = total === 0 ? 0 : Math.min(left, Math.floor((percent * 100) / total));
    left -= given;
    return given;
  };
  const forHealthy = healthy.map(part);
  const forDegraded = degraded.map(part);
  const loads = forHealthy.map((each, i) => ({
    healthy: each,
    degraded: forDegraded[i] ?? 0,
    isPanicking: false,
  }));
  // What rounding has left.
  const firstHealthy = loads[healthy.findIndex((percent) => percent > 0)];
  const firstDegraded = loads[degraded.findIndex((percent) => percent > 0)];
  if (firstHealthy !== undefined) firstHealthy.healthy += left;
  else if (firstDegraded !== undefined) firstDegraded.degraded += left;
  return loads;
}

/** Everybody panics: health says nothing any more. */
function spreadByMembers(loads: PriorityLoad[], priorities: readonly PriorityHealth[]): void {
  const all = sum(priorities.map(({ members }) => members));
  let left = 100;
  for (const [i, load] of loads.entries()) {
    const share = all === 0 ? 0 : Math.floor((100 * (priorities[i]?.members ?? 0)) / all);
    load.healthy = share;
    load.degraded = 0;
    left -= share;
  }
  const first =
    loads[
      Math.max(
        0,
        priorities.findIndex(({ members }) => members > 0),
      )
    ];
  if (first !== undefined) first.healthy += left;
}

function sum(numbers: readonly number[]): number {
  return numbers.reduce((all, each) => all + each, 0);
}
