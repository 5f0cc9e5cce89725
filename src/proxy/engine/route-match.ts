/** Whether a route matches: path, headers, query, cookies and fraction, all of them. */
import {
  type CookieMatcher,
  type QueryParameterMatcher,
  type RouteMatch,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import {
  FractionalPercent_DenominatorType as Denominator,
  type FractionalPercent,
} from "../../wire/gen/ts/envoy/type/v3/percent.ts";
import { allOf, type Condition, not, type TextCondition } from "./condition.ts";
import { isGrpcContentType } from "./grpc-content-type.ts";
import { bytesTestOf, headerCondition } from "./header-matcher.ts";
import { stateCondition } from "./filter-state.ts";
import { compileMetadataMatcher } from "./metadata-matcher.ts";
import { refuse } from "./refusal.ts";
import { compileRegex } from "./regex.ts";
import { textTestOf } from "./string-matcher.ts";
import { lowerAscii, type TextTest } from "./text-test.ts";
import { compileTemplateTest, templateOf, type UriTemplate } from "./uri-template.ts";

/** A route's match as a condition, and what its action needs to know of it. */
export interface PlannedMatch {
  /** Of the path alone; `connect` for CONNECT requests. */
  readonly path: PathCondition;
  /** Everything else. */
  readonly rest: Condition;
  /** Of the path, where it is one. */
  readonly template?: UriTemplate | undefined;
}

export type PathCondition =
  | (TextCondition & { readonly source: { readonly kind: "route-path" } })
  | { readonly kind: "connect" };

/** The part of the path that `prefix_rewrite` replaces. */
export function matchedLength({ path }: PlannedMatch, text: string): number {
  if (path.kind === "connect") return text.length;
  const { test } = path;
  return test.kind === "prefix" || test.kind === "segments" ? test.text.length : text.length;
}

export function planRouteMatch(match: RouteMatch, path: string): PlannedMatch {
  const { pathMatchPolicy } = match;
  const template =
    pathMatchPolicy === undefined
      ? undefined
      : templateOf(pathMatchPolicy, `${path}.path_match_policy`);
  const place =
    template === undefined
      ? planPath(match, path)
      : onPath(compileTemplateTest(template, `${path}.path_match_policy`));
  const rest = match.headers.map((header, i) => headerCondition(header, `${path}.headers[${i}]`));
  for (const [i, parameter] of match.queryParameters.entries()) {
    rest.push(queryParameter(parameter, `${path}.query_parameters[${i}]`));
  }
  for (const [i, cookie] of match.cookies.entries()) {
    rest.push(cookieMatch(cookie, `${path}.cookies[${i}]`));
  }
  if (match.grpc !== undefined) rest.push(isGrpc);
  if (match.tlsContext !== undefined) rest.push(tlsContext(match.tlsContext));
  for (const [i, matcher] of match.dynamicMetadata.entries()) {
    const matches = compileMetadataMatcher(matcher, `${path}.dynamic_metadata[${i}]`);
    rest.push({ kind: "metadata", matches });
  }
  for (const [i, matcher] of match.filterState.entries()) {
    rest.push(stateCondition(matcher, `${path}.filter_state[${i}]`));
  }
  const fraction = match.runtimeFraction?.defaultValue;
  if (fraction !== undefined) rest.push({ kind: "fraction", share: fractionOf(fraction) });
  return { path: place, rest: allOf(rest), ...(template === undefined ? {} : { template }) };
}

const isGrpc: Condition = {
  kind: "text",
  source: { kind: "header", name: "content-type" },
  test: { kind: "custom", matches: isGrpcContentType },
  isInverted: false,
  whenMissing: false,
};

/** Between 0 and 1. */
export function fractionOf(percent: FractionalPercent): number {
  const denominators = {
    [Denominator.HUNDRED]: 100,
    [Denominator.TEN_THOUSAND]: 10_000,
    [Denominator.MILLION]: 1_000_000,
    [Denominator.UNRECOGNIZED]: 1_000_000,
  };
  return percent.numerator / denominators[percent.denominator];
}

function planPath(match: RouteMatch, path: string): PathCondition {
  const ignoresCase = match.caseSensitive === false;
  const fold = ignoresCase ? lowerAscii : (text: string): string => text;
  if (match.connectMatcher !== undefined) return { kind: "connect" };
  if (match.prefix !== undefined) {
    return onPath({ kind: "prefix", text: fold(match.prefix), ignoresCase });
  }
  if (match.path !== undefined) {
    return onPath({ kind: "exact", text: fold(match.path), ignoresCase });
  }
  if (match.pathSeparatedPrefix !== undefined) {
    const prefix = fold(match.pathSeparatedPrefix);
    if (!prefix.startsWith("/") || prefix.endsWith("/") || /[?#]/.test(prefix)) {
      refuse(`${path}.path_separated_prefix`, "must begin, and not end, with a slash");
    }
    return onPath({ kind: "segments", text: prefix, ignoresCase });
  }
  if (match.safeRegex !== undefined) {
    return onPath({
      kind: "regex",
      regex: compileRegex(match.safeRegex, `${path}.safe_regex.regex`),
    });
  }
  return refuse(path, "names no path");
}

/** A CONNECT request has no path, so only `connect_matcher` finds it. */
function onPath(test: TextTest): PathCondition {
  return {
    kind: "text",
    source: { kind: "route-path" },
    test,
    isInverted: false,
    whenMissing: false,
  };
}

export function queryParameter(matcher: QueryParameterMatcher, path: string): Condition {
  const source = { kind: "query", name: matcher.name } as const;
  if (matcher.stringMatch === undefined) {
    return { kind: "present", source, isPresent: matcher.presentMatch ?? true };
  }
  const test = textTestOf(matcher.stringMatch, `${path}.string_match`);
  return { kind: "text", source, test, isInverted: false, whenMissing: false };
}

function cookieMatch(matcher: CookieMatcher, path: string): Condition {
  const test = bytesTestOf(matcher.stringMatch, `${path}.string_match`);
  const isInverted = matcher.invertMatch;
  const source = { kind: "cookie", name: matcher.name } as const;
  return { kind: "text", source, test, isInverted, whenMissing: isInverted };
}

function tlsContext({ presented, validated }: NonNullable<RouteMatch["tlsContext"]>): Condition {
  const isSo = (isWanted: boolean | undefined, isValidated: boolean): readonly Condition[] => {
    if (isWanted === undefined) return [];
    const shown: Condition = { kind: "certificate", isValidated };
    return [isWanted ? shown : not(shown)];
  };
  return allOf([...isSo(presented, false), ...isSo(validated, true)]);
}
