/**
 * One condition on a label, as PromQL writes it: `reporter="source"`, `code=~"5.."`. A missing
 * label is the empty value. Regular expressions are RE2's (linear time, anchored at both ends, the
 * dot matches line ends), as Prometheus's.
 */
import { RE2JS } from "re2js";
import { HeddleError, messageOf } from "../base/error.ts";

export interface Matcher {
  readonly label: string;
  readonly op: MatchOp;
  readonly value: string;
  matches(value: string): boolean;
}

export type MatchOp = "=" | "!=" | "=~" | "!~";

/** Throws `promql.parse` when the regular expression is not one. */
export function matcherOf(label: string, op: MatchOp, value: string): Matcher {
  return { label, op, value, matches: testOf(op, value) };
}

function testOf(op: MatchOp, value: string): (candidate: string) => boolean {
  switch (op) {
    case "=":
      return (candidate) => candidate === value;
    case "!=":
      return (candidate) => candidate !== value;
    case "=~":
      return expressionTest(value);
    case "!~": {
      const isMatch = expressionTest(value);
      return (candidate) => !isMatch(candidate);
    }
  }
}

function expressionTest(pattern: string): (candidate: string) => boolean {
  const expression = compile(pattern);
  // Series repeat the same few values; one matcher lives for one query.
  const known = new Map<string, boolean>();
  return (candidate) => {
    let isMatch = known.get(candidate);
    if (isMatch === undefined) {
      isMatch = expression.matches(candidate);
      known.set(candidate, isMatch);
    }
    return isMatch;
  };
}

function compile(pattern: string): RE2JS {
  try {
    return RE2JS.compile(pattern, RE2JS.DOTALL);
  } catch (error) {
    throw new HeddleError("promql.parse", `not a regular expression: ${messageOf(error)}`);
  }
}
