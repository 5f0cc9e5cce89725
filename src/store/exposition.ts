/**
 * Prometheus's text exposition format, version 0.0.4: text in, samples out. Strict: a scrape is
 * taken whole or refused with the line that is wrong, as Prometheus does. Series are handed over as
 * the raw text before the value (`name{a="b"}`), because a store that has seen it before needs no
 * labels parsed; `parseSeriesText` parses it when it is new. Timestamps are checked and left out:
 * a sample belongs to its scrape. OpenMetrics and quoted (UTF-8) metric names are not read.
 */
export interface ExpositionSink {
  /** Once per sample line; return a reason to refuse it, which refuses the scrape. */
  onSample(seriesText: string, value: number): string | undefined;
  onType(name: string, type: MetricType): void;
}

export type MetricType = "counter" | "gauge" | "histogram" | "summary" | "untyped";

export interface ExpositionError {
  /** From 1. */
  readonly line: number;
  readonly reason: string;
}

export const expositionLimits = {
  lineCharsMax: 65_536,
  samplesMax: 100_000,
  labelsMax: 64,
  labelValueCharsMax: 4096,
} as const;

const valuePattern = /^[+-]?(?:\d+(?:\.\d*)?(?:[eE][+-]?\d+)?|\.\d+(?:[eE][+-]?\d+)?|[Ii]nf|NaN)$/;
const timestampPattern = /^-?\d{1,16}$/;
const namePattern = /^[a-zA-Z_:][a-zA-Z0-9_:]*$/;
const labelPattern =
  /([a-zA-Z_][a-zA-Z0-9_]*)[ \t]*=[ \t]*"((?:[^"\\\n]|\\[\\"n])*)"[ \t]*(,?)[ \t]*/y;
const types: ReadonlySet<string> = new Set(["counter", "gauge", "histogram", "summary", "untyped"]);

/** Undefined when all of `text` was read; at the first error nothing after it is. */
export function readExposition(text: string, sink: ExpositionSink): ExpositionError | undefined {
  let line = 0;
  let samples = 0;
  for (let at = 0; at < text.length;) {
    line++;
    const newline = text.indexOf("\n", at);
    const end = newline === -1 ? text.length : newline;
    if (end - at > expositionLimits.lineCharsMax) return { line, reason: "line too long" };
    const content = text.slice(at, end).trim();
    at = end + 1;
    if (content === "") continue;
    if (content.startsWith("#")) {
      const reason = readComment(content, sink);
      if (reason !== undefined) return { line, reason };
      continue;
    }
    if (++samples > expositionLimits.samplesMax) return { line, reason: "too many samples" };
    const reason = readSample(content, sink);
    if (reason !== undefined) return { line, reason };
  }
  return undefined;
}

/** Name (as `__name__`) and labels of a sample line's first part, or the reason it is not one. */
export function parseSeriesText(text: string): readonly (readonly [string, string])[] | string {
  const brace = text.indexOf("{");
  const name = (brace === -1 ? text : text.slice(0, brace)).trim();
  if (!namePattern.test(name)) return "not a metric name";
  const labels: (readonly [string, string])[] = [["__name__", name]];
  if (brace === -1) return labels;
  const seen = new Set<string>();
  let at = brace + 1;
  while (text[at] === " " || text[at] === "\t") at++;
  let mayContinue = true;
  while (at < text.length && text[at] !== "}") {
    labelPattern.lastIndex = at;
    const match = labelPattern.exec(text);
    if (match === null || !mayContinue) return "malformed labels";
    const [whole, label = "", value = "", comma] = match;
    if (label === "__name__" || seen.has(label)) return `label ${label} twice`;
    if (value.length > expositionLimits.labelValueCharsMax) return `value of ${label} too long`;
    if (seen.size >= expositionLimits.labelsMax) return "too many labels";
    seen.add(label);
    labels.push([label, value.includes("\\") ? unescape(value) : value]);
    mayContinue = comma === ",";
    at += whole.length;
  }
  return at === text.length - 1 ? labels : "malformed labels";
}

function readSample(content: string, sink: ExpositionSink): string | undefined {
  // A value holds no brace, so the last one ends the labels, whatever their values contain.
  const brace = content.lastIndexOf("}");
  const seriesEnd = brace === -1 ? content.search(/[ \t]/) : brace + 1;
  if (seriesEnd <= 0) return "a sample without a value";
  const [valueText = "", timestamp, ...rest] = content
    .slice(seriesEnd)
    .trim()
    .split(/[ \t]+/);
  if (!valuePattern.test(valueText)) return "not a number";
  if (timestamp !== undefined && !timestampPattern.test(timestamp)) return "not a timestamp";
  if (rest.length > 0) return "text after the sample";
  return sink.onSample(content.slice(0, seriesEnd), numberOf(valueText));
}

function readComment(content: string, sink: ExpositionSink): string | undefined {
  const [mark, keyword, name = "", type = "", ...rest] = content.split(/[ \t]+/);
  if (mark !== "#" || keyword !== "TYPE") return undefined;
  if (!namePattern.test(name) || !isMetricType(type) || rest.length > 0) return "malformed TYPE";
  sink.onType(name, type);
  return undefined;
}

function isMetricType(text: string): text is MetricType {
  return types.has(text);
}

function numberOf(text: string): number {
  if (text.endsWith("nf")) return text.startsWith("-") ? -Infinity : Infinity;
  return Number(text);
}

function unescape(value: string): string {
  return value.replaceAll(/\\([\\"n])/g, (_, escaped: string) =>
    escaped === "n" ? "\n" : escaped,
  );
}
