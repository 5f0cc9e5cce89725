/**
 * Exponential buckets of a Prometheus native histogram, schema 3: eight to the octave, so a bound is
 * 9 % above the one before. Bucket `i` holds what is above 2^((i-1)/8) and not above 2^(i/8). Octaves
 * get their slots when something falls into them: a series of latencies has four or five.
 */
import type { SlotRange } from "./slots.ts";

export const nativeSchema = 3;
/** What is not above it is zero. */
export const nativeZeroThreshold: number = 2 ** -10;
export const octaveSlots = 8;
const firstBucket = -80;
const lastBucket = 431;
/** The octave in which zeros are counted, in its first slot; below all others. */
export const zeroOctave = -1000;

/** 2^0, 2^(1/8) … 2^(7/8). */
const bounds = Array.from({ length: 8 }, (_, i) => 2 ** (i / 8));

export function bucketOf(value: number): number {
  if (!(value < Number.POSITIVE_INFINITY)) return lastBucket;
  const exponent = Math.floor(Math.log2(value));
  const fraction = value / 2 ** exponent;
  let index = exponent * octaveSlots;
  for (const bound of bounds) if (bound < fraction) index++;
  return Math.min(Math.max(index, firstBucket), lastBucket);
}

/** The buckets of one series. */
export class NativeBuckets {
  readonly octaves: Map<number, SlotRange> = new Map();
  readonly #allocate: (octave: number) => SlotRange;

  /** `allocate` gives eight zeroed slots. */
  constructor(allocate: (octave: number) => SlotRange) {
    this.#allocate = allocate;
  }

  record(value: number, count = 1): void {
    if (!(value > nativeZeroThreshold)) return this.#add(zeroOctave, 0, count);
    const bucket = bucketOf(value);
    const octave = bucket >> 3;
    this.#add(octave, bucket - octave * octaveSlots, count);
  }

  #add(octave: number, index: number, count: number): void {
    let range = this.octaves.get(octave);
    if (range === undefined) {
      range = this.#allocate(octave);
      this.octaves.set(octave, range);
    }
    const at = range.slot + index;
    range.values[at] = (range.values[at] ?? 0) + count;
  }
}

/** Octave → its eight counts, from wherever they are kept. */
export type NativeCounts = ReadonlyMap<number, ArrayLike<number>>;

export function countsOf(octaves: ReadonlyMap<number, SlotRange>): NativeCounts {
  return new Map(
    [...octaves].map(([octave, { values, slot }]) => [
      octave,
      values.slice(slot, slot + octaveSlots),
    ]),
  );
}
