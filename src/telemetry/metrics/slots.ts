/**
 * Where metrics keep their numbers: slots of 64-bit floats in segments that never move, so that a
 * handle holds its segment and writes without asking. Segments may be shared with another thread,
 * which reads them while they are written; a float is read whole.
 *
 * The first `deadSlots` of the first segment belong to nobody: handles of ended series write there.
 */

/** The longest series a dead handle may still write. */
export const deadSlots = 64;

const segmentSlots = 4096;

export interface SlotRange {
  readonly values: Float64Array;
  /** Of `values`, in the order segments were made. */
  readonly segment: number;
  readonly slot: number;
}

export interface SlotArenaOptions {
  /** Segments can be handed to other threads. */
  readonly isShared: boolean;
  /** Told of each segment once. */
  readonly onSegment?: (buffer: ArrayBufferLike) => void;
  /** Slots that were given back at or before this number may be used again. */
  readonly reusableUpTo?: () => number;
}

interface FreeRange extends SlotRange {
  readonly since: number;
}

export class SlotArena {
  readonly dead: SlotRange;
  /** Of the segments, in their order. */
  readonly buffers: ArrayBufferLike[] = [];
  readonly #options: SlotArenaOptions;
  readonly #free = new Map<number, FreeRange[]>();
  #values: Float64Array = new Float64Array(0);
  #segment = -1;
  #end = 0;

  constructor(options: SlotArenaOptions) {
    this.#options = options;
    this.dead = this.allocate(deadSlots);
  }

  /** Zeroed. */
  allocate(size: number): SlotRange {
    const reused = this.#takeFree(size);
    if (reused !== undefined) return reused;
    if (this.#end + size > this.#values.length) this.#addSegment();
    const slot = this.#end;
    this.#end += size;
    return { values: this.#values, segment: this.#segment, slot };
  }

  /** What stands there stays readable until the slots are used again. */
  release(range: SlotRange, size: number, since: number): void {
    const { values, segment, slot } = range;
    const list = this.#free.get(size);
    const free = { values, segment, slot, since };
    if (list === undefined) this.#free.set(size, [free]);
    else list.push(free);
  }

  #takeFree(size: number): SlotRange | undefined {
    const list = this.#free.get(size);
    const [oldest] = list ?? [];
    if (list === undefined || oldest === undefined) return undefined;
    if (oldest.since > (this.#options.reusableUpTo?.() ?? Number.POSITIVE_INFINITY)) {
      return undefined;
    }
    list.shift();
    oldest.values.fill(0, oldest.slot, oldest.slot + size);
    return oldest;
  }

  #addSegment(): void {
    const bytes = segmentSlots * Float64Array.BYTES_PER_ELEMENT;
    const buffer = this.#options.isShared ? new SharedArrayBuffer(bytes) : new ArrayBuffer(bytes);
    this.#values = new Float64Array(buffer);
    this.#segment++;
    // Slot 0 is no series' place in any segment: a handle takes it for "dropped".
    this.#end = this.#segment === 0 ? 0 : 1;
    this.buffers.push(buffer);
    this.#options.onSegment?.(buffer);
  }
}
