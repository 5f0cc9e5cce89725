import type { HeaderMatcher } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import type { Int64Range } from "../../wire/gen/ts/envoy/type/v3/range.ts";
import { refuse } from "./refusal.ts";
import { compileRegex } from "./regex.ts";
import { compileStringMatcher, lowerAscii, type TextPredicate } from "./string-matcher.ts";

/** Looks a header up by lower-case name; several values are joined with `,`. */
export type HeaderLookup = (name: string) => string | undefined;

export type HeaderPredicate = (header: HeaderLookup) => boolean;

/**
 * Envoy's HeaderMatcher. A missing header fails every matcher of a value, also an inverted one,
 * unless `treat_missing_header_as_empty`.
 */
export function compileHeaderMatcher(matcher: HeaderMatcher, path: string): HeaderPredicate {
  const name = lowerAscii(matcher.name);
  if (name === "") refuse(`${path}.name`, "is required");
  const isInverted = matcher.invertMatch;
  const predicate = compileValue(matcher, path);
  const missing = matcher.treatMissingHeaderAsEmpty ? "" : undefined;
  if (predicate === undefined) {
    const wanted = (matcher.presentMatch ?? true) !== isInverted;
    if (missing !== undefined) return () => wanted;
    return (header) => (header(name) !== undefined) === wanted;
  }
  return (header) => {
    const value = header(name) ?? missing;
    return value !== undefined && predicate(value) !== isInverted;
  };
}

export function compileHeaderMatchers(
  matchers: readonly HeaderMatcher[],
  path: string,
): readonly HeaderPredicate[] {
  return matchers.map((matcher, i) => compileHeaderMatcher(matcher, `${path}[${i}]`));
}

/** Undefined when only presence is asked for. */
function compileValue(matcher: HeaderMatcher, path: string): TextPredicate | undefined {
  if (matcher.stringMatch !== undefined) {
    return compileStringMatcher(matcher.stringMatch, `${path}.string_match`);
  }
  if (matcher.exactMatch !== undefined) {
    const wanted = matcher.exactMatch;
    return (value) => value === wanted;
  }
  if (matcher.prefixMatch !== undefined) {
    const wanted = matcher.prefixMatch;
    return (value) => value.startsWith(wanted);
  }
  if (matcher.suffixMatch !== undefined) {
    const wanted = matcher.suffixMatch;
    return (value) => value.endsWith(wanted);
  }
  if (matcher.containsMatch !== undefined) {
    const wanted = matcher.containsMatch;
    return (value) => value.includes(wanted);
  }
  if (matcher.safeRegexMatch !== undefined) {
    const regex = compileRegex(matcher.safeRegexMatch, `${path}.safe_regex_match.regex`);
    return (value) => regex.matches(value);
  }
  if (matcher.rangeMatch !== undefined) return inRange(matcher.rangeMatch);
  return undefined;
}

/** Whole decimal int64 in [start, end). */
function inRange(range: Int64Range): TextPredicate {
  return (value) => {
    if (!/^[+-]?[0-9]{1,19}$/.test(value)) return false;
    const number = BigInt(value.startsWith("+") ? value.slice(1) : value);
    return number >= range.start && number < range.end;
  };
}
