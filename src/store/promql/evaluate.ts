/**
 * Evaluates a parsed query over whatever can select series. Bounded: a query that would read or
 * produce more than the limits is refused, so that none holds the event loop for long.
 */
import { HeddleError } from "../../base/error.ts";
import { type LabelSet, metricName, nameLabel, withoutLabels } from "../label-set.ts";
import type { Matcher } from "../matcher.ts";
import type { Samples } from "../series/series.ts";
import { aggregate } from "./aggregate.ts";
import type { Expression } from "./ast.ts";
import { applyBinary } from "./binary.ts";
import { functions } from "./functions.ts";
import { placeOf } from "./lexer.ts";
import { parseQuery } from "./parser.ts";
import {
  emptyRow,
  isEmptyRow,
  joinRows,
  mapRow,
  type Row,
  type Steps,
  type Value,
} from "./value.ts";
import { fillInstants, fillWindows, type WindowFunction, windowFunctions } from "./windows.ts";

/** Where series come from. */
export interface Queryable {
  select(matchers: readonly Matcher[]): readonly {
    readonly labels: LabelSet;
    readonly unnamedLabels: LabelSet;
    read(fromMs: number, toMs: number): Samples;
  }[];
}

export const evaluationLimits = {
  /** Samples read by all selectors of a query. */
  samplesMax: 10_000_000,
  /** Series times steps of any intermediate result. */
  cellsMax: 10_000_000,
  lookbackMs: 300_000,
} as const;

/** Throws `promql.parse`, `promql.execution` or `promql.limit`. */
export function evaluateQuery(query: string, steps: Steps, source: Queryable): Value {
  const evaluation = new Evaluation(query, steps, source);
  const value = evaluation.of(parseQuery(query));
  return value.kind === "vector" ? { kind: "vector", rows: joinRows(value.rows) } : value;
}

class Evaluation {
  readonly #query: string;
  readonly #steps: Steps;
  readonly #source: Queryable;
  #samples = 0;

  constructor(query: string, steps: Steps, source: Queryable) {
    this.#query = query;
    this.#steps = steps;
    this.#source = source;
  }

  of(node: Expression): Value {
    switch (node.kind) {
      case "number":
        return { kind: "scalar", values: new Float64Array(this.#steps.count).fill(node.value) };
      case "string":
      case "range":
        throw this.#error(node, `a ${node.kind} is no result`);
      case "selector":
        return { kind: "vector", rows: this.#select(node.matchers) };
      case "call":
        return this.#call(node);
      case "aggregate": {
        const of = this.of(node.of);
        if (of.kind !== "vector") throw this.#error(node.of, `${node.op} takes a vector`);
        return {
          kind: "vector",
          rows: aggregate(node.op, node.grouping, of.rows, this.#steps.count),
        };
      }
      case "negate":
        return negate(this.of(node.of));
      case "binary":
        return this.#placed(node, () => {
          const value = applyBinary(node, this.of(node.left), this.of(node.right));
          return value.kind === "vector" ? { kind: "vector", rows: joinRows(value.rows) } : value;
        });
    }
  }

  #call(node: Expression & { readonly kind: "call" }): Value {
    const windowFunction = windowFunctions.get(node.name);
    const [first] = node.args;
    if (windowFunction !== undefined && first?.kind === "range") {
      return this.#placed(node, () => ({
        kind: "vector",
        rows: this.#windows(first.matchers, first.rangeMs, windowFunction),
      }));
    }
    const apply = functions.get(node.name)?.apply;
    if (apply === undefined) throw this.#error(node, `${node.name} is not supported`);
    return this.#placed(node, () => {
      const value = apply({
        args: node.args,
        steps: this.#steps,
        evaluate: (of) => this.of(of),
      });
      return value.kind === "vector" ? { kind: "vector", rows: joinRows(value.rows) } : value;
    });
  }

  #select(matchers: readonly Matcher[]): readonly Row[] {
    const { lookbackMs } = evaluationLimits;
    const fill = (row: Row, samples: Samples): void =>
      fillInstants(row, samples, this.#steps, lookbackMs);
    return this.#read(matchers, { rangeMs: lookbackMs, isNamed: true, fill });
  }

  #windows(matchers: readonly Matcher[], rangeMs: number, apply: WindowFunction): readonly Row[] {
    const fill = (row: Row, samples: Samples): void =>
      fillWindows(row, samples, this.#steps, { rangeMs, apply });
    const isNamed = apply === windowFunctions.get("last_over_time");
    const rows = this.#read(matchers, { rangeMs, isNamed, fill });
    // Series of one metric stay different without its name.
    const isOneMetric = matchers.some(({ label, op }) => label === metricName && op === "=");
    return isOneMetric ? rows : joinRows(rows);
  }

  #read(
    matchers: readonly Matcher[],
    how: {
      readonly rangeMs: number;
      readonly isNamed: boolean;
      readonly fill: (row: Row, samples: Samples) => void;
    },
  ): readonly Row[] {
    const { startMs, stepMs, count } = this.#steps;
    const endMs = startMs + (count - 1) * stepMs;
    const found = this.#source.select(matchers);
    if (found.length * count > evaluationLimits.cellsMax) {
      throw tooMuch(`${found.length} series at ${count} steps`, evaluationLimits.cellsMax);
    }
    const rows: Row[] = [];
    for (const series of found) {
      const samples = series.read(startMs - how.rangeMs, endMs);
      this.#samples += samples.values.length;
      if (this.#samples > evaluationLimits.samplesMax) {
        throw tooMuch(`${this.#samples} samples`, evaluationLimits.samplesMax);
      }
      const labels = how.isNamed ? series.labels : series.unnamedLabels;
      const row = emptyRow(labels, count);
      how.fill(row, samples);
      if (!isEmptyRow(row)) rows.push(row);
    }
    return rows;
  }

  /** Errors of execution name the place of the innermost expression that failed. */
  #placed(node: Expression, evaluate: () => Value): Value {
    try {
      return evaluate();
    } catch (error) {
      if (!(error instanceof HeddleError) || error.code !== "promql.execution") throw error;
      if (/^\d+:\d+: /.test(error.message)) throw error;
      throw this.#error(node, error.message);
    }
  }

  #error(node: Expression, reason: string): HeddleError {
    return new HeddleError("promql.execution", `${placeOf(this.#query, node.at)}: ${reason}`);
  }
}

function negate(value: Value): Value {
  if (value.kind === "scalar") return { kind: "scalar", values: value.values.map((one) => -one) };
  const rows = value.rows.map((row) =>
    mapRow(row, withoutLabels(row.labels, nameLabel), (one) => -one),
  );
  return { kind: "vector", rows: joinRows(rows) };
}

function tooMuch(what: string, limit: number): HeddleError {
  return new HeddleError(
    "promql.limit",
    `the query would read ${what}, more than ${limit}; ask for fewer series, steps or less time`,
  );
}
