import type { HeaderMatcher } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { bytesOf } from "../../base/latin1.ts";
import type { StringMatcher } from "../../wire/gen/ts/envoy/type/matcher/v3/string.ts";
import type { Int64Range } from "../../wire/gen/ts/envoy/type/v3/range.ts";
import { always, type Condition, never } from "./condition.ts";
import { refuse } from "./refusal.ts";
import { compileBytesRegex } from "./regex.ts";
import { textTestOf } from "./string-matcher.ts";
import { lowerAscii, textPredicate, type TextPredicate, type TextTest } from "./text-test.ts";

/** Looks a header up by lower-case name; several values are joined with `,`. */
export type HeaderLookup = (name: string) => string | undefined;

export type HeaderPredicate = (header: HeaderLookup) => boolean;

/** Whose lines Envoy joins with `,` as it reads them, so that it compares the whole. */
const joinedNames: ReadonlySet<string> = new Set(
  `accept accept-encoding access-control-request-headers access-control-request-method
  access-control-request-private-network authorization cache-control connection content-encoding
  content-length content-type expect grpc-accept-encoding grpc-timeout if-match if-modified-since
  if-none-match if-range if-unmodified-since keep-alive origin pragma proxy-connection referer te
  transfer-encoding upgrade user-agent via x-client-trace-id x-envoy-attempt-count
  x-envoy-decorator-operation x-envoy-downstream-service-cluster x-envoy-downstream-service-node
  x-envoy-expected-rq-timeout-ms x-envoy-external-address x-envoy-force-trace
  x-envoy-hedge-on-per-try-timeout x-envoy-internal x-envoy-ip-tags x-envoy-is-timeout-retry
  x-envoy-max-retries x-envoy-original-path x-envoy-retriable-header-names
  x-envoy-retriable-status-codes x-envoy-retry-grpc-on x-envoy-retry-on
  x-envoy-upstream-alt-stat-name x-envoy-upstream-rq-per-try-timeout-ms
  x-envoy-upstream-rq-timeout-ms x-forwarded-client-cert x-forwarded-for x-forwarded-host
  x-forwarded-port x-forwarded-proto x-request-id`.split(/\s+/),
);

/**
 * Envoy's HeaderMatcher. A missing header fails every matcher of a value, also an inverted one,
 * unless `treat_missing_header_as_empty`.
 */
export function headerCondition(matcher: HeaderMatcher, path: string): Condition {
  const name = lowerAscii(matcher.name);
  if (name === "") refuse(`${path}.name`, "is required");
  const isInverted = matcher.invertMatch;
  const test = valueTest(matcher, path);
  const isEmptyWhenMissing = matcher.treatMissingHeaderAsEmpty;
  const source = { kind: "header", name } as const;
  if (test === undefined) {
    const isPresent = (matcher.presentMatch ?? true) !== isInverted;
    if (isEmptyWhenMissing) return isPresent ? always : never;
    return { kind: "present", source, isPresent };
  }
  const whenMissing = isEmptyWhenMissing && textPredicate(test)("") !== isInverted;
  // As Envoy since 1.39 (CVE-2026-26308): a second line must not hide what the first one says.
  const isByLine = !joinedNames.has(name);
  return { kind: "text", source, test, isInverted, whenMissing, isByLine };
}

/** For lists of headers that are no request's: an answer's, a log entry's. */
export function compileHeaderMatcher(matcher: HeaderMatcher, path: string): HeaderPredicate {
  const condition = headerCondition(matcher, path);
  if (condition.kind === "present") {
    const { isPresent } = condition;
    const name = lowerAscii(matcher.name);
    return (header) => (header(name) !== undefined) === isPresent;
  }
  if (condition.kind !== "text") return () => condition.kind === "always";
  const name = lowerAscii(matcher.name);
  const { isInverted, whenMissing } = condition;
  const test = textPredicate(condition.test);
  return (header) => {
    const value = header(name);
    return value === undefined ? whenMissing : test(value) !== isInverted;
  };
}

export function compileHeaderMatchers(
  matchers: readonly HeaderMatcher[],
  path: string,
): readonly HeaderPredicate[] {
  return matchers.map((matcher, i) => compileHeaderMatcher(matcher, `${path}[${i}]`));
}

/** Of fields of a head, which are kept byte for byte: so is what they are compared with. */
export function bytesTestOf(matcher: StringMatcher | undefined, path: string): TextTest {
  const test = textTestOf(matcher, path, compileBytesRegex);
  return "text" in test ? { ...test, text: bytesOf(test.text) } : test;
}

/** Undefined when only presence is asked for. */
function valueTest(matcher: HeaderMatcher, path: string): TextTest | undefined {
  if (matcher.stringMatch !== undefined) {
    return bytesTestOf(matcher.stringMatch, `${path}.string_match`);
  }
  const ignoresCase = false;
  if (matcher.exactMatch !== undefined) {
    return { kind: "exact", text: bytesOf(matcher.exactMatch), ignoresCase };
  }
  if (matcher.prefixMatch !== undefined) {
    return { kind: "prefix", text: bytesOf(matcher.prefixMatch), ignoresCase };
  }
  if (matcher.suffixMatch !== undefined) {
    return { kind: "suffix", text: bytesOf(matcher.suffixMatch), ignoresCase };
  }
  if (matcher.containsMatch !== undefined) {
    return { kind: "contains", text: bytesOf(matcher.containsMatch), ignoresCase };
  }
  if (matcher.safeRegexMatch !== undefined) {
    const regex = compileBytesRegex(matcher.safeRegexMatch, `${path}.safe_regex_match.regex`);
    return { kind: "regex", regex };
  }
  if (matcher.rangeMatch !== undefined) {
    return { kind: "custom", matches: inRange(matcher.rangeMatch) };
  }
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
