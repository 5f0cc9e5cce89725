/**
 * CEL expressions over a finished request, compiled to closures when configuration arrives. What the
 * language has and access logs do not need (macros, division, messages) is refused by name, and so
 * is every attribute and function that is not known: an expression either means what it says or is
 * not taken. Integers are numbers, exact to 2^53.
 */
import type { OperatorValue } from "./access-log-operators.ts";
import type { Expression } from "./cel/ast.ts";
import { type Attribute, attributes } from "./cel/attributes.ts";
import { formatDuration, formatTimestamp, jsonDuration, jsonTimestamp } from "./cel/format.ts";
import { celFunctions } from "./cel/functions.ts";
import { CelSyntaxError, parseCel } from "./cel/parser.ts";
import {
  CelDuration,
  CelError,
  CelTimestamp,
  type CelValue,
  compare,
  isEqual,
  isList,
  isMap,
} from "./cel/value.ts";
import type { RequestRecord } from "./request-record.ts";

export type { Expression as CelExpression };

/** Compiles a pattern of RE2 for a search anywhere in a text; throws when it is malformed. */
export type CompilePattern = (pattern: string) => (text: string) => boolean;

type Evaluate = (record: RequestRecord) => CelValue;

/** Whether the expression holds; one that fails does not. A string says why it is refused. */
export function compileCelFilter(
  expression: string,
  compilePattern: CompilePattern,
): ((record: RequestRecord) => boolean) | string {
  const evaluate = compileCel(expression, compilePattern);
  return typeof evaluate === "string" ? evaluate : (record) => evaluate(record) === true;
}

/** The same for an expression that was parsed elsewhere. */
export function compileCelTree(
  expression: Expression,
  compilePattern: CompilePattern,
): ((record: RequestRecord) => boolean) | string {
  const evaluate = compileTree(() => expression, compilePattern);
  return typeof evaluate === "string" ? evaluate : (record) => evaluate(record) === true;
}

/** The value for a log, as text like Envoy; nothing where the expression fails. */
export function compileCelOperator(
  expression: string,
  compilePattern: CompilePattern,
): ((record: RequestRecord) => OperatorValue) | string {
  const evaluate = compileCel(expression, compilePattern);
  return typeof evaluate === "string" ? evaluate : (record) => shown(evaluate(record));
}

/** The same with the types that JSON has; lists are lists. */
export function compileTypedCelOperator(
  expression: string,
  compilePattern: CompilePattern,
): ((record: RequestRecord) => OperatorValue) | string {
  const evaluate = compileCel(expression, compilePattern);
  return typeof evaluate === "string" ? evaluate : (record) => typed(evaluate(record));
}

function typed(value: CelValue): OperatorValue {
  if (isList(value)) return value.map((item) => typed(item) ?? null);
  if (value instanceof CelDuration) return jsonDuration(value.ms);
  if (value instanceof CelTimestamp) return jsonTimestamp(value.ms);
  return typeof value === "object" ? shown(value) : value;
}

function shown(value: CelValue): OperatorValue {
  if (value instanceof CelError || value === null || isMap(value)) return undefined;
  if (value instanceof CelDuration) return formatDuration(value.ms);
  if (value instanceof CelTimestamp) return formatTimestamp(value.ms);
  return isList(value) ? undefined : String(value);
}

function compileCel(source: string, compilePattern: CompilePattern): Evaluate | string {
  return compileTree(() => parseCel(source), compilePattern);
}

function compileTree(parse: () => Expression, compilePattern: CompilePattern): Evaluate | string {
  try {
    return new Compiler(compilePattern).compile(parse());
  } catch (thrown) {
    if (thrown instanceof CelSyntaxError) return `the expression ${thrown.message}`;
    throw thrown;
  }
}

const missing = new CelError("no such key");
const noOverload = new CelError("no such overload");

class Compiler {
  readonly #compilePattern: CompilePattern;

  constructor(compilePattern: CompilePattern) {
    this.#compilePattern = compilePattern;
  }

  compile(expression: Expression): Evaluate {
    switch (expression.kind) {
      case "literal": {
        const { value } = expression;
        return () => value;
      }
      case "name":
        throw new CelSyntaxError(`names '${expression.name}', which is not known`);
      case "field":
        return this.#field(expression.of, expression.name);
      case "index":
        return selection(this.compile(expression.of), this.compile(expression.at));
      case "list": {
        const items = expression.items.map((item) => this.compile(item));
        return (record) => items.map((item) => item(record));
      }
      case "not":
        return unary(this.compile(expression.of), (value) =>
          typeof value === "boolean" ? !value : noOverload,
        );
      case "minus":
        return unary(this.compile(expression.of), (value) =>
          typeof value === "number" ? -value : noOverload,
        );
      case "choice":
        return this.#choice(expression);
      case "binary":
        return this.#binary(expression);
      case "call":
        return this.#call(expression);
    }
  }

