/**
 * What an expression is worth at every step of a range at once: columns, not one step after another,
 * so that each series is unpacked once.
 */
import { HeddleError } from "../../base/error.ts";
import { type LabelSet, labelSetKey } from "../label-set.ts";

export interface Steps {
  readonly startMs: number;
  readonly stepMs: number;
  /** How many; at least 1. */
  readonly count: number;
}

export type Value =
  | { readonly kind: "scalar"; readonly values: Float64Array }
  | { readonly kind: "vector"; readonly rows: readonly Row[] };

/** One series of a vector: `values[i]` counts only where `present[i]` is 1. */
export interface Row {
  readonly labels: LabelSet;
  readonly values: Float64Array;
  readonly present: Uint8Array;
}

export function emptyRow(labels: LabelSet, steps: number): Row {
  return { labels, values: new Float64Array(steps), present: new Uint8Array(steps) };
}

export function setAt(row: Row, step: number, value: number): void {
  row.values[step] = value;
  row.present[step] = 1;
}

/** A row for each of `rows` by a function of every value; what it leaves undefined is absent. */
export function mapRow(
  row: Row,
  labels: LabelSet,
  change: (value: number, step: number) => number | undefined,
): Row {
  const result = emptyRow(labels, row.values.length);
  for (let step = 0; step < row.values.length; step++) {
    if (row.present[step] === 0) continue;
    const value = change(row.values[step] ?? 0, step);
    if (value !== undefined) setAt(result, step, value);
  }
  return result;
}

export function isEmptyRow(row: Row): boolean {
  return !row.present.includes(1);
}

/**
 * Joins rows of equal labels that are present at different steps (one series after another); two at
 * the same step are an error of the query, as in Prometheus.
 */
export function joinRows(rows: readonly Row[]): readonly Row[] {
  const byKey = new Map<string, Row>();
  for (const row of rows) {
    if (isEmptyRow(row)) continue;
    const key = labelSetKey(row.labels);
    const known = byKey.get(key);
    if (known === undefined) byKey.set(key, row);
    else byKey.set(key, joinTwo(known, row));
  }
  return [...byKey.values()];
}

function joinTwo(a: Row, b: Row): Row {
  const joined: Row = { labels: a.labels, values: a.values.slice(), present: a.present.slice() };
  for (let step = 0; step < b.values.length; step++) {
    if (b.present[step] === 0) continue;
    if (joined.present[step] === 1) {
      throw new HeddleError(
        "promql.execution",
        "the result would hold two series with the same labels; group them with sum by (…)",
      );
    }
    setAt(joined, step, b.values[step] ?? 0);
  }
  return joined;
}
