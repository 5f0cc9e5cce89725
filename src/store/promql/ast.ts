/**
 * A parsed query: the part of PromQL that is evaluated here. Every node knows where it begins, so
 * that an error can name the place.
 */
import type { Matcher } from "../matcher.ts";

export type Expression =
  | { readonly kind: "number"; readonly at: number; readonly value: number }
  | { readonly kind: "string"; readonly at: number; readonly value: string }
  | { readonly kind: "selector"; readonly at: number; readonly matchers: readonly Matcher[] }
  | {
      readonly kind: "range";
      readonly at: number;
      readonly matchers: readonly Matcher[];
      readonly rangeMs: number;
    }
  | {
      readonly kind: "call";
      readonly at: number;
      readonly name: string;
      readonly args: readonly Expression[];
    }
  | {
      readonly kind: "aggregate";
      readonly at: number;
      readonly op: AggregateOp;
      readonly grouping: Grouping;
      readonly of: Expression;
    }
  | { readonly kind: "negate"; readonly at: number; readonly of: Expression }
  | BinaryExpression;

export interface BinaryExpression {
  readonly kind: "binary";
  readonly at: number;
  readonly op: BinaryOp;
  readonly left: Expression;
  readonly right: Expression;
  /** Comparisons answer 0 or 1 instead of filtering. */
  readonly isBool: boolean;
  readonly matching: Grouping;
}

/** Labels to keep (`by`, `on`) or to leave out (`without`, `ignoring`). */
export interface Grouping {
  readonly kind: "only" | "without";
  readonly labels: ReadonlySet<string>;
}

export type AggregateOp = "sum" | "avg" | "min" | "max" | "count";
export type ArithmeticOp = "+" | "-" | "*" | "/" | "%" | "^";
export type ComparisonOp = "==" | "!=" | ">" | "<" | ">=" | "<=";
export type SetOp = "and" | "or" | "unless";
export type BinaryOp = ArithmeticOp | ComparisonOp | SetOp;
