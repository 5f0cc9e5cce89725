import { HeddleError } from "../base/error.ts";
import { type LabelSet, labelRecord, labelSetKey } from "./label-set.ts";
import type { MetricsSource, QueryResult, RangeSeries } from "./metrics-source.ts";
import { rangeStepsMax } from "./metrics-source.ts";
import type { MetricsStore, StoredSeries } from "./metrics-store.ts";
import { evaluateQuery } from "./promql/evaluate.ts";
import { parseSelector } from "./promql/parser.ts";
import type { Row, Steps } from "./promql/value.ts";

/** The store, asked like a Prometheus: no HTTP and no JSON between. */
export function embeddedMetrics(store: MetricsStore): MetricsSource {
  const matching = (selectors: readonly string[]): readonly LabelSet[] =>
    selectors.length === 0 ? labelSets(store.select([])) : selectMany(store, selectors);
  return {
    name: "embedded",
    query: async (expr, atMs) => instant(expr, atMs, store),
    queryRange: async (expr, { startMs, endMs, stepMs }) => {
      if (!(stepMs > 0) || !(endMs >= startMs)) {
        throw new HeddleError(
          "promql.execution",
          "the step must be positive and the end after the start",
        );
      }
      const count = Math.floor((endMs - startMs) / stepMs) + 1;
      if (count > rangeStepsMax) {
        throw new HeddleError("promql.limit", `${count} steps are more than ${rangeStepsMax}`);
      }
      return range(expr, { startMs, stepMs, count }, store);
    },
    labelValues: async (label, selectors) =>
      [...new Set(matching(selectors).flatMap((labels) => labels.get(label) ?? []))].toSorted(),
    labelNames: async (selectors) =>
      [...new Set(matching(selectors).flatMap((labels) => [...labels.keys()]))].toSorted(),
    series: async (selectors) => selectMany(store, selectors).map(labelRecord),
  };
}

function instant(expr: string, atMs: number, store: MetricsStore): QueryResult {
  const value = evaluateQuery(expr, { startMs: atMs, stepMs: 1, count: 1 }, store);
  if (value.kind === "scalar")
    return { kind: "scalar", atMs, value: value.values[0] ?? Number.NaN };
  const samples = value.rows
    .filter((row) => row.present[0] === 1)
    .map((row) => ({ labels: labelRecord(row.labels), value: row.values[0] ?? Number.NaN }));
  return { kind: "vector", atMs, samples };
}

function range(expr: string, steps: Steps, store: MetricsStore): readonly RangeSeries[] {
  const value = evaluateQuery(expr, steps, store);
  if (value.kind === "vector") return value.rows.map((row) => rangeSeries(row, steps));
  const present = new Uint8Array(steps.count).fill(1);
  return [rangeSeries({ labels: new Map(), values: value.values, present }, steps)];
}

function rangeSeries(row: Row, { startMs, stepMs }: Steps): RangeSeries {
  const timesMs: number[] = [];
  const values: number[] = [];
  for (const [step, value] of row.values.entries()) {
    if (row.present[step] === 0) continue;
    timesMs.push(startMs + step * stepMs);
    values.push(value);
  }
  return { labels: labelRecord(row.labels), timesMs, values };
}

function selectMany(store: MetricsStore, selectors: readonly string[]): readonly LabelSet[] {
  return labelSets(selectors.flatMap((selector) => store.select(parseSelector(selector))));
}

function labelSets(series: readonly StoredSeries[]): readonly LabelSet[] {
  const byKey = new Map(series.map((one) => [labelSetKey(one.labels), one.labels]));
  return [...byKey.values()];
}
