/**
 * Samples of the last hour, in memory, by target: what was scraped goes in as text, queries select
 * series by their labels. Bounded in series (whole and per target); what a limit kept out is
 * counted. Evaluating queries is `promql/`'s, asking targets is the scraper's.
 *
 * A counter that appears at a target between two scrapes was 0 at the earlier one, and gets that
 * sample: else the first failures of a kind, the most interesting ones, would have no rate.
 * (Prometheus does the same where it knows when a counter was made.)
 */
import type { MetricRegistry } from "../telemetry/metrics.ts";
import {
  type ExpositionError,
  type MetricType,
  parseSeriesText,
  readExposition,
} from "./exposition.ts";
import { type LabelSet, labelSetOf, metricName } from "./label-set.ts";
import type { Matcher } from "./matcher.ts";
import { type Samples, Series } from "./series/series.ts";
import { ScrapeTimes } from "./series/scrape-times.ts";

export interface MetricsStoreOptions {
  readonly retentionMs: number;
  readonly seriesMax: number;
  readonly seriesPerTargetMax: number;
}

export const defaultMetricsStoreOptions: MetricsStoreOptions = {
  retentionMs: 3_600_000,
  seriesMax: 200_000,
  seriesPerTargetMax: 20_000,
};

export interface StoredSeries {
  readonly labels: LabelSet;
  readonly unnamedLabels: LabelSet;
  read(fromMs: number, toMs: number): Samples;
}

/** What one scrape found; `failure` is why there was nothing to read. */
export type ScrapeOutcome =
  | { readonly kind: "read"; readonly samples: number; readonly dropped: number }
  | { readonly kind: "refused"; readonly error: ExpositionError };

interface Target {
  readonly labels: LabelSet;
  readonly times: ScrapeTimes;
  /** By the text before the value, as scraped. */
  readonly byText: Map<string, Series>;
  readonly own: Map<string, Series>;
  readonly types: Map<string, MetricType>;
  /** The number of the last scrape that could be read; -2 before. */
  lastRead: number;
  isGone: boolean;
}

export class MetricsStore {
  readonly #options: MetricsStoreOptions;
  readonly #targets = new Map<string, Target>();
  readonly #byName = new Map<string, Set<Series>>();
  readonly #dropped: { add(amount?: number): void; readonly value: number };
  #seriesCount = 0;

