/** Choosing one endpoint among equals in fitness: the policies that need no hash. */
import { EarliestDeadline } from "./earliest-deadline.ts";
import type { PreviousPriorities } from "./previous-priorities.ts";
import { type SlowStart, slowStartFactor } from "./slow-start.ts";

/** What balancing looks at. */
export interface Balanced {
  /** At least 1. */
  readonly weight: number;
  /** Requests in flight. */
  readonly active: number;
  /** What consistent hashing places on its ring: the address, or the hostname if so configured. */
  readonly hashKey: string;
  /** Since when it may take requests, by the monotonic clock; for slow starts. */
  readonly healthySinceMs?: number | undefined;
}

/** 64 bits, as two int32. */
export interface HashBits {
  readonly hi: number;
  readonly lo: number;
}

export interface Choice {
  readonly hash: HashBits | undefined;
  /** How many endpoints were drawn for this request already, and were not wanted. */
  readonly attempt: number;
  readonly random: () => number;
  /** Of a retry that keeps away from priorities. */
  readonly priorities?: PreviousPriorities | undefined;
  /** The priority and the health that are chosen already. */
  readonly part?: ChosenPart | undefined;
  /** Asked before there is a request: undefined unless the answer stays true when it comes. */
  readonly isAhead?: boolean;
}

/** Endpoints of one priority, those in good health or those that are degraded. */
export interface ChosenPart {
  readonly priority: number;
  readonly kind: "healthy" | "degraded";
}

/** Chooses among a fixed, non-empty list; rebuilt when the list changes. */
export type Chooser<E> = (choice: Choice) => E | undefined;

/** `nowMs` is the monotonic clock. */
export interface ChooserTools {
  readonly random: () => number;
  readonly nowMs: () => number;
}

export type MakeChooser<E> = (members: readonly E[], tools: ChooserTools) => Chooser<E>;

function hasEqualWeights(members: readonly Balanced[]): boolean {
  return members.every((member) => member.weight === members[0]?.weight);
}

/** Some members have not had their whole window yet, so weights differ from what is configured. */
function isAnyStarting(
  members: readonly Balanced[],
  slowStart: SlowStart | undefined,
  nowMs: () => number,
): slowStart is SlowStart {
  if (slowStart === undefined) return false;
  const now = nowMs();
  return members.some(({ healthySinceMs = now }) => now - healthySinceMs <= slowStart.windowMs);
}

/** By weight, from anywhere: many proxies must not all begin with the same endpoint. */
function scheduled<E extends Balanced>(
  members: readonly E[],
  weightOf: (member: E) => number,
  random: () => number,
): Chooser<E> {
  const schedule = new EarliestDeadline(members, weightOf);
  for (let skip = Math.floor(random() * members.length); skip > 0; skip--) schedule.next();
  return () => schedule.next();
}

/** Starts anywhere, so that many proxies do not all begin with the same endpoint. */
export function roundRobin<E extends Balanced>(slowStart?: SlowStart): MakeChooser<E> {
  return (members, { random, nowMs }) => {
    if (isAnyStarting(members, slowStart, nowMs)) {
      const weightOf = (member: E): number =>
        member.weight * slowStartFactor(slowStart, member.healthySinceMs, nowMs());
      return scheduled(members, weightOf, random);
    }
    if (!hasEqualWeights(members)) return scheduled(members, (member) => member.weight, random);
    let next = Math.floor(random() * members.length);
    return () => members[next++ % members.length];
  };
}

export interface LeastRequestSettings {
  readonly choiceCount: number;
  readonly bias: number;
  /** Looks at all of them instead of drawing a few. */
  readonly scansAll?: boolean;
  readonly slowStart?: SlowStart | undefined;
}

/**
 * The least busy of `choiceCount` random ones; with unequal weights, weights shrink with load to the
 * power of `bias`, as in Envoy.
 */
export function leastRequest<E extends Balanced>(settings: LeastRequestSettings): MakeChooser<E> {
  const { choiceCount, bias, slowStart } = settings;
  const loaded = (member: E): number => member.weight / (member.active + 1) ** bias;
  return (members, { random, nowMs }) => {
    if (members.length === 1) return ({ isAhead }) => (isAhead === true ? undefined : members[0]);
    if (isAnyStarting(members, slowStart, nowMs)) {
      const weightOf = (member: E): number =>
        loaded(member) * slowStartFactor(slowStart, member.healthySinceMs, nowMs());
      return scheduled(members, weightOf, random);
    }
    if (!hasEqualWeights(members)) return scheduled(members, loaded, random);
    if (settings.scansAll === true) return (choice) => leastBusy(members, choice);
    return (choice) => {
      // Who is the least busy then is not known now.
      if (choice.isAhead === true) return undefined;
      let best: E | undefined;
      for (let i = 0; i < choiceCount; i++) {
        const candidate = members[Math.floor(choice.random() * members.length)];
        if (best === undefined || (candidate !== undefined && candidate.active < best.active)) {
          best = candidate;
        }
      }
      return best;
    };
  };
}

/** Each of those that are equally idle is as likely. */
function leastBusy<E extends Balanced>(
  members: readonly E[],
  { random, isAhead }: Choice,
): E | undefined {
  if (isAhead === true) return undefined;
  let best: E | undefined;
  let equals = 0;
  for (const member of members) {
    if (best === undefined || member.active < best.active) {
      best = member;
      equals = 1;
    } else if (member.active === best.active && random() * ++equals < 1) {
      best = member;
    }
  }
  return best;
}

export function uniformRandom<E extends Balanced>(members: readonly E[]): Chooser<E> {
  return ({ random }) => members[Math.floor(random() * members.length)];
}
