/**
 * Operators between two values. Vectors match one to one by their labels (`on`, `ignoring`); two
 * series of one side for one of the other is an error of the query, never a choice.
 */
import { HeddleError } from "../../base/error.ts";
import { nameLabel, onlyLabels, withoutLabels } from "../label-set.ts";
import { groupKey } from "./aggregate.ts";
import type { ArithmeticOp, BinaryExpression, ComparisonOp, SetOp } from "./ast.ts";
import { emptyRow, isEmptyRow, mapRow, type Row, setAt, type Value } from "./value.ts";

export function applyBinary(node: BinaryExpression, left: Value, right: Value): Value {
  const { op } = node;
  if (isSetOp(op)) {
    if (left.kind === "vector" && right.kind === "vector") {
      return { kind: "vector", rows: applySet(node, op, left.rows, right.rows) };
    }
    throw new HeddleError("promql.execution", `${op} stands between two vectors only`);
  }
  const operate = operators[op];
  if (left.kind === "scalar" && right.kind === "scalar") {
    if (isComparison(op) && !node.isBool) {
      throw new HeddleError("promql.execution", `${op} between two numbers needs bool`);
    }
    const values = left.values.map((value, step) => operate(value, right.values[step] ?? 0));
    return { kind: "scalar", values };
  }
  if (left.kind === "vector" && right.kind === "vector") {
    return { kind: "vector", rows: matchRows(node, left.rows, right.rows) };
  }
  return { kind: "vector", rows: withScalar(node, left, right) };
}

const operators: {
  readonly [Op in ArithmeticOp | ComparisonOp]: (a: number, b: number) => number;
} = {
  "+": (a, b) => a + b,
  "-": (a, b) => a - b,
  "*": (a, b) => a * b,
  "/": (a, b) => a / b,
  "%": (a, b) => a % b,
  "^": (a, b) => a ** b,
  "==": (a, b) => Number(a === b),
  "!=": (a, b) => Number(a !== b),
  ">": (a, b) => Number(a > b),
  "<": (a, b) => Number(a < b),
  ">=": (a, b) => Number(a >= b),
  "<=": (a, b) => Number(a <= b),
};

function withScalar(node: BinaryExpression, left: Value, right: Value): readonly Row[] {
  const isVectorLeft = left.kind === "vector";
  const rows = left.kind === "vector" ? left.rows : right.kind === "vector" ? right.rows : [];
  const scalars =
    left.kind === "scalar" ? left.values : right.kind === "scalar" ? right.values : [];
  return rows.map((row) =>
    mapRow(
      row,
      keepsName(node) ? row.labels : withoutLabels(row.labels, nameLabel),
      (value, step) => {
        const scalar = scalars[step] ?? 0;
        return outcome(node, {
          a: isVectorLeft ? value : scalar,
          b: isVectorLeft ? scalar : value,
          value,
        });
      },
    ),
  );
}

/** A comparison that filters gives the vector's own value; everything else the operator's. */
function outcome(
  node: BinaryExpression,
  { a, b, value }: { readonly a: number; readonly b: number; readonly value: number },
): number | undefined {
  if (isSetOp(node.op)) return undefined;
  const result = operators[node.op](a, b);
  if (!isComparison(node.op) || node.isBool) return result;
  return result === 1 ? value : undefined;
}

function matchRows(
  node: BinaryExpression,
  left: readonly Row[],
  right: readonly Row[],
): readonly Row[] {
  const rightBySignature = bySignature(node, right);
  const taken = new Map<string, Uint8Array>();
  const results: Row[] = [];
  for (const row of left) {
    const key = groupKey(row.labels, node.matching);
    const others = rightBySignature.get(key);
    if (others === undefined) continue;
    const used = taken.get(key) ?? new Uint8Array(row.values.length);
    taken.set(key, used);
    const result = mapRow(row, resultLabels(node, row), (value, step) => {
      const present = others.filter((other) => other.present[step] === 1);
      const [other] = present;
      if (other === undefined) return undefined;
      if (present.length > 1 || used[step] === 1) throw manyToMany(node);
      used[step] = 1;
      return outcome(node, { a: value, b: other.values[step] ?? 0, value });
    });
    if (!isEmptyRow(result)) results.push(result);
  }
  return results;
}

function resultLabels(node: BinaryExpression, row: Row): Row["labels"] {
  const labels = keepsName(node) ? row.labels : withoutLabels(row.labels, nameLabel);
  return node.matching.kind === "only"
    ? onlyLabels(labels, node.matching.labels)
    : withoutLabels(labels, node.matching.labels);
}

function applySet(
  node: BinaryExpression,
  op: SetOp,
  left: readonly Row[],
  right: readonly Row[],
): readonly Row[] {
  if (op === "or") return [...left, ...keepWhere(node, right, left, false)];
  return keepWhere(node, left, right, op === "and");
}

/** `rows` at the steps where the other side has (or has not) a row of the same signature. */
function keepWhere(
  node: BinaryExpression,
  rows: readonly Row[],
  others: readonly Row[],
  isPresenceWanted: boolean,
): readonly Row[] {
  const otherBySignature = bySignature(node, others);
  return rows.map((row) => {
    const matched = otherBySignature.get(groupKey(row.labels, node.matching)) ?? [];
    const kept = emptyRow(row.labels, row.values.length);
    for (let step = 0; step < row.values.length; step++) {
      if (row.present[step] === 0) continue;
      const isMatched = matched.some((other) => other.present[step] === 1);
      if (isMatched === isPresenceWanted) setAt(kept, step, row.values[step] ?? 0);
    }
    return kept;
  });
}

function bySignature(node: BinaryExpression, rows: readonly Row[]): Map<string, Row[]> {
  const groups = new Map<string, Row[]>();
  for (const row of rows) {
    const key = groupKey(row.labels, node.matching);
    const group = groups.get(key);
    if (group === undefined) groups.set(key, [row]);
    else group.push(row);
  }
  return groups;
}

function keepsName(node: BinaryExpression): boolean {
  return isComparison(node.op) && !node.isBool;
}

function manyToMany({ op }: BinaryExpression): HeddleError {
  return new HeddleError(
    "promql.execution",
    `several series match one at ${op}; name the labels that tell them apart with on (…)`,
  );
}

function isComparison(op: BinaryExpression["op"]): op is ComparisonOp {
  return op === "==" || op === "!=" || op === ">" || op === "<" || op === ">=" || op === "<=";
}

function isSetOp(op: BinaryExpression["op"]): op is SetOp {
  return op === "and" || op === "or" || op === "unless";
}