  #field(of: Expression, name: string): Evaluate {
    const attribute = attributeOf(of, name);
    if (attribute !== undefined) return (record) => attribute(record) ?? missing;
    return selection(this.compile(of), () => name);
  }

  #choice({ test, yes, no }: Expression & { kind: "choice" }): Evaluate {
    const [decide, then, otherwise] = [this.compile(test), this.compile(yes), this.compile(no)];
    return (record) => {
      const decision = decide(record);
      if (typeof decision !== "boolean") {
        return decision instanceof CelError ? decision : noOverload;
      }
      return decision ? then(record) : otherwise(record);
    };
  }

  #binary({ sign, left, right }: Expression & { kind: "binary" }): Evaluate {
    const a = this.compile(left);
    const b = this.compile(right);
    if (sign === "&&" || sign === "||") return logic(a, b, sign === "||");
    const operation = binaryOperations.get(sign);
    if (operation === undefined) throw new CelSyntaxError(`uses '${sign}', which is not supported`);
    return (record) => {
      const x = a(record);
      if (x instanceof CelError) return x;
      const y = b(record);
      return y instanceof CelError ? y : operation(x, y);
    };
  }

  #call({ name, of, given }: Expression & { kind: "call" }): Evaluate {
    const [first] = given;
    if (name === "has" && of === undefined) return this.#has(given);
    if (name === "matches") return this.#matches(of ?? first, of === undefined ? given[1] : first);
    const all = of === undefined ? given : [of, ...given];
    const found = celFunctions.get(`${name}/${all.length}`);
    if (found === undefined) {
      throw new CelSyntaxError(`calls ${name}() with ${all.length}, which is not supported`);
    }
    const values = all.map((one) => this.compile(one));
    return (record) => {
      const evaluated = values.map((value) => value(record));
      return evaluated.find((value) => value instanceof CelError) ?? found(evaluated);
    };
  }

  #has(given: readonly Expression[]): Evaluate {
    const [field] = given;
    if (field?.kind !== "field" || given.length !== 1) {
      throw new CelSyntaxError("calls has() without a field");
    }
    const value = this.compile(field);
    return (record) => {
      const found = value(record);
      return found === missing ? false : found instanceof CelError ? found : true;
    };
  }

  #matches(text: Expression | undefined, pattern: Expression | undefined): Evaluate {
    if (text === undefined || pattern?.kind !== "literal" || typeof pattern.value !== "string") {
      throw new CelSyntaxError("calls matches() with a pattern that is no literal");
    }
    const value = this.compile(text);
    const test = this.#compilePattern(pattern.value);
    return unary(value, (subject) => (typeof subject === "string" ? test(subject) : noOverload));
  }
}

/** `request.path` and its like; undefined when `of` is no root. */
function attributeOf(of: Expression, name: string): Attribute | undefined {
  if (of.kind !== "name") return undefined;
  const root = Object.hasOwn(attributes, of.name) ? attributes[of.name] : undefined;
  if (root === undefined) {
    throw new CelSyntaxError(`names '${of.name}', which is not known`);
  }
  const attribute = Object.hasOwn(root, name) ? root[name] : undefined;
  if (attribute !== undefined) return attribute;
  throw new CelSyntaxError(`names ${of.name}.${name}, which is not known`);
}

function unary(of: Evaluate, operation: (value: CelValue) => CelValue): Evaluate {
  return (record) => {
    const value = of(record);
    return value instanceof CelError ? value : operation(value);
  };
}

/** Either side decides, whatever becomes of the other. */
function logic(a: Evaluate, b: Evaluate, decisive: boolean): Evaluate {
  return (record) => {
    const x = a(record);
    if (x === decisive) return decisive;
    const y = b(record);
    if (y === decisive) return decisive;
    if (typeof x !== "boolean") return x instanceof CelError ? x : noOverload;
    return typeof y === "boolean" || y instanceof CelError ? y : noOverload;
  };
}

function selection(of: Evaluate, at: Evaluate): Evaluate {
  return (record) => {
    const whole = of(record);
    if (whole instanceof CelError) return whole;
    const key = at(record);
    if (key instanceof CelError) return key;
    if (isMap(whole) && typeof key === "string") return whole.get(key) ?? missing;
    if (isList(whole) && typeof key === "number") return whole[key] ?? missing;
    return noOverload;
  };
}

type BinaryOperation = (left: CelValue, right: CelValue) => CelValue;

function ordered(holds: (order: number) => boolean): BinaryOperation {
  return (left, right) => {
    const order = compare(left, right);
    return order instanceof CelError ? order : holds(order);
  };
}

function arithmetic(of: (left: number, right: number) => number): BinaryOperation {
  return (left, right) =>
    typeof left === "number" && typeof right === "number" ? of(left, right) : noOverload;
}

const binaryOperations: ReadonlyMap<string, BinaryOperation> = new Map<string, BinaryOperation>([
  ["==", isEqual],
  ["!=", (left, right) => !isEqual(left, right)],
  ["<", ordered((order) => order < 0)],
  ["<=", ordered((order) => order <= 0)],
  [">", ordered((order) => order > 0)],
  [">=", ordered((order) => order >= 0)],
  [
    "+",
    (left, right) =>
      typeof left === "string" && typeof right === "string"
        ? left + right
        : arithmetic((a, b) => a + b)(left, right),
  ],
  ["-", arithmetic((left, right) => left - right)],
  ["*", arithmetic((left, right) => left * right)],
  [
    "in",
    (left, right) => {
      if (isList(right)) return right.some((item) => isEqual(left, item));
      return isMap(right) && typeof left === "string" ? right.get(left) !== undefined : noOverload;
    },
  ],
]);
