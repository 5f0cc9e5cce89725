/**
 * The memory of token buckets that the threads of a process share. Whoever needs a bucket first makes
 * it, by its key: threads that compile the same configuration find the same one without a word. A
 * bucket keeps its place for the life of the process, so that a push of configuration fills none.
 */
import { type BucketCell, type BucketMemory, ownBuckets } from "./token-bucket.ts";

const bucketsMax = 4096;
/** Of 32 bits: a lock, how many there are, and then two for each bucket's key. */
const headerCells = 2;
const lockAt = 0;
const countAt = 1;
/** A thread that ended while it held the lock must not stop the others. */
const lockTriesMax = 1_000_000;

export class SharedBuckets implements BucketMemory {
  readonly memory: SharedArrayBuffer;
  readonly #keys: Int32Array;
  /** Nanoseconds. */
  readonly #values: BigInt64Array;

  /** From this thread's clock to the one that all go by, nanoseconds. */
  readonly #offset: bigint;

  constructor(offsetMs = 0, memory?: SharedArrayBuffer) {
    this.#offset = BigInt(Math.round(offsetMs * 1e6));
    const valuesAt = (headerCells + bucketsMax * 2) * 4;
    this.memory = memory ?? new SharedArrayBuffer(valuesAt + bucketsMax * 8);
    this.#keys = new Int32Array(this.memory, 0, headerCells + bucketsMax * 2);
    this.#values = new BigInt64Array(this.memory, valuesAt, bucketsMax);
  }

  static readonly bucketsMax: number = bucketsMax;

  /** Those beyond `bucketsMax` belong to each thread alone. */
  cell(key: string, emptyAt: bigint): BucketCell {
    const place = this.#placeOf(key, emptyAt + this.#offset);
    return place === undefined ? ownBuckets.cell(key, emptyAt) : this.#at(place);
  }

  #at(place: number): BucketCell {
    const values = this.#values;
    const offset = this.#offset;
    return {
      load: () => Atomics.load(values, place) - offset,
      exchange(expected, next) {
        const before = expected + offset;
        return Atomics.compareExchange(values, place, before, next + offset) === before;
      },
    };
  }

  #placeOf(key: string, emptyAt: bigint): number | undefined {
    const first = hash(key, 0x811c9dc5);
    const second = hash(key, 0x01234567);
    return this.#find(first, second) ?? this.#make(first, second, emptyAt);
  }

  #find(first: number, second: number): number | undefined {
    const count = Atomics.load(this.#keys, countAt);
    for (let place = 0; place < count; place++) {
      const at = headerCells + place * 2;
      if (this.#keys[at] === first && this.#keys[at + 1] === second) return place;
    }
    return undefined;
  }

  #make(first: number, second: number, emptyAt: bigint): number | undefined {
    const keys = this.#keys;
    for (let tries = 0; Atomics.compareExchange(keys, lockAt, 0, 1) !== 0; tries++) {
      if (tries > lockTriesMax) return undefined;
    }
    try {
      const known = this.#find(first, second);
      if (known !== undefined) return known;
      const place = Atomics.load(keys, countAt);
      if (place >= bucketsMax) return undefined;
      const at = headerCells + place * 2;
      keys[at] = first;
      keys[at + 1] = second;
      Atomics.store(this.#values, place, emptyAt);
      // From here on the others see it.
      Atomics.store(keys, countAt, place + 1);
      return place;
    } finally {
      Atomics.store(keys, lockAt, 0);
    }
  }
}

/** FNV-1a; two of them, from other beginnings, tell keys apart. */
function hash(text: string, seed: number): number {
  let value = seed;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value | 0;
}
