/** The scalar types of Istio's configuration: text, numbers, durations, hostnames, patterns. */
import { RE2JS } from "re2js";

import { messageOf } from "../base/error.ts";
import { nearestName } from "./nearest-name.ts";
import type { Type } from "./schema.ts";
import { refine, wrongType } from "./schema.ts";

export const text: Type<string> = {
  expects: "text",
  decode: (node, place) =>
    node.kind === "scalar" && typeof node.value === "string"
      ? node.value
      : wrongType(node, place, "text"),
};

export const nonEmptyText: Type<string> = refine(text, (value, node, place) =>
  value === ""
    ? place.complain(node.position, { code: "config.empty", message: "must not be empty" })
    : value,
);

export const flag: Type<boolean> = {
  expects: "true or false",
  decode: (node, place) =>
    node.kind === "scalar" && typeof node.value === "boolean"
      ? node.value
      : wrongType(node, place, "true or false"),
};

export interface NumberLimits {
  readonly min?: number;
  readonly max?: number;
}

export function number(limits: NumberLimits = {}): Type<number> {
  return {
    expects: "a number",
    decode(node, place) {
      if (node.kind !== "scalar" || typeof node.value !== "number") {
        return wrongType(node, place, "a number");
      }
      const { min = -Infinity, max = Infinity } = limits;
      if (node.value < min || node.value > max) {
        const range = max === Infinity ? `at least ${min}` : `from ${min} to ${max}`;
        const message = `${node.value} is out of range, it must be ${range}`;
        return place.complain(node.position, { code: "config.out-of-range", message });
      }
      return node.value;
    },
  };
}

export function integer(limits: NumberLimits = {}): Type<number> {
  return refine(
    number({ min: -(2 ** 31), max: 2 ** 32 - 1, ...limits }),
    (value, node, place) =>
      Number.isInteger(value) ? value : wrongType(node, place, "a whole number"),
    "a whole number",
  );
}

export const portNumber: Type<number> = integer({ min: 1, max: 65535 });
export const percent: Type<number> = number({ min: 0, max: 100 });

export function oneOf<const Name extends string>(...names: readonly Name[]): Type<Name> {
  return {
    expects: `one of ${names.join(", ")}`,
    decode(node, place) {
      const value = node.kind === "scalar" ? node.text : undefined;
      const known = names.find((name) => name === value);
      if (known !== undefined) return known;
      if (value === undefined) return wrongType(node, place, `one of ${names.join(", ")}`);
      const near = nearestName(value, names);
      return place.complain(node.position, {
        code: "config.bad-enum",
        message: `${value} is not one of ${names.join(", ")}`,
        hint: near === undefined ? undefined : `did you mean ${near}?`,
      });
    },
  };
}

/** Istio's durations (`5s`, `1.5s`, `1h30m`, `10ms`) in milliseconds, with fractions. */
export function duration(
  limits: { readonly minMs?: number; readonly maxMs?: number } = {},
): Type<number> {
  return {
    expects: "a duration",
    decode(node, place) {
      const value = node.kind === "scalar" ? parseDurationMs(node.text) : undefined;
      if (value === undefined) {
        const message = `${node.kind === "scalar" ? node.text : `a ${node.kind}`} is not a duration`;
        const hint = "write for example 500ms, 5s or 1h30m";
        return place.complain(node.position, { code: "config.bad-duration", message, hint });
      }
      const { minMs = 0, maxMs = 365 * 86_400_000 } = limits;
      if (value < minMs || value > maxMs) {
        const message = `must be from ${minMs}ms to ${maxMs}ms`;
        return place.complain(node.position, { code: "config.out-of-range", message });
      }
      return value;
    },
  };
}

const unitsMs: ReadonlyMap<string, number> = new Map([
  ["ns", 1e-6],
  ["us", 1e-3],
  ["µs", 1e-3],
  ["ms", 1],
  ["s", 1000],
  ["m", 60_000],
  ["h", 3_600_000],
]);

export function parseDurationMs(value: string): number | undefined {
  if (value === "0") return 0;
  if (!/^(?:[0-9]+(?:\.[0-9]*)?(?:ns|us|µs|ms|s|m|h))+$/.test(value)) return undefined;
  let total = 0;
  for (const [, amount, unit] of value.matchAll(/([0-9.]+)(ns|us|µs|ms|s|m|h)/g)) {
    total += Number(amount) * (unitsMs.get(unit ?? "") ?? 0);
  }
  return total;
}

