import { type LabelSet, metricName, onlyLabels, withoutLabels } from "../label-set.ts";
import type { AggregateOp, Grouping } from "./ast.ts";
import { emptyRow, type Row } from "./value.ts";
import { larger, smaller } from "./windows.ts";

/** One row for each group of labels. Sums carry the rounding error along, as Prometheus's. */
export function aggregate(
  op: AggregateOp,
  grouping: Grouping,
  rows: readonly Row[],
  steps: number,
): readonly Row[] {
  const groups = new Map<string, Group>();
  for (const row of rows) {
    const key = groupKey(row.labels, grouping);
    let group = groups.get(key);
    if (group === undefined) {
      group = {
        row: emptyRow(groupLabels(row.labels, grouping), steps),
        counts: new Float64Array(steps),
        rest: new Float64Array(steps),
      };
      groups.set(key, group);
    }
    for (let step = 0; step < steps; step++) {
      if (row.present[step] === 1) combine(op, group, step, row.values[step] ?? 0);
    }
  }
  return [...groups.values()].map((group) => finish(op, group));
}

/** Equal exactly for rows of one group; cheaper than making its labels. */
export function groupKey(labels: LabelSet, { kind, labels: names }: Grouping): string {
  let key = "";
  if (kind === "only") {
    for (const name of names) {
      const value = labels.get(name) ?? "";
      key += `${value.length}:${value},`;
    }
    return key;
  }
  for (const [name, value] of labels) {
    if (name !== metricName && !names.has(name)) key += `${name}=${value.length}:${value},`;
  }
  return key;
}

/** The labels a row is grouped or matched by; its metric's name is one only when named. */
export function groupLabels(labels: LabelSet, grouping: Grouping): LabelSet {
  if (grouping.kind === "only") return onlyLabels(labels, grouping.labels);
  return withoutLabels(labels, new Set([metricName, ...grouping.labels]));
}

interface Group {
  readonly row: Row;
  readonly counts: Float64Array;
  /** What the sum lost to rounding so far (Kahan, Neumaier). */
  readonly rest: Float64Array;
}

function combine(op: AggregateOp, { row, counts, rest }: Group, step: number, value: number): void {
  const count = counts[step] ?? 0;
  const total = row.values[step] ?? 0;
  counts[step] = count + 1;
  row.present[step] = 1;
  switch (op) {
    case "count":
      return;
    case "min":
      row.values[step] = count === 0 ? value : smaller(total, value);
      return;
    case "max":
      row.values[step] = count === 0 ? value : larger(total, value);
      return;
    case "sum":
    case "avg": {
      const sum = total + value;
      if (Number.isFinite(sum)) {
        const lost = Math.abs(total) >= Math.abs(value) ? total - sum + value : value - sum + total;
        rest[step] = (rest[step] ?? 0) + lost;
      }
      row.values[step] = sum;
    }
  }
}

function finish(op: AggregateOp, { row, counts, rest }: Group): Row {
  if (op === "min" || op === "max") return row;
  for (let step = 0; step < row.values.length; step++) {
    const sum = (row.values[step] ?? 0) + (rest[step] ?? 0);
    const count = counts[step] ?? 0;
    row.values[step] = op === "count" ? count : op === "avg" && count > 0 ? sum / count : sum;
  }
  return row;
}
