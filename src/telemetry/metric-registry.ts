/**
 * The metrics of one process. Values live in one growing Float64Array, a handle is an index into
 * it, so counting on a hot path allocates nothing. Output is Prometheus text 0.0.4.
 *
 * It bounds itself: past `maxSeriesPerMetric` new label sets share one series whose labels all read
 * `overflow`, and `heddle_metrics_folded_total` counts how many did. It does not serve HTTP.
 */
import { assert } from "../base/assert.ts";
import type { Counter, Gauge, Histogram, Labels, MetricRegistry } from "./metrics.ts";

export interface MetricRegistryOptions {
  readonly maxSeriesPerMetric?: number;
}

type MetricKind = "counter" | "gauge" | "histogram";

/** Adds what a process needs beyond handing out handles. */
export interface OwnedMetricRegistry extends MetricRegistry {
  /** Runs before every exposition: gauges that are cheaper to read than to keep. */
  onExpose(refresh: () => void): void;
  /**
   * Drops the series of `names` that did not change since the last call. A handle to a dropped
   * series works on: its next change brings the series back, from 0.
   */
  expireIdle(names: ReadonlySet<string>): void;
  /** How many series there are now. */
  readonly seriesCount: number;
}

const foldedName = "heddle_metrics_folded_total";
const metricName = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const labelName = /^[a-zA-Z_][a-zA-Z0-9_]*$/;

export function createMetricRegistry(options: MetricRegistryOptions = {}): OwnedMetricRegistry {
  const maxSeries = options.maxSeriesPerMetric ?? 10_000;
  const arena = new Arena();
  const families = new Map<string, Family>();
  const refreshers: (() => void)[] = [];
  const registry: OwnedMetricRegistry = {
    counter: (name, help, labels = {}) => series(name, help, "counter", labels),
    gauge: (name, help, labels = {}) => series(name, help, "gauge", labels),
    histogram: (name, help, buckets, labels = {}) =>
      series(name, help, "histogram", labels, buckets),
    remove(name, labels) {
      families.get(name)?.remove(labels);
    },
    onExpose: (refresh) => void refreshers.push(refresh),
    expireIdle(names) {
      for (const name of names) families.get(name)?.expireIdle();
    },
    get seriesCount() {
      let count = 0;
      for (const family of families.values()) count += family.size;
      return count;
    },
    expose() {
      for (const refresh of refreshers) refresh();
      let text = "";
      for (const family of families.values()) text += family.expose();
      return text;
    },
  };
  return registry;

  function series(
    name: string,
    help: string,
    kind: MetricKind,
    labels: Labels,
    buckets: readonly number[] = [],
  ): Series {
    let family = families.get(name);
    if (family === undefined) {
      assert(metricName.test(name), `metric name ${name} is not valid`);
      family = new Family({ name, help, kind, buckets, maxSeries, arena }, () =>
        series(foldedName, "Label sets that share an overflow series.", "counter", {
          metric: name,
        }).add(1),
      );
      families.set(name, family);
    }
    assert(family.kind === kind, `metric ${name} is a ${family.kind}, not a ${kind}`);
    return family.series(labels);
  }
}

/** Slots of one array, handed out by size and taken back; slot 0 is where dead handles write. */
class Arena {
  values: Float64Array = new Float64Array(1024);
  #end = maxHistogramSlots;
  readonly #free = new Map<number, number[]>();

