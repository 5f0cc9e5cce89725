/**
 * The metrics of one thread. Values live in segments of 64-bit floats, a handle holds its segment and
 * an index into it, so counting on a hot path allocates nothing. Output is Prometheus text 0.0.4.
 *
 * It bounds itself: past `maxSeriesPerMetric` new label sets share one series whose labels all read
 * `overflow`, and `heddle_metrics_folded_total` counts how many did. A label has so many values, each
 * so long; `heddle_metrics_label_values_total` counts what was folded or cut. Only labels that come
 * from configuration (`envoy_…`) are not bounded one by one. It does not serve HTTP. Another
 * thread can read it: `createSharedMetricRegistry`, and `merged-metrics.ts` at the other end.
 */
import { assert } from "../base/assert.ts";
import type { Labels, MetricRegistry } from "./metrics.ts";
import {
  exposeInPieces,
  exposeMetric,
  labelsText,
  type MetricKind,
  type MetricMeaning,
  slotsOf,
} from "./metrics/exposition.ts";
import { type BoundedLabels, LabelBounds, overflow } from "./metrics/label-bounds.ts";
import type { MetricNews } from "./metrics/news.ts";
import { NewsWriter } from "./metrics/news-writer.ts";
import { countsOf, octaveSlots } from "./metrics/native-buckets.ts";
import { encodeMetric, joinMetrics } from "./metrics/protobuf-exposition.ts";
import { Series, type SeriesHome } from "./metrics/series.ts";
import { deadSlots, SlotArena, type SlotRange } from "./metrics/slots.ts";

export { escapeLabelValue, labelsText } from "./metrics/exposition.ts";

export interface MetricRegistryOptions {
  readonly maxSeriesPerMetric?: number;
  /** Distinct values of one label of one metric. */
  readonly maxValuesPerLabel?: number;
}

const valuesMaxDefault = 2000;
const valueCharsMax = 256;

/** Adds what a process needs beyond handing out handles. */
export interface OwnedMetricRegistry extends MetricRegistry {
  /** Runs before every exposition: gauges that are cheaper to read than to keep. */
  onExpose(refresh: () => void): void;
  /** What `expose()` says, in pieces of some kilobytes, to be taken at once. */
  exposePieces(): Iterable<string>;
  /**
   * Drops the series of `names` that did not change since the last call. A handle to a dropped
   * series works on: its next change brings the series back, from 0.
   */
  expireIdle(names: ReadonlySet<string>): void;
  /** How many series there are now. */
  readonly seriesCount: number;
  /**
   * All series as Prometheus's protobuf, with native histograms: they are kept from the first call on,
   * which costs nothing where nobody asks.
   */
  exposeProtobuf(): Uint8Array;
}

/** A registry whose numbers stand in shared memory; its own `expose()` works as well. */
export interface SharedMetricRegistry extends OwnedMetricRegistry {
  /** For the reader's `attach()`. */
  readonly flags: SharedArrayBuffer;
  /**
   * What changed in the table of series since the last call, to be posted to the reader in order;
   * undefined when nothing did. Numbers change without news. Refreshes what `onExpose` keeps fresh.
   */
  takeNews(): MetricNews | undefined;
}

export function createMetricRegistry(options: MetricRegistryOptions = {}): OwnedMetricRegistry {
  return new Registry(options, undefined);
}

export function createSharedMetricRegistry(
  options: MetricRegistryOptions = {},
): SharedMetricRegistry {
  return new Registry(options, new NewsWriter());
}

const foldedName = "heddle_metrics_folded_total";
const boundedName = "heddle_metrics_label_values_total";
const metricName = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const labelName = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

class Registry implements SharedMetricRegistry {
  readonly arena: SlotArena;
  readonly news: NewsWriter | undefined;
  readonly #maxSeries: number;
  readonly #maxValues: number;
  readonly #families = new Map<string, Family>();
  readonly #refreshers: (() => void)[] = [];
  #lastId = 0;
  #keepsNative = false;

  constructor(
    { maxSeriesPerMetric = 10_000, maxValuesPerLabel = valuesMaxDefault }: MetricRegistryOptions,
    news: NewsWriter | undefined,
  ) {
    this.news = news;
    this.#maxSeries = maxSeriesPerMetric;
    this.#maxValues = maxValuesPerLabel;
    this.arena = new SlotArena({
      isShared: news !== undefined,
      onSegment: (buffer) => news?.add({ kind: "segment", buffer }),
      ...(news === undefined
        ? {}
        : {
            reusableUpTo: () => (news.isFollowed ? news.appliedSequence : Number.POSITIVE_INFINITY),
          }),
    });
  }

