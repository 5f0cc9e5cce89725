/** CEL expressions that come parsed (`google.api.expr`), as policies have them, read as our own tree. */
import { type CelExpression as Expression, compileCelTree } from "../../telemetry/cel.ts";
import type {
  Constant,
  Expr,
  Expr_Call,
} from "../../wire/gen/ts/google/api/expr/v1alpha1/syntax.ts";
import type { Condition } from "./condition.ts";
import { compileSearch } from "./regex.ts";
import { refuse } from "./refusal.ts";

const depthMax = 100;

/** What there is of a connection that carries no requests. */
const connectionNames: ReadonlySet<string> = new Set(["connection", "source", "destination"]);

/** Throws a refusal for names, functions and forms that are not known. */
export function celCondition(expression: Expr, path: string, isHttp: boolean): Condition {
  const tree = treeOf(expression, path, 0);
  const strange = isHttp ? undefined : namesOf(tree).find((name) => !connectionNames.has(name));
  if (strange !== undefined) refuse(path, `'${strange}' is not supported for connections`);
  const holds = compileCelTree(tree, (pattern) => compileSearch(pattern, path));
  return typeof holds === "string" ? refuse(path, holds) : { kind: "expression", holds };
}

function treeOf(expr: Expr | undefined, path: string, depth: number): Expression {
  if (depth > depthMax) return refuse(path, "is nested too deeply");
  const inner = (one: Expr | undefined): Expression => treeOf(one, path, depth + 1);
  if (expr?.constExpr !== undefined) {
    return { kind: "literal", value: literalOf(expr.constExpr, path) };
  }
  if (expr?.identExpr !== undefined) return { kind: "name", name: expr.identExpr.name };
  if (expr?.selectExpr !== undefined) {
    const { operand, field: name, testOnly } = expr.selectExpr;
    const field: Expression = { kind: "field", of: inner(operand), name };
    return testOnly ? { kind: "call", name: "has", of: undefined, given: [field] } : field;
  }
  if (expr?.callExpr !== undefined) return callOf(expr.callExpr, path, inner);
  if (expr?.listExpr !== undefined) {
    return { kind: "list", items: expr.listExpr.elements.map(inner) };
  }
  return refuse(path, "has a form of expression that is not supported");
}

function namesOf(tree: Expression): readonly string[] {
  switch (tree.kind) {
    case "literal":
      return [];
    case "name":
      return [tree.name];
    case "field":
    case "not":
    case "minus":
      return namesOf(tree.of);
    case "index":
      return [...namesOf(tree.of), ...namesOf(tree.at)];
    case "binary":
      return [...namesOf(tree.left), ...namesOf(tree.right)];
    case "choice":
      return [tree.test, tree.yes, tree.no].flatMap(namesOf);
    case "list":
      return tree.items.flatMap(namesOf);
    case "call":
      return [...(tree.of === undefined ? [] : [tree.of]), ...tree.given].flatMap(namesOf);
  }
}

/** Operators are functions with such names. */
const binarySign = /^_(==|!=|<|<=|>|>=|&&|\|\||\+|-|\*|\/|%)_$/;

function callOf(
  { function: name, target, args }: Expr_Call,
  path: string,
  inner: (expr: Expr | undefined) => Expression,
): Expression {
  const [a, b, c] = args;
  const sign = name === "@in" || name === "_in_" ? "in" : binarySign.exec(name)?.[1];
  if (sign !== undefined) {
    if (args.length !== 2) return refuse(path, `${name} needs two arguments`);
    return { kind: "binary", sign, left: inner(a), right: inner(b) };
  }
  switch (name) {
    case "!_":
      return { kind: "not", of: inner(a) };
    case "-_":
      return { kind: "minus", of: inner(a) };
    case "_[_]":
      return { kind: "index", of: inner(a), at: inner(b) };
    case "_?_:_":
      return { kind: "choice", test: inner(a), yes: inner(b), no: inner(c) };
    default: {
      const of = target === undefined ? undefined : inner(target);
      return { kind: "call", name, of, given: args.map(inner) };
    }
  }
}

function literalOf(constant: Constant, path: string): string | number | boolean | null {
  const { stringValue, boolValue, doubleValue, nullValue } = constant;
  const value = stringValue ?? boolValue ?? doubleValue;
  if (value !== undefined) return value;
  const whole = constant.int64Value ?? constant.uint64Value;
  if (whole !== undefined) {
    const number = Number(whole);
    return Number.isSafeInteger(number) ? number : refuse(path, `${whole} is too large`);
  }
  if (nullValue !== undefined) return null;
  return refuse(path, "has a constant of a kind that is not supported");
}