  allocate(size: number): number {
    const reused = this.#free.get(size)?.pop();
    if (reused !== undefined) return reused;
    const slot = this.#end;
    this.#end += size;
    if (this.#end > this.values.length) {
      const grown = new Float64Array(Math.max(this.values.length * 2, this.#end));
      grown.set(this.values);
      this.values = grown;
    }
    return slot;
  }

  release(slot: number, size: number): void {
    this.values.fill(0, slot, slot + size);
    const list = this.#free.get(size);
    if (list === undefined) this.#free.set(size, [slot]);
    else list.push(slot);
  }
}

/** The longest histogram a dead handle may still write, at the front of the arena. */
const maxHistogramSlots = 64;

interface FamilyOptions {
  readonly name: string;
  readonly help: string;
  readonly kind: MetricKind;
  readonly buckets: readonly number[];
  readonly maxSeries: number;
  readonly arena: Arena;
}

class Family {
  readonly kind: MetricKind;
  readonly #options: FamilyOptions;
  readonly #onFold: () => void;
  readonly #series = new Map<string, Series>();
  readonly #slots: number;

  constructor(options: FamilyOptions, onFold: () => void) {
    this.kind = options.kind;
    this.#options = options;
    this.#onFold = onFold;
    this.#slots = options.kind === "histogram" ? options.buckets.length + 2 : 1;
    assert(this.#slots <= maxHistogramSlots, `${options.name} has too many buckets`);
  }

  get size(): number {
    return this.#series.size;
  }

  series(labels: Labels): Series {
    const key = labelsText(labels);
    const known = this.#series.get(key);
    if (known !== undefined) return known;
    if (this.#series.size >= this.#options.maxSeries && !isOverflow(labels)) {
      this.#onFold();
      return this.series(overflowOf(labels));
    }
    for (const name of Object.keys(labels)) {
      assert(labelName.test(name), `label name ${name} is not valid`);
    }
    const made = new Series(this, this.#options.arena, this.#options.buckets, key);
    this.attach(made);
    return made;
  }

  attach(series: Series): void {
    series.slot = this.#options.arena.allocate(this.#slots);
    this.#series.set(series.key, series);
  }

  remove(labels: Labels): void {
    const series = this.#series.get(labelsText(labels));
    if (series === undefined) return;
    this.#detach(series);
    series.isDead = true;
  }

  expireIdle(): void {
    for (const series of this.#series.values()) {
      const total = series.activity();
      if (total === series.activityAtSweep) this.#detach(series);
      series.activityAtSweep = total;
    }
  }

  #detach(series: Series): void {
    this.#series.delete(series.key);
    this.#options.arena.release(series.slot, this.#slots);
    series.slot = 0;
  }

  expose(): string {
    if (this.#series.size === 0) return "";
    const { name, help, kind } = this.#options;
    let text = `# HELP ${name} ${help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n")}\n# TYPE ${name} ${kind}\n`;
    for (const series of this.#series.values()) {
      text +=
        kind === "histogram"
          ? series.exposeHistogram(name)
          : `${name}${braced(series.key)} ${formatValue(series.value)}\n`;
    }
    return text;
  }
}

/** One series; which of the three handles it is was checked when it was made. */
class Series implements Counter, Gauge, Histogram {
  readonly key: string;
  slot = 0;
  isDead = false;
  activityAtSweep = Number.NaN;
  readonly #family: Family;
  readonly #arena: Arena;
  readonly #buckets: readonly number[];

  constructor(family: Family, arena: Arena, buckets: readonly number[], key: string) {
    this.#family = family;
    this.#arena = arena;
    this.#buckets = buckets;
    this.key = key;
  }

  add(amount = 1): void {
    if (this.slot === 0) this.#revive();
    const { values } = this.#arena;
    values[this.slot] = (values[this.slot] ?? 0) + amount;
  }

  set(value: number): void {
    if (this.slot === 0) this.#revive();
    this.#arena.values[this.slot] = value;
  }

  record(value: number): void {
    if (this.slot === 0) this.#revive();
    const { values } = this.#arena;
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
  }

  get value(): number {
    return this.slot === 0 ? 0 : (this.#arena.values[this.slot] ?? 0);
  }

  /** A number that differs when anything was counted in between. */
  activity(): number {
    let total = 0;
    const slots = this.#buckets.length === 0 ? 1 : this.#buckets.length + 1;
    for (let i = 0; i < slots; i++) total += this.#arena.values[this.slot + i] ?? 0;
    return total;
  }

  exposeHistogram(name: string): string {
    const { values } = this.#arena;
    const lead = this.key === "" ? "" : `${this.key},`;
    let text = "";
    let count = 0;
    for (let i = 0; i < this.#buckets.length; i++) {
      count += values[this.slot + i] ?? 0;
      text += `${name}_bucket{${lead}le="${this.#buckets[i]}"} ${count}\n`;
    }
    count += values[this.slot + this.#buckets.length] ?? 0;
    const sum = values[this.slot + this.#buckets.length + 1] ?? 0;
    const labels = braced(this.key);
    return `${text}${name}_bucket{${lead}le="+Inf"} ${count}\n${name}_sum${labels} ${formatValue(sum)}\n${name}_count${labels} ${count}\n`;
  }

  #revive(): void {
    if (!this.isDead) this.#family.attach(this);
  }
}

function braced(labels: string): string {
  return labels === "" ? "" : `{${labels}}`;
}

/** `a="x",b="y"`, sorted by name: the identity of a series and its text. */
export function labelsText(labels: Labels): string {
  return Object.keys(labels)
    .toSorted()
    .map((name) => `${name}="${escapeLabelValue(labels[name] ?? "")}"`)
    .join(",");
}

/** Escapes a label value for Prometheus text. */
export function escapeLabelValue(value: string): string {
  return /[\\"\n]/.test(value)
    ? value.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")
    : value;
}

function formatValue(value: number): string {
  if (Number.isNaN(value)) return "NaN";
  if (value === Number.POSITIVE_INFINITY) return "+Inf";
  return value === Number.NEGATIVE_INFINITY ? "-Inf" : String(value);
}

const overflow = "overflow";

function overflowOf(labels: Labels): Labels {
  return Object.fromEntries(Object.keys(labels).map((name) => [name, overflow]));
}

function isOverflow(labels: Labels): boolean {
  return Object.values(labels).every((value) => value === overflow);
}
