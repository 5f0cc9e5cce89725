/**
 * The functions that can be called, by name: the ones over ranges (`windows.ts`) and these over
 * instants. The parser checks arguments against what is declared here.
 */
import { HeddleError } from "../../base/error.ts";
import { type LabelSet, labelSetOf, nameLabel, withoutLabels } from "../label-set.ts";
import type { Expression } from "./ast.ts";
import { histogramQuantile } from "./quantile.ts";
import { mapRow, type Row, type Steps, type Value } from "./value.ts";
import { windowFunctions } from "./windows.ts";

export interface FunctionDefinition {
  /** `range`: the first argument is a range, and `windows.ts` evaluates it. */
  readonly takes: "range" | "instants" | "strings";
  readonly argCount: { readonly least: number; readonly most: number };
  /** Absent for range functions. */
  readonly apply?: (call: Call) => Value;
}

export interface Call {
  readonly args: readonly Expression[];
  readonly steps: Steps;
  evaluate(of: Expression): Value;
}

const one = { least: 1, most: 1 };

export const functions: ReadonlyMap<string, FunctionDefinition> = new Map<
  string,
  FunctionDefinition
>([
  ...[...windowFunctions.keys()].map((name): readonly [string, FunctionDefinition] => [
    name,
    { takes: "range", argCount: one },
  ]),
  ["abs", { takes: "instants", argCount: one, apply: perValue(Math.abs) }],
  ["ceil", { takes: "instants", argCount: one, apply: perValue(Math.ceil) }],
  ["floor", { takes: "instants", argCount: one, apply: perValue(Math.floor) }],
  ["round", { takes: "instants", argCount: { least: 1, most: 2 }, apply: perValue(round) }],
  ["clamp_min", { takes: "instants", argCount: { least: 2, most: 2 }, apply: perValue(Math.max) }],
  ["clamp_max", { takes: "instants", argCount: { least: 2, most: 2 }, apply: perValue(Math.min) }],
  ["time", { takes: "instants", argCount: { least: 0, most: 0 }, apply: time }],
  ["vector", { takes: "instants", argCount: one, apply: vector }],
  ["scalar", { takes: "instants", argCount: one, apply: scalar }],
  ["histogram_quantile", { takes: "instants", argCount: { least: 2, most: 2 }, apply: quantile }],
  ["label_join", { takes: "strings", argCount: { least: 3, most: 32 }, apply: labelJoin }],
]);

function perValue(change: (value: number, parameter: number) => number): (call: Call) => Value {
  return (call) => {
    const parameters = call.args.length > 1 ? scalarArg(call, 1) : undefined;
    const rows = vectorArg(call, 0).map((row) =>
      mapRow(row, withoutLabels(row.labels, nameLabel), (value, step) =>
        change(value, parameters?.[step] ?? 1),
      ),
    );
    return { kind: "vector", rows };
  };
}

function round(value: number, toNearest: number): number {
  const inverse = 1 / toNearest;
  return Math.floor(value * inverse + 0.5) / inverse;
}

function time({ steps }: Call): Value {
  const values = Float64Array.from(
    { length: steps.count },
    (_, step) => (steps.startMs + step * steps.stepMs) / 1000,
  );
  return { kind: "scalar", values };
}

function vector(call: Call): Value {
  const values = scalarArg(call, 0);
  const row: Row = { labels: new Map(), values, present: new Uint8Array(values.length).fill(1) };
  return { kind: "vector", rows: [row] };
}

function scalar(call: Call): Value {
  const rows = vectorArg(call, 0);
  const values = Float64Array.from({ length: call.steps.count }, (_, step) => {
    const present = rows.filter((row) => row.present[step] === 1);
    return present.length === 1 ? (present[0]?.values[step] ?? Number.NaN) : Number.NaN;
  });
  return { kind: "scalar", values };
}

function quantile(call: Call): Value {
  return { kind: "vector", rows: histogramQuantile(scalarArg(call, 0), vectorArg(call, 1)) };
}

function labelJoin(call: Call): Value {
  const [target = "", separator = "", ...sources] = call.args.slice(1).map(stringOf);
  if (!/^[a-zA-Z_][a-zA-Z0-9_]*$/.test(target)) {
    throw new HeddleError("promql.execution", `${JSON.stringify(target)} is not a label name`);
  }
  const join = (labels: LabelSet): LabelSet => {
    const joined = sources.map((source) => labels.get(source) ?? "").join(separator);
    return labelSetOf([...labels, [target, joined]]);
  };
  const rows = vectorArg(call, 0).map((row) => ({ ...row, labels: join(row.labels) }));
  return { kind: "vector", rows };
}

function stringOf(arg: Expression): string {
  if (arg.kind === "string") return arg.value;
  throw new HeddleError("promql.execution", "label_join takes strings after its vector");
}

function vectorArg(call: Call, index: number): readonly Row[] {
  const value = evaluateArg(call, index);
  if (value.kind === "vector") return value.rows;
  throw new HeddleError("promql.execution", `argument ${index + 1} must be a vector`);
}

function scalarArg(call: Call, index: number): Float64Array {
  const value = evaluateArg(call, index);
  if (value.kind === "scalar") return value.values;
  throw new HeddleError("promql.execution", `argument ${index + 1} must be a number`);
}

function evaluateArg(call: Call, index: number): Value {
  const arg = call.args[index];
  if (arg === undefined) throw new HeddleError("promql.execution", "an argument is missing");
  return call.evaluate(arg);
}