/** A regular expression of RE2, which is what the data planes run. */
export const regex: Type<string> = refine(text, (value, node, place) => {
  if (value.length > 1024) {
    const message = "the expression has more than 1024 characters";
    return place.complain(node.position, { code: "config.bad-regex", message });
  }
  try {
    RE2JS.compile(value);
    return value;
  } catch (error) {
    const message = `not an RE2 expression: ${messageOf(error)}`;
    return place.complain(node.position, { code: "config.bad-regex", message });
  }
});

const label = "[a-zA-Z0-9_](?:[a-zA-Z0-9_-]*[a-zA-Z0-9_])?";
const hostnamePattern = new RegExp(`^(?:\\*|(?:\\*\\.)?${label}(?:\\.${label})*\\.?)$`);
const addressPattern = /^(?:[0-9]{1,3}(?:\.[0-9]{1,3}){3}|\[?[0-9a-fA-F:]*:[0-9a-fA-F:.]*\]?)$/;

/** A DNS name, `*`, or `*.` before a name; addresses where `allowsAddress`. */
export function hostname(
  options: { readonly allowsAddress?: boolean; readonly allowsWildcard?: boolean } = {},
): Type<string> {
  const { allowsAddress = false, allowsWildcard = true } = options;
  return refine(text, (value, node, place) => {
    if (addressPattern.test(value)) {
      if (allowsAddress) return value;
      const message = `${value} is an address, a name is needed`;
      return place.complain(node.position, { code: "config.bad-hostname", message });
    }
    if (value.length > 255 || !hostnamePattern.test(value)) {
      const message = `${JSON.stringify(value)} is not a hostname`;
      return place.complain(node.position, { code: "config.bad-hostname", message });
    }
    if (!allowsWildcard && value.startsWith("*")) {
      const message = `${value}: a wildcard cannot stand here`;
      return place.complain(node.position, { code: "config.bad-hostname", message });
    }
    return value;
  });
}

export function isCidr(value: string): boolean {
  const [address = "", length, ...rest] = value.split("/");
  if (rest.length > 0 || !(isIpv4(address) || isIpv6(address))) return false;
  const max = address.includes(":") ? 128 : 32;
  return length === undefined || (/^[0-9]{1,3}$/.test(length) && Number(length) <= max);
}

/** `10.0.0.0/8`, `10.1.2.3`, `fd00::/8`. */
export const cidr: Type<string> = refine(text, (value, node, place) =>
  isCidr(value)
    ? value
    : place.complain(node.position, {
        code: "config.bad-address",
        message: `${JSON.stringify(value)} is neither an address nor a CIDR range`,
      }),
);

export function isIpv6(value: string): boolean {
  const [head = "", tail, ...rest] = value.split("::");
  if (!value.includes(":") || rest.length > 0) return false;
  const groups = (part: string): string[] => (part === "" ? [] : part.split(":"));
  const all = [...groups(head), ...groups(tail ?? "")];
  const last = all.at(-1) ?? "";
  const width = all.length + (isIpv4(last) ? 1 : 0);
  const isGroup = (group: string, index: number): boolean =>
    /^[0-9a-fA-F]{1,4}$/.test(group) || (index === all.length - 1 && isIpv4(group));
  return all.every(isGroup) && (tail === undefined ? width === 8 : width < 8);
}

export function isIpv4(value: string): boolean {
  const parts = value.split(".");
  return (
    parts.length === 4 && parts.every((part) => /^[0-9]{1,3}$/.test(part) && Number(part) < 256)
  );
}

/** Whether it is an IP address rather than a name. */
export function isAddress(value: string): boolean {
  return isIpv4(value) || isIpv6(value);
}

const headerNamePattern = /^[!#$%&'*+.^_`|~0-9A-Za-z-]+$/;

export const headerName: Type<string> = refine(text, (value, node, place) =>
  headerNamePattern.test(value)
    ? value
    : place.complain(node.position, {
        code: "config.bad-header-name",
        message: `${JSON.stringify(value)} is not a header name`,
      }),
);
