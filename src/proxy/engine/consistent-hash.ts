/** Ring hash and Maglev, in Envoy's order: the same hash goes to the same endpoint on every proxy. */
import type { Balanced, Choice, MakeChooser } from "./chooser.ts";
import { Hash64 } from "./xx-hash.ts";

const hashSpan = 2 ** 53;
const hash = new Hash64();

function hashOf(choice: Choice): number {
  return choice.hash ?? Math.floor(choice.random() * hashSpan);
}

/** Sizes as in Envoy: the ring grows from `sizeMin` so that the lightest endpoint gets whole points. */
export function ringHash<E extends Balanced>(sizeMin: number, sizeMax: number): MakeChooser<E> {
  return (members) => {
    const total = members.reduce((sum, member) => sum + member.weight, 0);
    const lightest = Math.min(...members.map((member) => member.weight)) / total;
    const scale = Math.min(Math.ceil(lightest * sizeMin) / lightest, sizeMax);
    const points: { readonly hash: number; readonly member: E }[] = [];
    let target = 0;
    let made = 0;
    for (const member of members) {
      target += (scale * member.weight) / total;
      for (let i = 0; made < target; i++, made++) {
        points.push({ hash: hash.ofText(`${member.hashKey}_${i}`).toNumber(), member });
      }
    }
    points.sort((a, b) => a.hash - b.hash);
    const hashes = Float64Array.from(points, (point) => point.hash);
    return (choice) => points[firstAtLeast(hashes, hashOf(choice))]?.member;
  };
}

function firstAtLeast(hashes: Float64Array, hash: number): number {
  let low = 0;
  let high = hashes.length;
  while (low < high) {
    const middle = (low + high) >> 1;
    if ((hashes[middle] ?? 0) < hash) low = middle + 1;
    else high = middle;
  }
  return low === hashes.length ? 0 : low;
}

/** `tableSize` is prime. */
export function maglev<E extends Balanced>(tableSize: number): MakeChooser<E> {
  return (members) => {
    const table = maglevTable(members, tableSize);
    return (choice: Choice): E | undefined => members[table[hashOf(choice) % tableSize] ?? 0];
  };
}

function maglevTable(members: readonly Balanced[], size: number): Uint32Array {
  const heaviest = Math.max(...members.map((member) => member.weight));
  const builders = members
    .map((member, index) => ({
      index,
      key: member.hashKey,
      weight: member.weight / heaviest,
      target: 0,
      next: 0,
      offset: Number(hash.ofText(member.hashKey).toBigInt() % BigInt(size)),
      skip: Number(hash.ofText(member.hashKey, 1).toBigInt() % BigInt(size - 1)) + 1,
    }))
    .toSorted((a, b) => (a.key < b.key ? -1 : 1));
  const free = 0xffff_ffff;
  const table = new Uint32Array(size).fill(free);
  let filled = 0;
  for (let round = 1; filled < size; round++) {
    for (const builder of builders) {
      if (filled >= size) break;
      // Lighter endpoints sit out turns until their share of the rounds has come.
      if (round * builder.weight < builder.target) continue;
      builder.target += 1;
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