  get flags(): SharedArrayBuffer {
    assert(this.news !== undefined, "a registry that is not shared has no flags");
    return this.news.flags;
  }

  takeNews(): MetricNews | undefined {
    for (const refresh of this.#refreshers) refresh();
    if (this.news?.isFollowed === false) this.#tellAll(this.news);
    if (this.news?.wantsNative === true) this.#startNative();
    return this.news?.take();
  }

  counter(name: string, help: string, labels: Labels = {}): Series {
    return this.#family(name, help, "counter", []).series(labels);
  }

  gauge(name: string, help: string, labels: Labels = {}): Series {
    return this.#family(name, help, "gauge", []).series(labels);
  }

  histogram(
    name: string,
    help: string,
    ...[buckets, labels = {}]: [buckets: readonly number[], labels?: Labels]
  ): Series {
    return this.#family(name, help, "histogram", buckets).series(labels);
  }

  remove(name: string, labels: Labels): void {
    this.#families.get(name)?.remove(labels);
  }

  onExpose(refresh: () => void): void {
    this.#refreshers.push(refresh);
  }

  expireIdle(names: ReadonlySet<string>): void {
    for (const name of names) this.#families.get(name)?.expireIdle();
  }

  get seriesCount(): number {
    let count = 0;
    for (const family of this.#families.values()) count += family.size;
    return count;
  }

  *exposePieces(): Generator<string> {
    for (const refresh of this.#refreshers) refresh();
    for (const family of this.#families.values()) yield* family.exposePieces();
  }

  expose(): string {
    for (const refresh of this.#refreshers) refresh();
    let text = "";
    for (const family of this.#families.values()) text += family.expose();
    return text;
  }

  exposeProtobuf(): Uint8Array {
    for (const refresh of this.#refreshers) refresh();
    this.#startNative();
    return joinMetrics([...this.#families.values()].map((family) => family.encode()));
  }

  /** Whether series that are made keep native buckets. */
  get keepsNative(): boolean {
    return this.#keepsNative;
  }

  #startNative(): void {
    if (this.#keepsNative) return;
    this.#keepsNative = true;
    for (const family of this.#families.values()) family.startNative();
  }

  #tellAll(news: NewsWriter): void {
    news.isFollowed = true;
    for (const buffer of this.arena.buffers) news.add({ kind: "segment", buffer });
    for (const family of this.#families.values()) family.tell(news);
  }

  nextId(): number {
    return ++this.#lastId;
  }

  countFold(metric: string): void {
    this.counter(foldedName, "Label sets that share an overflow series.", { metric }).add(1);
  }

  countBounded(metric: string, { folded, cut }: BoundedLabels): void {
    const count = (label: string, how: string): void =>
      this.counter(boundedName, "Label values that were folded into one, or cut.", {
        metric,
        label,
        how,
      }).add(1);
    for (const label of folded) count(label, "folded");
    for (const label of cut) count(label, "cut");
  }

  #boundsFor(metric: string): LabelBounds | undefined {
    if (metric.startsWith("envoy_") || metric === boundedName) return undefined;
    return new LabelBounds({ valuesMax: this.#maxValues, charsMax: valueCharsMax });
  }

  #family(
    name: string,
    help: string,
    ...[kind, buckets]: [kind: MetricKind, buckets: readonly number[]]
  ): Family {
    let family = this.#families.get(name);
    if (family === undefined) {
      assert(metricName.test(name), `metric name ${name} is not valid`);
      const meaning = { name, help, kind, buckets };
      family = new Family(this, meaning, {
        index: this.#families.size,
        maxSeries: this.#maxSeries,
        bounds: this.#boundsFor(name),
      });
      this.#families.set(name, family);
      this.news?.add({ kind: "metric", meaning });
    }
    const { kind: known } = family.meaning;
    assert(known === kind, `metric ${name} is a ${known}, not a ${kind}`);
    return family;
  }
}

interface FamilyLimits {
  readonly index: number;
  readonly maxSeries: number;
  readonly bounds: LabelBounds | undefined;
}

/** One metric and its series. */
class Family implements SeriesHome {
  readonly meaning: MetricMeaning;
  readonly #registry: Registry;
  readonly #index: number;
  readonly #maxSeries: number;
  readonly #bounds: LabelBounds | undefined;
  readonly #series = new Map<string, Series>();
  readonly #slots: number;

  constructor(
    registry: Registry,
    meaning: MetricMeaning,
    { index, maxSeries, bounds }: FamilyLimits,
  ) {
    this.meaning = meaning;
    this.#registry = registry;
    this.#index = index;
    this.#maxSeries = maxSeries;
    this.#bounds = bounds;
    this.#slots = slotsOf(meaning);
    assert(this.#slots <= deadSlots, `${meaning.name} has too many buckets`);
  }

  get buckets(): readonly number[] {
    return this.meaning.buckets;
  }

  get size(): number {
    return this.#series.size;
  }

  series(labels: Labels): Series {
    const known = this.#series.get(labelsText(labels));
    if (known !== undefined) return known;
    const bounded = this.#bounds?.bound(labels);
    if (bounded !== undefined && bounded.folded.length + bounded.cut.length > 0) {
      this.#registry.countBounded(this.meaning.name, bounded);
      return this.#series.get(labelsText(bounded.labels)) ?? this.#make(bounded.labels);
    }
    return this.#make(labels);
  }

  #make(labels: Labels): Series {
    if (this.#series.size >= this.#maxSeries && !isOverflow(labels)) {
      this.#registry.countFold(this.meaning.name);
      return this.series(overflowOf(labels));
    }
    for (const name of Object.keys(labels)) {
      assert(labelName.test(name), `label name ${name} is not valid`);
    }
    const made = new Series(this, labels, [this.#registry.nextId(), this.#registry.arena.dead]);
    this.revive(made);
    return made;
  }

  revive(series: Series): void {
    const at = this.#registry.arena.allocate(this.#slots);
    series.moveTo(at);
    this.#bounds?.hold(series.labels);
    this.#series.set(series.key, series);
    this.#tellSeries(series);
    if (this.#registry.keepsNative && this.meaning.kind === "histogram") series.startNative();
  }

  /** Everything there is, to a reader who has just come. */
  tell(news: NewsWriter): void {
    news.add({ kind: "metric", meaning: this.meaning });
    for (const series of this.#series.values()) {
      this.#tellSeries(series);
      const { id, native } = series;
      for (const [octave, { segment, slot }] of native?.octaves ?? []) {
        news.add({ kind: "octave", id, octave, segment, slot });
      }
    }
  }

  #tellSeries({ id, key, segment, slot }: Series): void {
    this.#registry.news?.add({ kind: "series", id, metric: this.#index, key, segment, slot });
  }

  startNative(): void {
    if (this.meaning.kind !== "histogram") return;
    for (const series of this.#series.values()) series.startNative();
  }

  allocateOctave({ id }: Series, octave: number): SlotRange {
    const at = this.#registry.arena.allocate(octaveSlots);
    const { segment, slot } = at;
    this.#registry.news?.add({ kind: "octave", id, octave, segment, slot });
    return at;
  }

  remove(labels: Labels): void {
    const series = this.#series.get(labelsText(this.#bounds?.shorten(labels).labels ?? labels));
    if (series === undefined) return;
    this.#detach(series, true);
    series.isDead = true;
  }

  expireIdle(): void {
    for (const series of this.#series.values()) {
      const total = series.activity();
      if (total === series.activityAtSweep) this.#detach(series, false);
      series.activityAtSweep = total;
    }
  }

  exposePieces(): Iterable<string> {
    return exposeInPieces(this.meaning, this.#series.values());
  }

  expose(): string {
    return exposeMetric(this.meaning, this.#series.values());
  }

  encode(): Uint8Array | undefined {
    const series = [...this.#series.values()].map(({ labels, values, slot, native }) => ({
      labels,
      values,
      slot,
      native: native === undefined ? undefined : countsOf(native.octaves),
    }));
    return encodeMetric(this.meaning, series);
  }

  #detach(series: Series, isForgotten: boolean): void {
    const { arena, news } = this.#registry;
    const { id, values, slot, native } = series;
    this.#series.delete(series.key);
    this.#bounds?.release(series.labels);
    const last = news === undefined ? [] : [...values.subarray(slot, slot + this.#slots)];
    const counts = countsOf(native?.octaves ?? new Map());
    const octaves = new Map([...counts].map(([octave, of]) => [octave, Array.from(of)]));
    news?.add({ kind: "ended", id, values: last, native: octaves, isForgotten });
    const since = news?.sequence ?? 0;
    arena.release(series, this.#slots, since);
    for (const range of native?.octaves.values() ?? []) arena.release(range, octaveSlots, since);
    series.native = undefined;
    series.moveTo({ ...arena.dead, slot: 0 });
  }
}

function overflowOf(labels: Labels): Labels {
  return Object.fromEntries(Object.keys(labels).map((name) => [name, overflow]));
}

function isOverflow(labels: Labels): boolean {
  return Object.values(labels).every((value) => value === overflow);
}
