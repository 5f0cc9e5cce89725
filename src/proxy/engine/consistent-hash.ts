/** Ring hash and Maglev, in Envoy's order: the same hash goes to the same endpoint on every proxy. */
import type { Balanced, Choice, Chooser, HashBits } from "./chooser.ts";
import { murmurHash2 } from "./murmur-hash.ts";
import { Hash64 } from "./xx-hash.ts";

/** A member with its share of all weights, localities' weights included; shares add up to 1. */
export interface Weighted<E> {
  readonly member: E;
  readonly share: number;
}

export type MakeHashedChooser<E> = (members: readonly Weighted<E>[]) => Chooser<E>;

const hash = new Hash64();

/** Nothing to hash: any endpoint will do. */
export function hashOf(choice: Choice): HashBits {
  if (choice.hash !== undefined) return choice.hash;
  hash.set(Math.floor(choice.random() * 2 ** 32), Math.floor(choice.random() * 2 ** 32));
  return hash;
}

/** Of 64 bits without their sign; `divisor` is below 2^37. */
export function remainder(hi: number, lo: number, divisor: number): number {
  let rest = (hi >>> 0) % divisor;
  rest = (rest * 0x1_0000 + (lo >>> 16)) % divisor;
  return (rest * 0x1_0000 + (lo & 0xffff)) % divisor;
}

export interface RingSettings {
  readonly sizeMin: number;
  readonly sizeMax: number;
  readonly hashFunction: "xx-hash" | "murmur-hash-2";
}

/** Sizes as in Envoy: the ring grows from `sizeMin` so that the lightest endpoint gets whole points. */
export function ringHash<E extends Balanced>(settings: RingSettings): MakeHashedChooser<E> {
  return (members) => {
    const ring = new Ring(members, settings);
    return (choice) => ring.choose(choice);
  };
}

class Ring<E extends Balanced> {
  readonly #points: readonly E[];
  /** Halves of the points' hashes, in ascending order. */
  readonly #hi: Uint32Array;
  readonly #lo: Uint32Array;

  constructor(members: readonly Weighted<E>[], { sizeMin, sizeMax, hashFunction }: RingSettings) {
    const lightest = members.reduce((least, { share }) => Math.min(least, share), 1);
    const scale = Math.min(Math.ceil(lightest * sizeMin) / lightest, sizeMax);
    const points: { readonly hi: number; readonly lo: number; readonly member: E }[] = [];
    let target = 0;
    let made = 0;
    for (const { member, share } of members) {
      target += scale * share;
      for (let i = 0; made < target; i++, made++) {
        const key = `${member.hashKey}_${i}`;
        if (hashFunction === "xx-hash") hash.ofText(key);
        else murmurHash2(key, hash);
        points.push({ hi: hash.hi >>> 0, lo: hash.lo >>> 0, member });
      }
    }
    points.sort((a, b) => a.hi - b.hi || a.lo - b.lo);
    this.#points = points.map(({ member }) => member);
    this.#hi = Uint32Array.from(points, ({ hi }) => hi);
    this.#lo = Uint32Array.from(points, ({ lo }) => lo);
  }

  choose(choice: Choice): E | undefined {
    const points = this.#points;
    const { hi, lo } = hashOf(choice);
    const at = this.#firstAtLeast(hi >>> 0, lo >>> 0);
    return points[(at + choice.attempt) % points.length];
  }

  #firstAtLeast(wantedHi: number, wantedLo: number): number {
    let low = 0;
    let high = this.#hi.length;
    while (low < high) {
      const middle = (low + high) >> 1;
      const hi = this.#hi[middle] ?? 0;
      if (hi < wantedHi || (hi === wantedHi && (this.#lo[middle] ?? 0) < wantedLo)) {
        low = middle + 1;
      } else high = middle;
    }
    return low === this.#hi.length ? 0 : low;
  }
}

/** `tableSize` is prime. */
export function maglev<E extends Balanced>(tableSize: number): MakeHashedChooser<E> {
  return (members) => {
    const table = maglevTable(members, tableSize);
    return (choice): E | undefined => {
      const { hi, lo } = hashOf(choice);
      const { attempt } = choice;
      // As Envoy: all bits but a few turned over lead far away from where the first attempt led.
      const slot =
        attempt === 0 ? remainder(hi, lo, tableSize) : remainder(~hi, lo ^ -attempt, tableSize);
      return members[table[slot] ?? 0]?.member;
    };
  };
}

function maglevTable(members: readonly Weighted<Balanced>[], size: number): Uint32Array {
  const heaviest = members.reduce((most, { share }) => Math.max(most, share), 0);
  const builders = members
    .map(({ member, share }, index) => ({
      index,
      key: member.hashKey,
      share,
      target: 0,
      next: 0,
      offset: remainderOf(hash.ofText(member.hashKey), size),
      skip: remainderOf(hash.ofText(member.hashKey, 1), size - 1) + 1,
    }))
    .toSorted((a, b) => (a.key < b.key ? -1 : a.key > b.key ? 1 : 0));
  const free = 0xffff_ffff;
  const table = new Uint32Array(size).fill(free);
  let filled = 0;
  for (let round = 1; filled < size; round++) {
    for (const builder of builders) {
      if (filled >= size) break;
      // Lighter endpoints sit out turns until their share of the rounds has come.
      if (round * builder.share < builder.target) continue;
      builder.target += heaviest;
      let slot: number;
      do {
        slot = (builder.offset + builder.skip * builder.next++) % size;
      } while (table[slot] !== free);
      table[slot] = builder.index;
      filled++;
    }
  }
  return table;
}

function remainderOf({ hi, lo }: HashBits, divisor: number): number {
  return remainder(hi, lo, divisor);
}
