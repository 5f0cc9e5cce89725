/**
 * PromQL text to a tree: selectors with matchers, ranges, functions, aggregations, arithmetic,
 * comparisons and set operators. What is not evaluated here (`offset`, `@`, subqueries,
 * `group_left`, other functions) is refused with its place, never read as something else.
 */
import { HeddleError } from "../../base/error.ts";
import { parseDuration } from "../duration.ts";
import { type Matcher, matcherOf, type MatchOp } from "../matcher.ts";
import type { AggregateOp, BinaryOp, Expression, Grouping } from "./ast.ts";
import { functions } from "./functions.ts";
import { parseError, readTokens, type Token } from "./lexer.ts";

export const queryLimits = { charsMax: 16_384, depthMax: 64, tokensMax: 4000 } as const;

/** Throws `promql.parse`. */
export function parseQuery(query: string): Expression {
  if (query.length > queryLimits.charsMax) {
    throw new HeddleError("promql.limit", `the query is longer than ${queryLimits.charsMax}`);
  }
  return new Parser(query).parse();
}

/** A lone series selector, as in `match[]`. */
export function parseSelector(query: string): readonly Matcher[] {
  const expression = parseQuery(query);
  if (expression.kind !== "selector") throw parseError(query, 0, "expected a series selector");
  return expression.matchers;
}

const precedence: ReadonlyMap<string, number> = new Map([
  ["or", 1],
  ["and", 2],
  ["unless", 2],
  ["==", 3],
  ["!=", 3],
  [">", 3],
  ["<", 3],
  [">=", 3],
  ["<=", 3],
  ["+", 4],
  ["-", 4],
  ["*", 5],
  ["/", 5],
  ["%", 5],
  ["^", 6],
]);

const negatePrecedence = 5.5;
const everything: Grouping = { kind: "without", labels: new Set() };
const aggregates: ReadonlySet<string> = new Set(["sum", "avg", "min", "max", "count"]);
const matchOps: ReadonlySet<string> = new Set(["=", "!=", "=~", "!~"]);
const refused: ReadonlySet<string> = new Set(["offset", "@", "group_left", "group_right", "atan2"]);

class Parser {
  readonly #query: string;
  readonly #tokens: readonly Token[];
  #next = 0;
  #depth = 0;

  constructor(query: string) {
    this.#query = query;
    this.#tokens = readTokens(query);
    if (this.#tokens.length > queryLimits.tokensMax) {
      throw new HeddleError(
        "promql.limit",
        `the query has more than ${queryLimits.tokensMax} words`,
      );
    }
  }

  parse(): Expression {
    const expression = this.#binary(0);
    const rest = this.#peek();
    if (rest.kind !== "end") throw this.#unexpected(rest);
    return expression;
  }

  #binary(least: number): Expression {
    this.#depth++;
    if (this.#depth > queryLimits.depthMax) throw this.#error(this.#peek(), "nested too deep");
    let left = this.#unary();
    for (;;) {
      const token = this.#peek();
      const level = this.#levelOf(token);
      if (level === undefined || level < least) break;
      this.#next++;
      left = this.#operation(token, left, level);
    }
    this.#depth--;
    return left;
  }

