/**
 * The memory of token buckets that the threads of a process share. Whoever needs a bucket first makes
 * it, by its key: threads that compile the same configuration find the same one without a word. A
 * bucket keeps its place, so that a push of configuration fills none, until its place is wanted: then
 * one that is full gives way. It begins full again where somebody still has it, which is what it was.
 */
import {
  type BucketBeginning,
  type BucketCell,
  type BucketMemory,
  ownBuckets,
} from "./token-bucket.ts";

const bucketsMax = 4096;
/** Of 32 bits: a lock, how many there are, and then two for each bucket's key. */
const headerCells = 2;
const lockAt = 0;
const countAt = 1;
/** A thread that ended while it held the lock must not stop the others. */
const lockTriesMax = 1_000_000;

/** Told where the memory was full. */
export interface BucketWatch {
  /** A full bucket gave its place to another. */
  onEvicted(): void;
  /** No bucket was full: the thread counts by itself. */
  onOwn(): void;
}

const nobody: BucketWatch = { onEvicted: () => {}, onOwn: () => {} };

interface Key {
  readonly first: number;
  readonly second: number;
}

export class SharedBuckets implements BucketMemory {
  readonly memory: SharedArrayBuffer;
  readonly #keys: Int32Array;
  /** Nanoseconds: when each would have been empty, and how long it takes to fill. */
  readonly #values: BigInt64Array;
  readonly #spans: BigInt64Array;
  readonly #watch: BucketWatch;
  /** From this thread's clock to the one that all go by, nanoseconds. */
  readonly #offset: bigint;

  constructor(offsetMs = 0, memory?: SharedArrayBuffer, watch: BucketWatch = nobody) {
    this.#offset = BigInt(Math.round(offsetMs * 1e6));
    this.#watch = watch;
    const valuesAt = (headerCells + bucketsMax * 2) * 4;
    this.memory = memory ?? new SharedArrayBuffer(valuesAt + bucketsMax * 16);
    this.#keys = new Int32Array(this.memory, 0, headerCells + bucketsMax * 2);
    this.#values = new BigInt64Array(this.memory, valuesAt, bucketsMax);
    this.#spans = new BigInt64Array(this.memory, valuesAt + bucketsMax * 8, bucketsMax);
  }

  static readonly bucketsMax: number = bucketsMax;

  /** Where all have places and none is full, the thread has it alone. */
  cell(text: string, beginning: BucketBeginning): BucketCell {
    const key = { first: hash(text, 0x811c9dc5), second: hash(text, 0x01234567) };
    return new SharedCell(key, beginning, this);
  }

  load(place: number): bigint {
    return Atomics.load(this.#values, place) - this.#offset;
  }

  exchange(place: number, expected: bigint, next: bigint): boolean {
    const before = expected + this.#offset;
    return Atomics.compareExchange(this.#values, place, before, next + this.#offset) === before;
  }

  holds(place: number, { first, second }: Key): boolean {
    const at = headerCells + place * 2;
    return Atomics.load(this.#keys, at) === first && Atomics.load(this.#keys, at + 1) === second;
  }

  /** Undefined where all have places and none is full. `now`: of this thread's clock. */
  placeOf(key: Key, beginning: BucketBeginning, now: bigint): number | undefined {
    return (
      this.#find(key) ??
      this.#locked(
        () => this.#find(key) ?? this.#make(key, beginning) ?? this.#evict(key, beginning, now),
      )
    );
  }

  #find(key: Key): number | undefined {
    const count = Atomics.load(this.#keys, countAt);
    for (let place = 0; place < count; place++) {
      const at = headerCells + place * 2;
      if (this.#keys[at] === key.first && this.#keys[at + 1] === key.second) return place;
    }
    return undefined;
  }

  #locked(action: () => number | undefined): number | undefined {
    const keys = this.#keys;
    for (let tries = 0; Atomics.compareExchange(keys, lockAt, 0, 1) !== 0; tries++) {
      if (tries > lockTriesMax) return undefined;
    }
    try {
      return action();
    } finally {
      Atomics.store(keys, lockAt, 0);
    }
  }

  /** Under the lock. */
  #make(key: Key, { emptyAt, span }: BucketBeginning): number | undefined {
    const place = Atomics.load(this.#keys, countAt);
    if (place >= bucketsMax) return undefined;
    this.#name(place, key);
    Atomics.store(this.#values, place, emptyAt + this.#offset);
    Atomics.store(this.#spans, place, span);
    // From here on the others see it.
    Atomics.store(this.#keys, countAt, place + 1);
    return place;
  }

  /** Under the lock. Who had the place sees another key there, or fails to change its number. */
  #evict(key: Key, { emptyAt, span }: BucketBeginning, now: bigint): number | undefined {
    const nowForAll = now + this.#offset;
    for (let place = 0; place < bucketsMax; place++) {
      const value = Atomics.load(this.#values, place);
      if (value + Atomics.load(this.#spans, place) > nowForAll) continue;
      const at = headerCells + place * 2;
      const before = { first: this.#keys[at] ?? 0, second: this.#keys[at + 1] ?? 0 };
      this.#name(place, { first: 0, second: 0 });
      const begins = emptyAt + this.#offset;
      if (Atomics.compareExchange(this.#values, place, value, begins) !== value) {
        this.#name(place, before);
        continue;
      }
      Atomics.store(this.#spans, place, span);
      this.#name(place, key);
      this.#watch.onEvicted();
      return place;
    }
    this.#watch.onOwn();
    return undefined;
  }

  #name(place: number, { first, second }: Key): void {
    const at = headerCells + place * 2;
    Atomics.store(this.#keys, at, first);
    Atomics.store(this.#keys, at + 1, second);
  }
}

/** A bucket's place, which it may lose while it is full. */
class SharedCell implements BucketCell {
  readonly #key: Key;
  readonly #beginning: BucketBeginning;
  readonly #buckets: SharedBuckets;
  #place: number | undefined;
  /** Where there was no place. */
  #own: BucketCell | undefined;

  constructor(key: Key, beginning: BucketBeginning, buckets: SharedBuckets) {
    this.#key = key;
    this.#beginning = beginning;
    this.#buckets = buckets;
    this.#seek(beginning.emptyAt + beginning.span);
  }

  load(now: number): bigint {
    const place = this.#place;
    if (this.#own === undefined && place !== undefined && !this.#buckets.holds(place, this.#key)) {
      this.#seek(BigInt(Math.round(now)));
    }
    return this.#own?.load(now) ?? this.#buckets.load(this.#place ?? 0);
  }

  exchange(expected: bigint, next: bigint): boolean {
    if (this.#own !== undefined) return this.#own.exchange(expected, next);
    const place = this.#place;
    if (place === undefined || !this.#buckets.holds(place, this.#key)) return false;
    return this.#buckets.exchange(place, expected, next);
  }

  #seek(now: bigint): void {
    this.#place = this.#buckets.placeOf(this.#key, this.#beginning, now);
    if (this.#place === undefined) this.#own = ownBuckets.cell("", this.#beginning);
  }
}

/** FNV-1a; two of them, from other beginnings, tell keys apart. */
function hash(text: string, seed: number): number {
  let value = seed;
  for (let i = 0; i < text.length; i++) value = Math.imul(value ^ text.charCodeAt(i), 0x01000193);
  return value | 0;
}
