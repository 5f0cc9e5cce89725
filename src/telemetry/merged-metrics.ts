/**
 * The metrics of several threads as one: reads what each keeps in shared memory and adds up series of
 * the same name and labels. Totals never fall: what an idle series, or a thread that is gone, had
 * counted stays in the sum for as long as the series is shown.
 *
 * The thread that reads has a registry of its own; it is one of the blocks.
 */
import {
  type MetricMeaning,
  exposeMetric,
  parseLabelsText,
  slotsOf,
} from "./metrics/exposition.ts";
import { countsOf, type NativeCounts } from "./metrics/native-buckets.ts";
import { type MetricNews, type MetricNewsItem, newsFlags } from "./metrics/news.ts";
import { encodeMetric, joinMetrics } from "./metrics/protobuf-exposition.ts";
import type { SlotRange } from "./metrics/slots.ts";

export type { MetricNews } from "./metrics/news.ts";

/** Of a gauge that every thread sets to the same fact: the greatest, not the sum. */
export type GaugeMerge = "sum" | "greatest";

export interface MergedMetricsOptions {
  /** How gauges of this name become one; `sum` unless told. */
  readonly gaugeMerge?: (name: string) => GaugeMerge;
}

/** One thread's part. */
export interface MetricBlock {
  /** News of that thread, in order. */
  apply(news: MetricNews): void;
  /** The thread is gone: its gauges are forgotten, what it counted stays. */
  detach(): void;
}

export class MergedMetrics {
  readonly #options: MergedMetricsOptions;
  readonly #metrics = new Map<string, MergedMetric>();
  readonly #flags: Int32Array[] = [];
  #wantsNative = false;

  constructor(options: MergedMetricsOptions = {}) {
    this.#options = options;
  }