  constructor(options: MetricsStoreOptions, metrics: MetricRegistry) {
    this.#options = options;
    this.#dropped = metrics.counter(
      "heddle_store_series_dropped_total",
      "Samples of series that a limit of the metrics store kept out",
    );
  }

  get seriesCount(): number {
    return this.#seriesCount;
  }

  get droppedSeries(): number {
    return this.#dropped.value;
  }

  /** Takes in one scrape of a target, whole or not at all. */
  ingest(target: string, text: string, atMs: number): ScrapeOutcome {
    const state = this.#target(target);
    const found = new Map<Series | string, number>();
    let dropped = 0;
    let fresh = 0;
    const error = readExposition(text, {
      onType: (name, type) => state.types.set(name, type),
      onSample: (seriesText, value) => {
        const known = state.byText.get(seriesText);
        if (known !== undefined) found.set(known, value);
        else if (this.#isFull(state, fresh)) dropped++;
        else if (!found.has(seriesText)) {
          fresh++;
          const parsed = parseSeriesText(seriesText);
          if (typeof parsed === "string") return parsed;
          found.set(seriesText, value);
        }
        return undefined;
      },
    });
    if (error !== undefined) {
      this.markDown(target, atMs);
      return { kind: "refused", error };
    }
    const scrape = state.times.push(atMs);
    for (const [series, value] of found) this.#append(state, scrape, series, value);
    state.lastRead = scrape;
    this.#appendOwn(state, scrape, { up: 1, scrape_samples_scraped: found.size });
    this.#finish(state, scrape, atMs);
    if (dropped > 0) this.#dropped.add(dropped);
    return { kind: "read", samples: found.size, dropped };
  }

  /** A scrape that brought nothing: `up` is 0 and every other series of the target ends. */
  markDown(target: string, atMs: number): void {
    const state = this.#target(target);
    const scrape = state.times.push(atMs);
    this.#appendOwn(state, scrape, { up: 0 });
    this.#finish(state, scrape, atMs);
  }

  /** What is asked from now on; labels are added to every series of the target. */
  addTarget(target: string, labels: LabelSet): void {
    const known = this.#targets.get(target);
    if (known !== undefined) {
      known.isGone = false;
      return;
    }
    this.#targets.set(target, {
      labels,
      times: new ScrapeTimes(),
      byText: new Map(),
      own: new Map(),
      types: new Map(),
      lastRead: -2,
      isGone: false,
    });
  }

  /** The target is gone: its series end now and are forgotten with the last of their samples. */
  removeTarget(target: string, atMs: number): void {
    const state = this.#targets.get(target);
    if (state === undefined || state.isGone) return;
    this.#finish(state, state.times.push(atMs), atMs);
    state.isGone = true;
  }

  /** Forgets what is older than the retention, also of targets that are gone. */
  expire(nowMs: number): void {
    for (const [name, state] of this.#targets) {
      this.#drop(state, nowMs - this.#options.retentionMs);
      if (state.isGone && state.byText.size === 0 && state.own.size === 0) {
        this.#targets.delete(name);
      }
    }
  }

  /** Every series all matchers match. */
  select(matchers: readonly Matcher[]): readonly StoredSeries[] {
    const named = matchers.find((matcher) => matcher.label === metricName && matcher.op === "=");
    const candidates =
      named === undefined
        ? [...this.#byName.values()].flatMap((set) => [...set])
        : [...(this.#byName.get(named.value) ?? [])];
    return candidates.filter((series) =>
      matchers.every((matcher) => matcher.matches(series.labels.get(matcher.label) ?? "")),
    );
  }

  /** Memory of the samples, in bytes; labels come on top. */
  sampleBytes(): number {
    let bytes = 0;
    for (const set of this.#byName.values()) for (const series of set) bytes += series.bytes();
    return bytes;
  }

  #target(target: string): Target {
    const state = this.#targets.get(target);
    if (state !== undefined) return state;
    this.addTarget(target, labelSetOf([["instance", target]]));
    return this.#target(target);
  }

  #isFull(state: Target, pending: number): boolean {
    return (
      this.#seriesCount + pending >= this.#options.seriesMax ||
      state.byText.size + pending >= this.#options.seriesPerTargetMax
    );
  }

  #append(state: Target, scrape: number, series: Series | string, value: number): void {
    if (typeof series !== "string") {
      if (series.lastScrape < scrape) series.append(scrape, value);
      return;
    }
    const parsed = parseSeriesText(series);
    if (typeof parsed === "string") return;
    const made = this.#register(labelsAt(state.labels, parsed), state.times);
    state.byText.set(series, made);
    const name = made.labels.get(metricName) ?? "";
    if (state.lastRead === scrape - 1 && isCounter(name, state.types)) made.append(scrape - 1, 0);
    made.append(scrape, value);
  }

  #appendOwn(state: Target, scrape: number, values: Readonly<Record<string, number>>): void {
    for (const [name, value] of Object.entries(values)) {
      let series = state.own.get(name);
      if (series === undefined) {
        series = this.#register(labelsAt(state.labels, [[metricName, name]]), state.times);
        state.own.set(name, series);
      }
      series.append(scrape, value);
    }
  }

  /** Ends the series that this scrape did not have, and forgets what is too old. */
  #finish(state: Target, scrape: number, atMs: number): void {
    for (const series of seriesOf(state)) {
      if (series.lastScrape === scrape - 1) series.markStale();
    }
    this.#drop(state, atMs - this.#options.retentionMs);
  }

  #drop(state: Target, beforeMs: number): void {
    const first = state.times.first;
    state.times.dropBefore(beforeMs);
    if (state.isGone) {
      if (state.times.at(state.times.next - 1) > beforeMs) return;
    } else if (state.times.first === first) {
      return;
    }
    const keepFrom = state.isGone ? state.times.next : state.times.first;
    for (const map of [state.byText, state.own]) {
      for (const [key, series] of map) {
        series.dropBefore(keepFrom);
        if (series.lastScrape >= keepFrom) continue;
        map.delete(key);
        this.#unregister(series);
      }
    }
  }

  #register(labels: LabelSet, times: ScrapeTimes): Series {
    const series = new Series(labels, times);
    const name = labels.get(metricName) ?? "";
    const set = this.#byName.get(name);
    if (set === undefined) this.#byName.set(name, new Set([series]));
    else set.add(series);
    this.#seriesCount++;
    return series;
  }

  #unregister(series: Series): void {
    const name = series.labels.get(metricName) ?? "";
    const set = this.#byName.get(name);
    if (set === undefined || !set.delete(series)) return;
    this.#seriesCount--;
    if (set.size === 0) this.#byName.delete(name);
  }
}

function* seriesOf(state: Target): Iterable<Series> {
  yield* state.byText.values();
  yield* state.own.values();
}

/** The target's labels win; the sample's own of the same name gets `exported_` before it. */
function labelsAt(target: LabelSet, own: readonly (readonly [string, string])[]): LabelSet {
  const renamed = own.map(([name, value]): readonly [string, string] => [
    target.has(name) ? `exported_${name}` : name,
    value,
  ]);
  return labelSetOf([...renamed, ...target]);
}

const countedSuffix = /_(?:bucket|sum|count)$/;

function isCounter(name: string, types: ReadonlyMap<string, MetricType>): boolean {
  if (types.get(name) === "counter") return true;
  return types.get(name.replace(countedSuffix, "")) === "histogram" && countedSuffix.test(name);
}
