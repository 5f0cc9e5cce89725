/** Header and string matchers and header changes, word by word as Envoy documents them. */
import type { RequestView } from "../../../src/proxy/engine/request.ts";
import {
  HeaderValueOption_HeaderAppendAction as AppendAction,
  type HeaderValueOption,
} from "../../../src/wire/gen/ts/envoy/config/core/v3/base.ts";
import type { HeaderMatcher } from "../../../src/wire/gen/ts/envoy/config/route/v3/route_components.ts";
import type { StringMatcher } from "../../../src/wire/gen/ts/envoy/type/matcher/v3/string.ts";

/** For patterns of the tests alone: plain syntax that RE2 and JavaScript read alike, but the dot. */
export function matchesWhole(pattern: string, text: string): boolean {
  return new RegExp(`^(?:${pattern.replaceAll(".", "[^\\n]")})$`).test(text);
}

/** Fields of a head are kept byte for byte, one character each. */
const bytes = (text: string): string => Buffer.from(text, "utf8").toString("latin1");

export function oracleBytes(matcher: StringMatcher, value: string): boolean {
  const { exact, prefix, suffix, contains, safeRegex } = matcher;
  return oracleText(
    {
      ...matcher,
      exact: exact === undefined ? undefined : bytes(exact),
      prefix: prefix === undefined ? undefined : bytes(prefix),
      suffix: suffix === undefined ? undefined : bytes(suffix),
      contains: contains === undefined ? undefined : bytes(contains),
      safeRegex: safeRegex && { ...safeRegex, regex: bytes(safeRegex.regex) },
    },
    value,
  );
}

export function oracleText(matcher: StringMatcher, value: string): boolean {
  if (matcher.safeRegex !== undefined) return matchesWhole(matcher.safeRegex.regex, value);
  const fold = (text: string): string => (matcher.ignoreCase ? lower(text) : text);
  if (matcher.exact !== undefined) return fold(value) === fold(matcher.exact);
  if (matcher.prefix !== undefined) return fold(value).startsWith(fold(matcher.prefix));
  if (matcher.suffix !== undefined) return fold(value).endsWith(fold(matcher.suffix));
  if (matcher.contains !== undefined) return fold(value).includes(fold(matcher.contains));
  throw new Error("the test's matcher has no pattern");
}

export function oracleHeader(matcher: HeaderMatcher, request: RequestView): boolean {
  const found = request.header(lower(matcher.name));
  const value = found ?? (matcher.treatMissingHeaderAsEmpty ? "" : undefined);
  const holds = headerValueHolds(matcher, value);
  if (holds === "no value to look at") return false;
  return matcher.invertMatch ? !holds : holds;
}

function headerValueHolds(
  matcher: HeaderMatcher,
  value: string | undefined,
): boolean | "no value to look at" {
  const asked =
    matcher.stringMatch !== undefined ||
    matcher.exactMatch !== undefined ||
    matcher.prefixMatch !== undefined ||
    matcher.suffixMatch !== undefined ||
    matcher.containsMatch !== undefined ||
    matcher.safeRegexMatch !== undefined ||
    matcher.rangeMatch !== undefined;
  if (!asked) return (value !== undefined) === (matcher.presentMatch ?? true);
  if (value === undefined) return "no value to look at";
  if (matcher.stringMatch !== undefined) return oracleBytes(matcher.stringMatch, value);
  if (matcher.exactMatch !== undefined) return value === bytes(matcher.exactMatch);
  if (matcher.prefixMatch !== undefined) return value.startsWith(bytes(matcher.prefixMatch));
  if (matcher.suffixMatch !== undefined) return value.endsWith(bytes(matcher.suffixMatch));
  if (matcher.containsMatch !== undefined) return value.includes(bytes(matcher.containsMatch));
  if (matcher.safeRegexMatch !== undefined) {
    return matchesWhole(bytes(matcher.safeRegexMatch.regex), value);
  }
  const { start = 0n, end = 0n } = matcher.rangeMatch ?? {};
  if (!/^[+-]?\d{1,19}$/.test(value)) return false;
  const number = BigInt(value.replace("+", ""));
  return number >= start && number < end;
}

export type HeaderList = readonly (readonly [name: string, value: string])[];

/** Removals of a level come before its additions. Values are literals. */
export function oracleHeaderChanges(
  headers: HeaderList,
  removals: readonly string[],
  additions: readonly HeaderValueOption[],
): HeaderList {
  let list = headers.filter(([name]) => !removals.some((removed) => lower(removed) === name));
  for (const { header, append, appendAction, keepEmptyValue } of additions) {
    const name = lower(header?.key ?? "");
    const value = bytes(header?.value ?? "");
    if (value === "" && !keepEmptyValue) continue;
    const isThere = list.some(([other]) => other === name);
    const others = list.filter(([other]) => other !== name);
    const action =
      append === undefined
        ? appendAction
        : append
          ? AppendAction.APPEND_IF_EXISTS_OR_ADD
          : AppendAction.OVERWRITE_IF_EXISTS_OR_ADD;
    if (action === AppendAction.APPEND_IF_EXISTS_OR_ADD) list = [...list, [name, value]];
    if (action === AppendAction.ADD_IF_ABSENT && !isThere) list = [...list, [name, value]];
    if (action === AppendAction.OVERWRITE_IF_EXISTS_OR_ADD) list = [...others, [name, value]];
    if (action === AppendAction.OVERWRITE_IF_EXISTS && isThere) list = [...others, [name, value]];
  }
  return list;
}

export function lower(text: string): string {
  return text
    .split("")
    .map((char) => (char >= "A" && char <= "Z" ? char.toLowerCase() : char))
    .join("");
}
