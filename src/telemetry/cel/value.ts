/**
 * Values of CEL while an expression is evaluated. An error is a value, too: `&&` and `||` go on where
 * the other side decides, and everything else passes it up.
 */
export class CelError {
  readonly reason: string;

  constructor(reason: string) {
    this.reason = reason;
  }
}

/** A span of time. */
export class CelDuration {
  readonly ms: number;

  constructor(ms: number) {
    this.ms = ms;
  }
}

/** A point in time. */
export class CelTimestamp {
  readonly ms: number;

  constructor(ms: number) {
    this.ms = ms;
  }
}

/** Something with keys: the fields of a head, metadata. */
export interface CelMap {
  readonly isCelMap: true;
  /** Undefined: there is no such key. */
  get(key: string): CelValue | undefined;
}

export type CelValue =
  | string
  | number
  | boolean
  | null
  | CelError
  | CelDuration
  | CelTimestamp
  | CelMap
  | readonly CelValue[];

export function isMap(value: CelValue): value is CelMap {
  return typeof value === "object" && value !== null && "isCelMap" in value;
}

export function isList(value: CelValue): value is readonly CelValue[] {
  return Array.isArray(value);
}

/** A map over plain JSON. */
export function mapOf(value: Readonly<Record<string, unknown>>): CelMap {
  return {
    isCelMap: true,
    get: (key) => (Object.hasOwn(value, key) ? plain(value[key]) : undefined),
  };
}

function plain(value: unknown): CelValue | undefined {
  if (typeof value === "string" || typeof value === "number" || typeof value === "boolean") {
    return value;
  }
  if (value === null) return null;
  if (typeof value !== "object") return undefined;
  if (Array.isArray(value)) return value.map((item) => plain(item) ?? null);
  return mapOf(Object.fromEntries(Object.entries(value)));
}

export function isEqual(left: CelValue, right: CelValue): boolean {
  if (isList(left) && isList(right)) {
    return left.length === right.length && left.every((item, i) => isEqual(item, right[i] ?? null));
  }
  if (left instanceof CelDuration) return right instanceof CelDuration && left.ms === right.ms;
  if (left instanceof CelTimestamp) return right instanceof CelTimestamp && left.ms === right.ms;
  return left === right;
}

/** Below 0, 0 or above; an error for what has no order. */
export function compare(left: CelValue, right: CelValue): number | CelError {
  if (typeof left === "number" && typeof right === "number") return left - right;
  if (typeof left === "string" && typeof right === "string") {
    return left < right ? -1 : Number(left > right);
  }
  const areDurations = left instanceof CelDuration && right instanceof CelDuration;
  const areTimes = left instanceof CelTimestamp && right instanceof CelTimestamp;
  if (areDurations || areTimes) return left.ms - right.ms;
  return new CelError("values of different types have no order");
}
