/**
 * Envoy's Prometheus text with Istio's names: the last step of docs/decisions/0003-standard-metrics.md.
 * Several raw series can become one (replicas of a source), so what counts is each raw series'
 * growth since the last scrape; a counter never falls when Envoy evicts series or restarts.
 */
import { escapeLabelValue, labelsText } from "../../telemetry/metric-registry.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import {
  finishStandardLabels,
  grpcMessagesCounter,
  grpcMessagesTag,
  statsScopePrefix,
  type PeerDirectory,
} from "../../telemetry/standard-metrics.ts";

const rawPrefix = `envoy_${statsScopePrefix}_`;
const seriesMax = 50_000;

interface OutSeries {
  readonly name: string;
  readonly labels: string;
  value: number;
}

export class StatsTranslator {
  readonly #peers: PeerDirectory;
  readonly #metrics: MetricRegistry;
  #lastRaw = new Map<string, number>();
  readonly #out = new Map<string, OutSeries>();
  /** Metric name → its TYPE. */
  readonly #kinds = new Map<string, string>();

  constructor(peers: PeerDirectory, metrics: MetricRegistry) {
    this.#peers = peers;
    this.#metrics = metrics;
  }

  /** The text to serve, from what Envoy's admin interface says now. */
  translate(text: string): string {
    let own = "";
    const raw = new Map<string, number>();
    for (const line of text.split("\n")) {
      const isType = line.startsWith("# TYPE ");
      const name = isType ? line.slice(7) : line;
      if (!name.startsWith(rawPrefix)) {
        if (line !== "") own += `${line}\n`;
      } else if (isType) {
        const [metric = "", kind = "untyped"] = name.slice(rawPrefix.length).split(" ");
        this.#kinds.set(metric, kind);
      } else {
        this.#count(line, raw);
      }
    }
    this.#lastRaw = raw;
    return own + this.#expose();
  }

  #count(line: string, raw: Map<string, number>): void {
    const end = line.lastIndexOf(" ");
    const key = line.slice(0, end);
    const value = Number(line.slice(end + 1));
    if (end < 0 || !Number.isFinite(value)) return;
    raw.set(key, value);
    const before = this.#lastRaw.get(key) ?? 0;
    const growth = value >= before ? value - before : value;
    const series = parseSeries(key);
    if (series === undefined) return;
    const { name, tags } = series;
    if (name === grpcMessagesCounter) {
      const [requests = 0, responses = 0] = (tags[grpcMessagesTag] ?? "").split(",").map(Number);
      this.#add("istio_request_messages_total", tags, growth * requests);
      this.#add("istio_response_messages_total", tags, growth * responses);
      this.#kinds.set("istio_request_messages_total", "counter");
      this.#kinds.set("istio_response_messages_total", "counter");
    } else this.#add(name, tags, growth);
  }

  #add(name: string, tags: Readonly<Record<string, string>>, growth: number): void {
    if (Number.isNaN(growth)) return;
    const { le, ...rest } = tags;
    const finished = labelsText(finishStandardLabels(rest, this.#peers));
    const labels = le === undefined ? finished : `${finished},le="${escapeLabelValue(le)}"`;
    const key = `${name}{${labels}}`;
    const known = this.#out.get(key);
    if (known !== undefined) known.value += growth;
    else if (this.#out.size < seriesMax) this.#out.set(key, { name, labels, value: growth });
    else {
      this.#metrics
        .counter("heddle_metrics_folded_total", "Label sets that share an overflow series.", {
          metric: name,
        })
        .add(1);
    }
  }

  #expose(): string {
    const byMetric = new Map<string, string[]>();
    for (const { name, labels, value } of this.#out.values()) {
      const metric = this.#kinds.has(name) ? name : name.replace(/_(?:bucket|sum|count)$/, "");
      const lines = byMetric.get(metric) ?? [];
      lines.push(`${name}{${labels}} ${value}\n`);
      byMetric.set(metric, lines);
    }
    let text = "";
    for (const [metric, lines] of byMetric) {
      text += `# TYPE ${metric} ${this.#kinds.get(metric) ?? "untyped"}\n${lines.join("")}`;
    }
    return text;
  }
}

/** `envoy_heddle_NAME{a="b",…}`; undefined when it is malformed. */
function parseSeries(
  key: string,
): { readonly name: string; readonly tags: Record<string, string> } | undefined {
  const brace = key.indexOf("{");
  if (brace < 0) return { name: key.slice(rawPrefix.length), tags: {} };
  if (!key.endsWith("}")) return undefined;
  const tags: Record<string, string> = {};
  for (const [, name = "", value = ""] of key
    .slice(brace + 1, -1)
    .matchAll(/([a-zA-Z_][a-zA-Z0-9_]*)="((?:[^"\\]|\\.)*)"/g)) {
    tags[name] = value.replaceAll(/\\(.)/g, (_, char: string) => (char === "n" ? "\n" : char));
  }
  return { name: key.slice(rawPrefix.length, brace), tags };
}
