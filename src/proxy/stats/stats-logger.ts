/**
 * `envoy.access_loggers.stats` in Heddle's proxy: counters and histograms whose tags are formats
 * over the finished request. Series named `istio_…` go through the same last step that Envoy's go
 * through in the agent (docs/decisions/0003-standard-metrics.md).
 */
import type { Counter, Histogram, Labels, MetricRegistry } from "../../telemetry/metrics.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import {
  compileTagFormat,
  parseFormat,
  type FormatFunction,
} from "../../telemetry/access-log-format.ts";
import {
  finishStandardLabels,
  grpcMessagesCounter,
  grpcMessagesTag,
  standardBuckets,
  udpMetricPrefix,
  type PeerDirectory,
} from "../../telemetry/standard-metrics.ts";
import type {
  Config,
  Config_Stat,
  Config_Tag,
} from "../../wire/gen/ts/envoy/extensions/access_loggers/stats/v3/stats.ts";
import { refuse } from "../engine/refusal.ts";

/** One statistics logger; `bytesOnly` counts only what grows while a connection lives. */
export interface StatsCounting {
  count(record: RequestRecord): void;
  /** Adds only to counters of bytes; `record` holds the growth, not the total. */
  countBytes(record: RequestRecord): void;
}

export interface StatsLoggerOptions {
  readonly metrics: MetricRegistry;
  readonly peers: PeerDirectory;
}

/** Combinations of tag values whose handles are kept; more are looked up every time. */
const cachedSeriesMax = 4096;
/** Combinations that are compared before a key is made of the values. */
const recentSeriesMax = 8;

export function compileStatsLogger(
  config: Config,
  path: string,
  options: StatsLoggerOptions,
): StatsCounting {
  const groups = new Map<string, TagGroup>();
  const groupFor = (stat: Config_Stat | undefined, at: string): TagGroup => {
    if (stat === undefined || stat.name === "") refuse(`${at}.stat`, "is required");
    // What Envoy can only tell by a tag is a number here.
    const tags = stat.tags.filter(({ name }) => name !== grpcMessagesTag);
    const key = JSON.stringify(tags.map((tag) => [tag.name, tag.valueFormat]));
    const known = groups.get(key);
    if (known !== undefined) return known;
    const made = new TagGroup(tags, `${at}.stat.tags`, options);
    groups.set(key, made);
    return made;
  };
  config.counters.forEach((counter, i) => {
    const at = `${path}.counters[${i}]`;
    const group = groupFor(counter.stat, at);
    if (counter.stat?.name === grpcMessagesCounter) {
      group.counters.push(...messageCounters);
      return;
    }
    const amount =
      counter.valueFormat === ""
        ? fixed(counter.valueFixed, at)
        : numberOf(counter.valueFormat, at);
    const isBytes = /^%BYTES_(?:SENT|RECEIVED)%$/.test(counter.valueFormat);
    group.counters.push({ name: counter.stat?.name ?? "", amount, isBytes });
  });
  config.histograms.forEach((histogram, i) => {
    const at = `${path}.histograms[${i}]`;
    groupFor(histogram.stat, at).histograms.push({
      name: histogram.stat?.name ?? "",
      amount: numberOf(histogram.valueFormat, at),
    });
  });
  const all = [...groups.values()];
  return {
    count: (record) => {
      for (const group of all) group.count(record, false);
    },
    countBytes: (record) => {
      for (const group of all) group.count(record, true);
    },
  };
}

type Amount = (record: RequestRecord) => number | undefined;

interface CounterSpec {
  readonly name: string;
  readonly amount: Amount;
  readonly isBytes: boolean;
}

/** Nothing is counted for a request without messages, as Envoy keeps no state for it. */
const messageAmount =
  (of: (record: RequestRecord) => number | undefined): Amount =>
  (record) =>
    (record.requestMessages ?? 0) + (record.responseMessages ?? 0) > 0 ? of(record) : undefined;
const messageCounters: readonly CounterSpec[] = [
  {
    name: "istio_request_messages_total",
    amount: messageAmount(({ requestMessages }) => requestMessages),
    isBytes: false,
  },
  {
    name: "istio_response_messages_total",
    amount: messageAmount(({ responseMessages }) => responseMessages),
    isBytes: false,
  },
];

interface SeriesHandles {
  readonly counters: readonly Counter[];
  readonly histograms: readonly Histogram[];
}

interface RecentSeries {
  readonly values: readonly string[];
  readonly series: SeriesHandles;
}

function isSame(left: readonly string[], right: readonly string[]): boolean {
  for (let i = 0; i < left.length; i++) if (left[i] !== right[i]) return false;
  return true;
}