  #operation(token: Token, left: Expression, level: number): Expression {
    if (!isBinaryOp(token.text)) throw this.#unexpected(token);
    const op = token.text;
    const isBool = this.#accept("bool");
    if (isBool && level !== 3) throw this.#error(token, "bool goes with comparisons only");
    const matching = this.#matching();
    // `^` alone takes its right side first.
    const right = this.#binary(op === "^" ? level : level + 0.1);
    for (const side of [left, right]) this.#requireValue(side);
    return { kind: "binary", at: token.at, op, left, right, isBool, matching };
  }

  #matching(): Grouping {
    const isOn = this.#accept("on");
    if (!isOn && !this.#accept("ignoring")) return everything;
    const labels = this.#labelList();
    return { kind: isOn ? "only" : "without", labels };
  }

  #unary(): Expression {
    const token = this.#peek();
    if (token.kind === "symbol" && (token.text === "-" || token.text === "+")) {
      this.#next++;
      const of = this.#binary(negatePrecedence);
      this.#requireValue(of);
      return token.text === "-" ? { kind: "negate", at: token.at, of } : of;
    }
    return this.#primary();
  }

  #primary(): Expression {
    const token = this.#take();
    switch (token.kind) {
      case "number":
        return { kind: "number", at: token.at, value: Number(token.text) };
      case "string":
        return { kind: "string", at: token.at, value: token.text };
      case "name":
        return this.#named(token);
      case "symbol":
        if (token.text === "(") {
          const inner = this.#binary(0);
          this.#expect(")");
          if (this.#peek().text === "[")
            throw this.#error(this.#peek(), "subqueries are not supported");
          return inner;
        }
        if (token.text === "{") {
          this.#next--;
          return this.#selector(token, undefined);
        }
        throw this.#unexpected(token);
      case "duration":
      case "end":
        throw this.#unexpected(token);
    }
  }

  #named(token: Token): Expression {
    const { text, at } = token;
    const following = this.#peek();
    if (
      isAggregate(text) &&
      (following.text === "(" || following.text === "by" || following.text === "without")
    ) {
      return this.#aggregate(token, text);
    }
    if (following.kind === "symbol" && following.text === "(") return this.#call(token);
    const lower = text.toLowerCase();
    if (lower === "inf") return { kind: "number", at, value: Infinity };
    if (lower === "nan") return { kind: "number", at, value: Number.NaN };
    if (refused.has(text)) throw this.#error(token, `${text} is not supported`);
    return this.#selector(token, text);
  }

  #call(token: Token): Expression {
    const definition = functions.get(token.text);
    if (definition === undefined) {
      throw this.#error(token, `function ${token.text} is not known or not supported`);
    }
    this.#expect("(");
    const args: Expression[] = [];
    while (!this.#accept(")")) {
      if (args.length > 0) this.#expect(",");
      args.push(this.#binary(0));
    }
    const { least, most } = definition.argCount;
    if (args.length < least || args.length > most) {
      throw this.#error(
        token,
        `${token.text} takes ${least === most ? least : `${least} to ${most}`} arguments`,
      );
    }
    for (const [index, arg] of args.entries()) {
      const isRangeWanted = definition.takes === "range" && index === 0;
      if (isRangeWanted !== (arg.kind === "range")) {
        const wanted = isRangeWanted ? "a range like [5m]" : "an instant value";
        throw parseError(this.#query, arg.at, `${token.text} takes ${wanted} here`);
      }
      if (arg.kind === "string" && definition.takes !== "strings") {
        throw parseError(this.#query, arg.at, `${token.text} takes no string here`);
      }
    }
    return { kind: "call", at: token.at, name: token.text, args };
  }

  #aggregate(token: Token, op: AggregateOp): Expression {
    let grouping = this.#grouping();
    this.#expect("(");
    const of = this.#binary(0);
    this.#expect(")");
    grouping ??= this.#grouping();
    this.#requireValue(of);
    if (of.kind === "number") throw parseError(this.#query, of.at, `${op} takes a vector`);
    return {
      kind: "aggregate",
      at: token.at,
      op,
      grouping: grouping ?? { kind: "only", labels: new Set() },
      of,
    };
  }

  #grouping(): Grouping | undefined {
    const isBy = this.#accept("by");
    if (!isBy && !this.#accept("without")) return undefined;
    return { kind: isBy ? "only" : "without", labels: this.#labelList() };
  }

  #labelList(): ReadonlySet<string> {
    const labels = new Set<string>();
    this.#expect("(");
    while (!this.#accept(")")) {
      if (labels.size > 0) this.#expect(",");
      if (labels.size > 0 && this.#accept(")")) break;
      const token = this.#take();
      if (token.kind !== "name") throw this.#unexpected(token);
      labels.add(token.text);
    }
    return labels;
  }

  #selector(token: Token, name: string | undefined): Expression {
    const matchers: Matcher[] = name === undefined ? [] : [matcherOf("__name__", "=", name)];
    if (this.#accept("{")) {
      let isFirst = true;
      while (!this.#accept("}")) {
        if (!isFirst) this.#expect(",");
        if (!isFirst && this.#accept("}")) break;
        matchers.push(this.#matcher());
        isFirst = false;
      }
    }
    if (!matchers.some((matcher) => !matcher.matches(""))) {
      throw this.#error(
        token,
        "a selector needs at least one condition that does not match nothing",
      );
    }
    const bracket = this.#peek();
    const at = token.at;
    if (bracket.text !== "[" || bracket.kind !== "symbol")
      return { kind: "selector", at, matchers };
    this.#next++;
    const duration = this.#take();
    const rangeMs = parseDuration(duration.text);
    if (duration.kind !== "duration" || rangeMs === undefined || rangeMs === 0) {
      throw this.#error(duration, "expected a duration like 5m");
    }
    if (this.#peek().text.startsWith(":"))
      throw this.#error(this.#peek(), "subqueries are not supported");
    this.#expect("]");
    return { kind: "range", at, matchers, rangeMs };
  }

  #matcher(): Matcher {
    const label = this.#take();
    if (label.kind !== "name") throw this.#unexpected(label);
    const op = this.#take();
    if (!isMatchOp(op.text)) throw this.#unexpected(op);
    const value = this.#take();
    if (value.kind !== "string") throw this.#unexpected(value);
    try {
      return matcherOf(label.text, op.text, value.text);
    } catch (error) {
      if (error instanceof HeddleError) throw this.#error(value, error.message);
      throw error;
    }
  }

  #requireValue(of: Expression): void {
    if (of.kind === "range" || of.kind === "string") {
      throw parseError(this.#query, of.at, `a ${of.kind} cannot stand here`);
    }
  }

  #levelOf(token: Token): number | undefined {
    if (refused.has(token.text)) throw this.#error(token, `${token.text} is not supported`);
    const isOperator = token.kind === "symbol" || token.kind === "name";
    return isOperator ? precedence.get(token.text) : undefined;
  }

  #peek(): Token {
    return this.#tokens[this.#next] ?? { kind: "end", text: "", at: this.#query.length };
  }

  #take(): Token {
    const token = this.#peek();
    if (token.kind !== "end") this.#next++;
    return token;
  }

  #accept(text: string): boolean {
    const token = this.#peek();
    if (token.kind === "string" || token.text !== text) return false;
    this.#next++;
    return true;
  }

  #expect(text: string): void {
    if (!this.#accept(text)) throw this.#unexpected(this.#peek(), text);
  }

  #unexpected(token: Token, wanted?: string): HeddleError {
    const found = token.kind === "end" ? "the query ends too early" : `unexpected ${token.text}`;
    return this.#error(token, wanted === undefined ? found : `${found}, expected ${wanted}`);
  }

  #error(token: Token, reason: string): HeddleError {
    return parseError(this.#query, token.at, reason);
  }
}

function isAggregate(text: string): text is AggregateOp {
  return aggregates.has(text);
}

function isBinaryOp(text: string): text is BinaryOp {
  return precedence.has(text);
}

function isMatchOp(text: string): text is MatchOp {
  return matchOps.has(text);
}
