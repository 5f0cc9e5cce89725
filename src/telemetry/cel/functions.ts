/** Functions that expressions may call; a name that is not here refuses the expression. */
import { CelDuration, CelError, CelTimestamp, type CelValue, isList } from "./value.ts";

export type CelFunction = (given: readonly CelValue[]) => CelValue;

const noOverload = new CelError("no such overload");

/** Both given are strings. */
function onStrings(of: (text: string, other: string) => CelValue): CelFunction {
  return ([text, other]) =>
    typeof text === "string" && typeof other === "string" ? of(text, other) : noOverload;
}

const unitsMs: Readonly<Record<string, number>> = {
  h: 3_600_000,
  m: 60_000,
  s: 1000,
  ms: 1,
  us: 0.001,
  ns: 0.000_001,
};

/** `1h30m`, `-1.5s`. */
function parseDuration(text: string): CelDuration | CelError {
  const parts = /^(-?)((?:\d+(?:\.\d+)?(?:h|ms|m|s|us|ns))+)$/.exec(text);
  if (parts === null) return new CelError(`'${text}' is no duration`);
  let ms = 0;
  for (const [, count, unit = ""] of (parts[2] ?? "").matchAll(
    /(\d+(?:\.\d+)?)(h|ms|m|s|us|ns)/g,
  )) {
    ms += Number(count) * (unitsMs[unit] ?? 0);
  }
  return new CelDuration(parts[1] === "-" ? -ms : ms);
}

function toText(value: CelValue): CelValue {
  if (typeof value === "string") return value;
  if (typeof value === "number" || typeof value === "boolean") return String(value);
  if (value instanceof CelDuration) return `${value.ms / 1000}s`;
  return value instanceof CelTimestamp ? new Date(value.ms).toISOString() : noOverload;
}

function toInt(value: CelValue): CelValue {
  if (typeof value === "number") return Math.trunc(value);
  if (value instanceof CelTimestamp) return Math.floor(value.ms / 1000);
  if (typeof value !== "string" || !/^-?\d+$/.test(value)) return new CelError("is no number");
  return Number(value);
}

function sizeOf(value: CelValue): CelValue {
  if (typeof value === "string") return Array.from(value).length;
  return isList(value) ? value.length : noOverload;
}

const one =
  (of: (value: CelValue) => CelValue): CelFunction =>
  ([value]) =>
    of(value ?? null);

/** By name and how many are given, the one before the dot counted. */
export const celFunctions: ReadonlyMap<string, CelFunction> = new Map<string, CelFunction>([
  ["size/1", one(sizeOf)],
  ["contains/2", onStrings((text, other) => text.includes(other))],
  ["startsWith/2", onStrings((text, other) => text.startsWith(other))],
  ["endsWith/2", onStrings((text, other) => text.endsWith(other))],
  ["string/1", one(toText)],
  ["int/1", one(toInt)],
  ["uint/1", one(toInt)],
  [
    "double/1",
    one((value) => {
      const number = typeof value === "string" && value !== "" ? Number(value) : value;
      return typeof number === "number" && !Number.isNaN(number)
        ? number
        : new CelError("is no number");
    }),
  ],
  ["duration/1", one((value) => (typeof value === "string" ? parseDuration(value) : noOverload))],
  [
    "timestamp/1",
    one((value) => {
      const ms = typeof value === "string" ? Date.parse(value) : Number.NaN;
      return Number.isNaN(ms) ? new CelError("is no timestamp") : new CelTimestamp(ms);
    }),
  ],
]);