  /** `flags` of a shared registry. */
  attach(flags: SharedArrayBuffer): MetricBlock {
    const words = new Int32Array(flags);
    this.#flags.push(words);
    if (this.#wantsNative) Atomics.store(words, newsFlags.wantsNative, 1);
    return new Block(flags, (meaning) => this.#metricOf(meaning));
  }

  #metricOf(meaning: MetricMeaning): MergedMetric {
    const known = this.#metrics.get(meaning.name);
    if (known !== undefined) return known;
    const merge = this.#options.gaugeMerge?.(meaning.name) ?? "sum";
    const made = new MergedMetric(meaning, merge);
    this.#metrics.set(meaning.name, made);
    return made;
  }

  get seriesCount(): number {
    let count = 0;
    for (const metric of this.#metrics.values()) count += metric.series.size;
    return count;
  }

  /** All series as Prometheus text, version 0.0.4. */
  expose(): string {
    let text = "";
    for (const metric of this.#metrics.values()) text += metric.expose();
    return text;
  }

  /**
   * The same as Prometheus's protobuf, with native histograms. Threads keep those once they have been
   * asked for them here and have told their news; until then histograms have classic buckets alone.
   */
  exposeProtobuf(): Uint8Array {
    return joinMetrics([...this.#metrics.values()].map((metric) => metric.encode()));
  }

  /** Every thread keeps native histograms after it has told its next news. */
  wantNative(): void {
    this.#wantsNative = true;
    for (const flags of this.#flags) Atomics.store(flags, newsFlags.wantsNative, 1);
  }

  /** Forgets series of `names` that no thread holds any more; call it as often as threads do. */
  expireIdle(names: ReadonlySet<string>): void {
    for (const name of names) this.#metrics.get(name)?.expireIdle();
  }
}

interface Part {
  readonly values: Float64Array;
  readonly slot: number;
  readonly octaves: Map<number, SlotRange>;
}

class MergedSeries {
  readonly key: string;
  /** Native buckets of ended parts. */
  readonly carriedNative: Map<number, number[]> = new Map();
  readonly parts: Set<Part> = new Set();
  /** What ended parts had counted. */
  readonly carried: Float64Array;
  readonly slot = 0;
  values: Float64Array;

  constructor(key: string, slots: number) {
    this.key = key;
    this.carried = new Float64Array(slots);
    this.values = new Float64Array(slots);
  }
}

class MergedMetric {
  readonly meaning: MetricMeaning;
  readonly series: Map<string, MergedSeries> = new Map();
  readonly #merge: GaugeMerge;

  constructor(meaning: MetricMeaning, merge: GaugeMerge) {
    this.meaning = meaning;
    this.#merge = merge;
  }

  seriesOf(key: string): MergedSeries {
    const known = this.series.get(key);
    if (known !== undefined) return known;
    const made = new MergedSeries(key, slotsOf(this.meaning));
    this.series.set(key, made);
    return made;
  }

  end(series: MergedSeries, part: Part, values: ArrayLike<number>, native: NativeCounts): void {
    series.parts.delete(part);
    addCounts(series.carriedNative, native);
    if (this.meaning.kind !== "gauge") {
      for (let i = 0; i < series.carried.length; i++) {
        series.carried[i] = (series.carried[i] ?? 0) + (values[i] ?? 0);
      }
    } else if (series.parts.size === 0) this.series.delete(series.key);
  }

  forget(series: MergedSeries): void {
    if (series.parts.size === 0) this.series.delete(series.key);
  }

  expireIdle(): void {
    for (const series of this.series.values()) this.forget(series);
  }

  expose(): string {
    for (const series of this.series.values()) this.#addUp(series);
    return exposeMetric(this.meaning, this.series.values());
  }

  encode(): Uint8Array | undefined {
    const all = [...this.series.values()].map((series) => {
      this.#addUp(series);
      const { key, values, slot, parts } = series;
      const native = new Map([...series.carriedNative].map(([octave, of]) => [octave, [...of]]));
      for (const { octaves } of parts) addCounts(native, countsOf(octaves));
      return { labels: parseLabelsText(key), values, slot, native };
    });
    return encodeMetric(this.meaning, all);
  }

  #addUp({ values, carried, parts }: MergedSeries): void {
    values.set(carried);
    for (const part of parts) {
      for (let i = 0; i < values.length; i++) {
        const more = part.values[part.slot + i] ?? 0;
        const sum = values[i] ?? 0;
        values[i] = this.#merge === "greatest" ? Math.max(sum, more) : sum + more;
      }
    }
  }
}

function addCounts(sum: Map<number, number[]>, more: NativeCounts): void {
  for (const [octave, counts] of more) {
    const known = sum.get(octave) ?? Array.from(counts, () => 0);
    for (let i = 0; i < counts.length; i++) known[i] = (known[i] ?? 0) + (counts[i] ?? 0);
    sum.set(octave, known);
  }
}

interface Held {
  readonly metric: MergedMetric;
  readonly series: MergedSeries;
  readonly part: Part;
}

class Block implements MetricBlock {
  readonly #flags: Int32Array;
  readonly #metricOf: (meaning: MetricMeaning) => MergedMetric;
  readonly #segments: Float64Array[] = [];
  readonly #metrics: MergedMetric[] = [];
  readonly #held = new Map<number, Held>();

  constructor(flags: SharedArrayBuffer, metricOf: (meaning: MetricMeaning) => MergedMetric) {
    this.#flags = new Int32Array(flags);
    this.#metricOf = metricOf;
  }

  apply({ sequence, items }: MetricNews): void {
    for (const item of items) this.#take(item);
    Atomics.store(this.#flags, newsFlags.appliedSequence, sequence);
  }

  detach(): void {
    for (const { metric, series, part } of this.#held.values()) {
      const { values, slot } = part;
      const last = values.subarray(slot, slot + series.carried.length);
      metric.end(series, part, last, countsOf(part.octaves));
    }
    this.#held.clear();
  }

  #take(item: MetricNewsItem): void {
    switch (item.kind) {
      case "segment":
        this.#segments.push(new Float64Array(item.buffer));
        return;
      case "metric":
        this.#metrics.push(this.#metricOf(item.meaning));
        return;
      case "series":
        this.#hold(item);
        return;
      case "octave": {
        const values = this.#segments[item.segment];
        const { segment, slot } = item;
        if (values === undefined) return;
        this.#held.get(item.id)?.part.octaves.set(item.octave, { values, segment, slot });
        return;
      }
      case "ended": {
        const held = this.#held.get(item.id);
        if (held === undefined) return;
        this.#held.delete(item.id);
        held.metric.end(held.series, held.part, item.values, item.native);
        if (item.isForgotten) held.metric.forget(held.series);
      }
    }
  }

  #hold(item: MetricNewsItem & { kind: "series" }): void {
    const { id, metric: index, key, segment, slot } = item;
    const metric = this.#metrics[index];
    const values = this.#segments[segment];
    if (metric === undefined || values === undefined) return;
    const series = metric.seriesOf(key);
    const part = { values, slot, octaves: new Map<number, SlotRange>() };
    series.parts.add(part);
    this.#held.set(id, { metric, series, part });
  }
}
