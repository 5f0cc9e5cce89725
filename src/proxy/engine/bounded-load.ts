/**
 * Consistent hashing that leaves an endpoint which has more than its part of the requests in flight:
 * Envoy's `hash_balance_factor`. Who comes instead is drawn by the hash, so the same hash gets the
 * same sequence of endpoints.
 */
import type { Balanced } from "./chooser.ts";
import { hashOf, type MakeHashedChooser, type Weighted } from "./consistent-hash.ts";
import { MersenneTwister } from "./mersenne-twister.ts";

/** `factor` is in per cent of an even load, at least 100. */
export function boundedLoad<E extends Balanced>(
  make: MakeHashedChooser<E>,
  factor: number,
): MakeHashedChooser<E> {
  return (members) => {
    const choose = make(members);
    const shares = new Map(members.map(({ member, share }) => [member, share]));
    const load = new LoadOf(members, factor);
    return (choice) => {
      const { hi, lo } = hashOf(choice);
      // Drawn once: without a hash each asking would draw another.
      const first = choose(choice.hash === undefined ? { ...choice, hash: { hi, lo } } : choice);
      if (first === undefined) return undefined;
      load.begin();
      const overload = load.of(first, shares.get(first) ?? 0);
      return overload <= 1 ? first : load.leaveFor(first, overload, lo);
    };
  };
}

class LoadOf<E extends Balanced> {
  readonly #members: readonly Weighted<E>[];
  readonly #factor: number;
  #slots = 0;

  constructor(members: readonly Weighted<E>[], factor: number) {
    this.#members = members;
    this.#factor = factor;
  }

  begin(): void {
    const active = this.#members.reduce((sum, { member }) => sum + member.active, 0);
    this.#slots = Math.floor(((active + 1) * this.#factor + 99) / 100);
  }

  of({ active }: E, share: number): number {
    return active / Math.max(Math.ceil(this.#slots * share), 1);
  }

  /** The first in the hash's own order that is not overloaded, or else the least overloaded. */
  leaveFor(first: E, overload: number, seed: number): E {
    const members = this.#members;
    const order = members.map((_, i) => i);
    twister.seed(seed);
    let least = first;
    let leastOverload = overload;
    for (let i = 0; i < order.length; i++) {
      const from = i + twister.below(order.length - i);
      const index = order[from] ?? 0;
      order[from] = order[i] ?? 0;
      order[i] = index;
      const other = members[index];
      if (other === undefined || other.member === first) continue;
      const otherOverload = this.of(other.member, other.share);
      if (otherOverload <= 1) return other.member;
      if (otherOverload < leastOverload) {
        least = other.member;
        leastOverload = otherOverload;
      }
    }
    return least;
  }
}

// Of one choice at a time: nothing here waits or calls back.
const twister = new MersenneTwister();
