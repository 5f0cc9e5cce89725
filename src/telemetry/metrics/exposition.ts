/** Series as Prometheus text, version 0.0.4. */
import type { Labels } from "../metrics.ts";

export type MetricKind = "counter" | "gauge" | "histogram";

export interface MetricMeaning {
  readonly name: string;
  readonly help: string;
  readonly kind: MetricKind;
  /** Upper bounds of a histogram's buckets, rising; empty otherwise. */
  readonly buckets: readonly number[];
}

/**
 * One series: `a="x",b="y"`, and where its numbers start. A histogram has its buckets (not added
 * up), what is above them, and the sum; anything else has one number.
 */
export interface ExposedSeries {
  readonly key: string;
  readonly values: Float64Array;
  readonly slot: number;
}

/** How many numbers a series of such a metric has. */
export function slotsOf({ kind, buckets }: MetricMeaning): number {
  return kind === "histogram" ? buckets.length + 2 : 1;
}

/** About so many characters: a string that dies young is nobody's garbage later. */
const pieceCharacters = 16 * 1024;

/** The same text in pieces, for whoever hands it on at once: as one string it would be megabytes of the heap. */
export function* exposeInPieces(
  meaning: MetricMeaning,
  series: Iterable<ExposedSeries>,
): Generator<string> {
  let text = "";
  let isFirst = true;
  for (const one of series) {
    text += isFirst ? headOf(meaning) + exposeOne(meaning, one) : exposeOne(meaning, one);
    isFirst = false;
    if (text.length < pieceCharacters) continue;
    yield text;
    text = "";
  }
  if (text !== "") yield text;
}

export function exposeMetric(meaning: MetricMeaning, series: Iterable<ExposedSeries>): string {
  let text = "";
  for (const piece of exposeInPieces(meaning, series)) text += piece;
  return text;
}

function headOf({ name, help, kind }: MetricMeaning): string {
  const safeHelp = help.replaceAll("\\", "\\\\").replaceAll("\n", "\\n");
  return `# HELP ${name} ${safeHelp}\n# TYPE ${name} ${kind}\n`;
}

function exposeOne({ name, kind, buckets }: MetricMeaning, one: ExposedSeries): string {
  return kind === "histogram"
    ? exposeHistogram(name, buckets, one)
    : `${name}${braced(one.key)} ${formatValue(one.values[one.slot] ?? 0)}\n`;
}

function exposeHistogram(
  name: string,
  buckets: readonly number[],
  { key, values, slot }: ExposedSeries,
): string {
  const lead = key === "" ? "" : `${key},`;
  let text = "";
  let count = 0;
  for (let i = 0; i < buckets.length; i++) {
    count += values[slot + i] ?? 0;
    text += `${name}_bucket{${lead}le="${buckets[i]}"} ${count}\n`;
  }
  count += values[slot + buckets.length] ?? 0;
  const sum = values[slot + buckets.length + 1] ?? 0;
  const labels = braced(key);
  return `${text}${name}_bucket{${lead}le="+Inf"} ${count}\n${name}_sum${labels} ${formatValue(sum)}\n${name}_count${labels} ${count}\n`;
}

function braced(labels: string): string {
  return labels === "" ? "" : `{${labels}}`;
}

/** The last ones that cannot change, and their text: series of one cluster come in a row, and share it. */
let frozen: Labels | undefined;
let frozenText = "";

/** `a="x",b="y"`, sorted by name: the identity of a series and its text. */
export function labelsText(labels: Labels): string {
  if (labels === frozen) return frozenText;
  const text = Object.keys(labels)
    .toSorted()
    .map((name) => `${name}="${escapeLabelValue(labels[name] ?? "")}"`)
    .join(",");
  if (Object.isFrozen(labels)) [frozen, frozenText] = [labels, text];
  return text;
}

/** Of a text that `labelsText` made. */
export function parseLabelsText(text: string): Labels {
  const labels: Record<string, string> = {};
  for (const [, name = "", value = ""] of text.matchAll(/(\w+)="((?:[^"\\]|\\.)*)"/gs)) {
    labels[name] = value.replaceAll(/\\(.)/gs, (_all, char: string) =>
      char === "n" ? "\n" : char,
    );
  }
  return labels;
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
