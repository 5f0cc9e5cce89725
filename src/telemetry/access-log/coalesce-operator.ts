/** `%COALESCE({"operators": […]})%`: what the first of several operators says that says anything. */
import type { FormatExtensions, Operator } from "./operator.ts";

/** The operator of a name and of what stands in its parentheses, or why there is none. */
export type FindOperator = (
  name: string,
  argument: string | undefined,
  extensions: FormatExtensions,
) => Operator | string;

const needs = 'needs {"operators": [NAME or {"command": NAME, "param", "max_length"}, …]}';

export function coalesceOperator(
  argument: string,
  extensions: FormatExtensions,
  find: FindOperator,
): Operator | string {
  const operators: Operator[] = [];
  for (const entry of entriesOf(argument)) {
    const operator = entryOperator(entry, extensions, find);
    if (typeof operator === "string") return operator;
    operators.push(operator);
  }
  if (operators.length === 0) return needs;
  return (record) => {
    for (const operator of operators) {
      const value = operator(record);
      if (value !== undefined && value !== "" && value !== null) return value;
    }
    return undefined;
  };
}

/** None where the argument is malformed. */
function entriesOf(argument: string): readonly unknown[] {
  try {
    const { operators } = fieldsOf(JSON.parse(argument));
    return Array.isArray(operators) ? operators : [];
  } catch {
    return []; // it is no JSON, which the caller tells
  }
}

function fieldsOf(value: unknown): Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null ? { ...value } : {};
}

function entryOperator(
  entry: unknown,
  extensions: FormatExtensions,
  find: FindOperator,
): Operator | string {
  if (typeof entry === "string") return named(entry, undefined, { extensions, find });
  const { command, param, max_length: charsMax, ...others } = fieldsOf(entry);
  if (typeof command !== "string" || Object.keys(others).length > 0) return needs;
  if (param !== undefined && typeof param !== "string") return needs;
  const operator = named(command, param, { extensions, find });
  if (typeof operator === "string" || charsMax === undefined) return operator;
  if (typeof charsMax !== "number" || !Number.isInteger(charsMax) || charsMax <= 0) return needs;
  return shortened(operator, charsMax);
}

function named(
  name: string,
  argument: string | undefined,
  { extensions, find }: { readonly extensions: FormatExtensions; readonly find: FindOperator },
): Operator | string {
  const operator = find(name, argument, extensions);
  return typeof operator === "string" ? `names ${name}, which ${operator}` : operator;
}

/** Texts are cut; numbers are not. */
export function shortened(operator: Operator, charsMax: number): Operator {
  return (record) => {
    const value = operator(record);
    return typeof value === "string" ? value.slice(0, charsMax) : value;
  };
}
