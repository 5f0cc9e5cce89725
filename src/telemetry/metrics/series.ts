/** One series as its handle: whoever counts holds it and never looks it up again. */
import type { Counter, Gauge, Histogram, Labels } from "../metrics.ts";
import { type ExposedSeries, labelsText } from "./exposition.ts";
import { NativeBuckets } from "./native-buckets.ts";
import type { SlotRange } from "./slots.ts";

/** What a series asks of the metric it belongs to. */
export interface SeriesHome {
  readonly buckets: readonly number[];
  /** Gives an idle series that was dropped its place back. */
  revive(series: Series): void;
  /** Slots for eight native buckets of a series. */
  allocateOctave(series: Series, octave: number): SlotRange;
}

/** Which of the three handles it is was checked when it was made. */
export class Series implements Counter, Gauge, Histogram, ExposedSeries {
  readonly key: string;
  readonly labels: Labels;
  readonly id: number;
  values: Float64Array;
  /** 0: dropped; what is written meanwhile is lost. */
  slot = 0;
  segment = 0;
  /** Where native buckets are kept, too: since somebody asked for them. */
  native: NativeBuckets | undefined = undefined;
  /** Removed by whoever made it: it stays away. */
  isDead = false;
  activityAtSweep: number = Number.NaN;
  readonly #home: SeriesHome;
  readonly #buckets: readonly number[];

  constructor(home: SeriesHome, labels: Labels, [id, at]: readonly [id: number, at: SlotRange]) {
    this.#home = home;
    this.#buckets = home.buckets;
    this.key = labelsText(labels);
    this.labels = labels;
    this.id = id;
    this.values = at.values;
  }

  moveTo({ values, segment, slot }: SlotRange): void {
    this.values = values;
    this.segment = segment;
    this.slot = slot;
  }

  add(amount = 1): void {
    if (this.slot === 0) this.#revive();
    const { values, slot } = this;
    values[slot] = (values[slot] ?? 0) + amount;
  }

  set(value: number): void {
    if (this.slot === 0) this.#revive();
    this.values[this.slot] = value;
  }

  record(value: number): void {
    if (this.slot === 0) this.#revive();
    const { values } = this;
    const buckets = this.#buckets;
    let low = 0;
    let high = buckets.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (value <= (buckets[middle] ?? 0)) high = middle;
      else low = middle + 1;
    }
    const bucket = this.slot + low;
    const sum = this.slot + buckets.length + 1;
    values[bucket] = (values[bucket] ?? 0) + 1;
    values[sum] = (values[sum] ?? 0) + value;
    if (this.native !== undefined) this.native.record(value);
  }

  /**
   * Keeps native buckets from now on. What was counted before stands at the upper bounds of the classic
   * buckets that it fell into, so that both have the same count.
   */
  startNative(): void {
    const buckets = this.#buckets;
    const native = new NativeBuckets((octave) => this.#home.allocateOctave(this, octave));
    for (let i = 0; i <= buckets.length; i++) {
      const count = this.values[this.slot + i] ?? 0;
      if (count > 0) native.record(buckets[i] ?? Number.POSITIVE_INFINITY, count);
    }
    this.native = native;
  }

  get value(): number {
    return this.slot === 0 ? 0 : (this.values[this.slot] ?? 0);
  }

  /** A number that differs when anything was counted in between. */
  activity(): number {
    let total = 0;
    const slots = this.#buckets.length === 0 ? 1 : this.#buckets.length + 1;
    for (let i = 0; i < slots; i++) total += this.values[this.slot + i] ?? 0;
    return total;
  }

  #revive(): void {
    if (!this.isDead) this.#home.revive(this);
  }
}
