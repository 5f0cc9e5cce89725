/**
 * Refuses what a message says and this data plane would not do. Each message has a table of the
 * fields that are honoured; a field outside it that is set refuses the resource, named by its path.
 * Fields unknown even to the schema are counted: they may come from a newer control plane.
 */
import { RefusalList } from "../engine/refusal.ts";

/**
 * `true`: honoured whole, or checked by its own compiler; a table: looked into; `absent`: refused
 * whatever it says; `zero`: what it says with zero is what is done anyway, and all else is refused.
 *
 * A scalar that can be told from none (a wrapper, an `optional` field, a member of a oneof) must have
 * a rule: its zero says something, and nobody but who writes the table knows whether that is done.
 */
export type Honoured<T> = {
  readonly [K in Exclude<keyof T, "_unknownFields" | PresentKey<T>>]?:
    | Rule
    | Honoured<Item<NonNullable<T[K]>>>;
} & { readonly [K in PresentKey<T>]: Rule };

type Rule = true | "absent" | "zero";

type Item<V> = V extends readonly (infer Element)[] ? Element : V;

type PresentKey<T> = Exclude<
  {
    [K in keyof T]-?: undefined extends T[K]
      ? NonNullable<T[K]> extends Scalar | JsonMap
        ? K
        : never
      : never;
  }[keyof T],
  "_unknownFields"
>;

type Scalar = boolean | number | bigint | string | Uint8Array;

/** A `Struct`. */
interface JsonMap {
  readonly [key: string]: unknown;
}

type Table = { readonly [field: string]: Rule | Table | undefined };

/** Adds to `unknown` how many fields the schema does not know. */
export interface UnknownFieldCount {
  count: number;
}

export function checkHonoured<T extends object>(
  message: T,
  table: Honoured<T>,
  path: string,
  unknown: UnknownFieldCount,
): void {
  const refusals = new RefusalList();
  // The mapped type has no index signature; its runtime shape is exactly this.
  check(message, table as Table, path, { unknown, refusals });
  refusals.throwIfAny();
}

/** The same for a message inside another, as its compiler decodes it. */
export function honoured<T extends object>(message: T, table: Honoured<T>, path: string): T {
  checkHonoured(message, table, path, { count: 0 });
  return message;
}

interface Found {
  readonly unknown: UnknownFieldCount;
  readonly refusals: RefusalList;
}

function check(message: object, table: Table, path: string, found: Found): void {
  for (const [field, value] of Object.entries(message)) {
    if (field === "_unknownFields") {
      found.unknown.count += Object.keys(value ?? {}).length;
      continue;
    }
    const rule = table[field];
    if (rule === "absent" ? value === undefined : !isSet(value)) continue;
    const place = path === "" ? protoName(field) : `${path}.${protoName(field)}`;
    if (rule === undefined || typeof rule === "string") {
      found.refusals.add(place, "is not supported");
    }
    if (typeof rule !== "object") continue;
    if (Array.isArray(value)) {
      for (const [i, item] of value.entries()) {
        if (isObject(item)) check(item, rule, `${place}[${i}]`, found);
      }
    } else if (isObject(value)) {
      check(value, rule, place, found);
    }
  }
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null;
}

/** Whether a field differs from what an absent one decodes to. */
function isSet(value: unknown): boolean {
  if (!isObject(value)) {
    return !(value === undefined || value === false || value === "" || Number(value) === 0);
  }
  if (Array.isArray(value) || value instanceof Uint8Array) return value.length > 0;
  return isMessage(value) || Object.keys(value).length > 0;
}

/** A message counts as set even when it is empty; a map does not. Only messages carry the marker. */
function isMessage(value: object): boolean {
  return "_unknownFields" in value;
}

function protoName(field: string): string {
  return field.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
}
