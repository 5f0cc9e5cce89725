/** Choosing one endpoint among equals in fitness: the policies that need no hash. */
import { EarliestDeadline } from "./earliest-deadline.ts";

/** What balancing looks at. */
export interface Balanced {
  /** At least 1. */
  readonly weight: number;
  /** Requests in flight. */
  readonly active: number;
  /** What consistent hashing places on its ring: the address, or the hostname if so configured. */
  readonly hashKey: string;
}

export interface Choice {
  readonly hash: number | undefined;
  readonly random: () => number;
}

/** Chooses among a fixed, non-empty list; rebuilt when the list changes. */
export type Chooser<E> = (choice: Choice) => E | undefined;

export type MakeChooser<E> = (members: readonly E[], random: () => number) => Chooser<E>;

function hasEqualWeights(members: readonly Balanced[]): boolean {
  return members.every((member) => member.weight === members[0]?.weight);
}

/** Starts anywhere, so that many proxies do not all begin with the same endpoint. */
export function roundRobin<E extends Balanced>(
  members: readonly E[],
  random: () => number,
): Chooser<E> {
  if (hasEqualWeights(members)) {
    let next = Math.floor(random() * members.length);
    return () => members[next++ % members.length];
  }
  const schedule = new EarliestDeadline(members, (member) => member.weight);
  for (let skip = Math.floor(random() * members.length); skip > 0; skip--) schedule.next();
  return () => schedule.next();
}

/**
 * The least busy of `choiceCount` random ones; with unequal weights, weights shrink with load to the
 * power of `bias`, as in Envoy.
 */
export function leastRequest<E extends Balanced>(
  choiceCount: number,
  bias: number,
): MakeChooser<E> {
  return (members) => {
    if (!hasEqualWeights(members)) {
      const weightOf = (member: E): number => member.weight / (member.active + 1) ** bias;
      const schedule = new EarliestDeadline(members, weightOf);
      return () => schedule.next();
    }
    if (members.length === 1) return () => members[0];
    return ({ random }) => {
      let best: E | undefined;
      for (let i = 0; i < choiceCount; i++) {
        const candidate = members[Math.floor(random() * members.length)];
        if (best === undefined || (candidate !== undefined && candidate.active < best.active)) {
          best = candidate;
        }
      }
      return best;
    };
  };
}

export function uniformRandom<E extends Balanced>(members: readonly E[]): Chooser<E> {
  return ({ random }) => members[Math.floor(random() * members.length)];
}