/** Everything that is counted under the same tags: their values are made once per request. */
class TagGroup {
  readonly counters: CounterSpec[] = [];
  readonly histograms: { readonly name: string; readonly amount: Amount }[] = [];
  readonly #names: readonly string[];
  readonly #formats: readonly FormatFunction[];
  readonly #dynamic: readonly FormatFunction[];
  readonly #options: StatsLoggerOptions;
  readonly #series = new Map<string, SeriesHandles>();
  /** Used last is first. */
  #recent: RecentSeries[] = [];
  /** Of the tags that differ from request to request, for the record in hand. */
  readonly #values: string[];
  #peersRevision = -1;

  constructor(tags: readonly Config_Tag[], path: string, options: StatsLoggerOptions) {
    this.#options = options;
    this.#names = tags.map((tag) => tag.name);
    this.#formats = tags.map((tag, i) => {
      if (tag.rules !== undefined) refuse(`${path}[${i}].rules`, "are not supported");
      const { value, problems } = compileTagFormat(tag.valueFormat);
      return value ?? refuse(`${path}[${i}].value_format`, problems[0]?.message ?? "is malformed");
    });
    this.#dynamic = this.#formats.filter((_, i) => tags[i]?.valueFormat.includes("%") === true);
    this.#values = this.#dynamic.map(() => "");
  }

  /** Most requests are like one of the last few: they make no string. */
  #seriesFor(record: RequestRecord): SeriesHandles {
    if (this.#peersRevision !== this.#options.peers.revision) {
      this.#series.clear();
      this.#recent = [];
      this.#peersRevision = this.#options.peers.revision;
    }
    const values = this.#values;
    const dynamic = this.#dynamic;
    for (let i = 0; i < dynamic.length; i++) values[i] = dynamic[i]?.(record) ?? "";
    const recent = this.#recent;
    for (let i = 0; i < recent.length; i++) {
      const candidate = recent[i];
      if (candidate === undefined || !isSame(candidate.values, values)) continue;
      const before = recent[i - 1];
      if (before !== undefined) {
        recent[i - 1] = candidate;
        recent[i] = before;
      }
      return candidate.series;
    }
    const series = this.#lookUp(record, values.join("\u0000"));
    recent.unshift({ values: [...values], series });
    if (recent.length > recentSeriesMax) recent.pop();
    return series;
  }

  #lookUp(record: RequestRecord, key: string): SeriesHandles {
    const known = this.#series.get(key);
    if (known !== undefined) return known;
    const made = this.#open(record);
    if (this.#series.size >= cachedSeriesMax) this.#series.clear();
    this.#series.set(key, made);
    return made;
  }

  count(record: RequestRecord, bytesOnly: boolean): void {
    const series = this.#seriesFor(record);
    for (let i = 0; i < this.counters.length; i++) {
      const spec = this.counters[i];
      if (spec === undefined || (bytesOnly && !spec.isBytes)) continue;
      const amount = spec.amount(record);
      if (amount !== undefined) series.counters[i]?.add(amount);
    }
    if (bytesOnly) return;
    for (let i = 0; i < this.histograms.length; i++) {
      const amount = this.histograms[i]?.amount(record);
      if (amount !== undefined) series.histograms[i]?.record(amount);
    }
  }

  #open(record: RequestRecord): SeriesHandles {
    const tags: Record<string, string> = {};
    this.#names.forEach((name, i) => {
      tags[name] = this.#formats[i]?.(record) ?? "";
    });
    const { metrics, peers } = this.#options;
    const standard = finishStandardLabels(tags, peers);
    const labelsFor = (name: string): Labels => (isStandard(name) ? standard : tags);
    return {
      counters: this.counters.map(({ name }) =>
        metrics.counter(name, helpOf(name), labelsFor(name)),
      ),
      histograms: this.histograms.map(({ name }) =>
        metrics.histogram(name, helpOf(name), standardBuckets, labelsFor(name)),
      ),
    };
  }
}

/** Ends of a flow are told in Istio's labels, also where Istio has no metric. */
function isStandard(name: string): boolean {
  return name.startsWith("istio_") || name.startsWith(udpMetricPrefix);
}

function helpOf(name: string): string {
  if (name.startsWith(udpMetricPrefix))
    return "Counted of UDP, with the labels of Istio's metrics.";
  return name.startsWith("istio_")
    ? "Istio standard metric, see docs/decisions/0003-standard-metrics.md."
    : "Counted by an access logger of the configuration.";
}

function fixed(value: bigint | undefined, path: string): Amount {
  if (value === undefined) refuse(path, "needs value_format or value_fixed");
  const amount = Number(value);
  return () => amount;
}

/** A format of exactly one operator, read as a number; what is no number is not counted. */
function numberOf(format: string, path: string): Amount {
  const { value: parts, problems } = parseFormat(format);
  const [operator] = parts ?? [];
  if (parts?.length !== 1 || typeof operator !== "function") {
    refuse(`${path}.value_format`, problems[0]?.message ?? "must be exactly one operator");
  }
  return (record) => {
    const value = operator(record);
    const number = typeof value === "string" ? Number.parseFloat(value) : value;
    return typeof number !== "number" || Number.isNaN(number) ? undefined : number;
  };
}
