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
import { compileHeaderMatchers } from "./header-matcher.ts";
import { refuse } from "./refusal.ts";
import { compileRegex } from "./regex.ts";
import type { RequestView } from "./request.ts";
import { compileStringMatcher, lowerAscii } from "./string-matcher.ts";

/** `path` is the request's path without query and fragment, computed once per request. */
export type RoutePredicate = (request: RequestView, path: string, random: () => number) => boolean;

export interface CompiledMatch {
  readonly matches: RoutePredicate;
  readonly isConnect: boolean;
  /** The part of the path that `prefix_rewrite` replaces. */
  matchedLength(path: string): number;
}

export function compileRouteMatch(match: RouteMatch, path: string): CompiledMatch {
  const place = compilePath(match, path);
  const rest: RoutePredicate[] = [];
  const headers = compileHeaderMatchers(match.headers, `${path}.headers`);
  for (const matches of headers) {
    rest.push((request) => matches((name) => request.header(name)));
  }
  for (const [i, parameter] of match.queryParameters.entries()) {
    rest.push(queryParameter(parameter, `${path}.query_parameters[${i}]`));
  }
  for (const [i, cookie] of match.cookies.entries()) {
    rest.push(cookieMatch(cookie, `${path}.cookies[${i}]`));
  }
  if (match.grpc !== undefined) {
    rest.push((request) =>
      /^application\/grpc(?:$|[+;])/.test(request.header("content-type") ?? ""),
    );
  }
  if (match.tlsContext !== undefined) rest.push(tlsContext(match.tlsContext));
  if (match.dynamicMetadata.length > 0) refuse(`${path}.dynamic_metadata`, "is not supported");
  if (match.filterState.length > 0) refuse(`${path}.filter_state`, "is not supported");
  const fraction = match.runtimeFraction?.defaultValue;
  if (fraction !== undefined) {
    const share = fractionOf(fraction);
    rest.push((_request, _path, random) => random() < share);
  }
  if (rest.length === 0) return place;
  return {
    ...place,
    matches: (request, requestPath, random) => {
      if (!place.matches(request, requestPath, random)) return false;
      for (const predicate of rest) if (!predicate(request, requestPath, random)) return false;
      return true;
    },
  };
}

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

function compilePath(match: RouteMatch, path: string): CompiledMatch {
  const fold = match.caseSensitive === false ? lowerAscii : (text: string): string => text;
  if (match.connectMatcher !== undefined) {
    return {
      isConnect: true,
      matchedLength: (text) => text.length,
      matches: (request) => request.method === "CONNECT",
    };
  }
  if (match.prefix !== undefined) {
    const prefix = fold(match.prefix);
    return onPath(
      (text) => fold(text).startsWith(prefix),
      () => prefix.length,
    );
  }
  if (match.path !== undefined) {
    const exact = fold(match.path);
    return onPath((text) => fold(text) === exact);
  }
  if (match.pathSeparatedPrefix !== undefined) {
    const prefix = fold(match.pathSeparatedPrefix);
    if (!prefix.startsWith("/") || prefix.endsWith("/") || /[?#]/.test(prefix)) {
      refuse(`${path}.path_separated_prefix`, "must begin, and not end, with a slash");
    }
    return onPath(
      (text) =>
        fold(text).startsWith(prefix) &&
        (text.length === prefix.length || text[prefix.length] === "/"),
      () => prefix.length,
    );
  }
  if (match.safeRegex !== undefined) {
    const regex = compileRegex(match.safeRegex, `${path}.safe_regex.regex`);
    return onPath((text) => regex.matches(text));
  }
  if (match.pathMatchPolicy !== undefined) refuse(`${path}.path_match_policy`, "is not supported");
  return refuse(path, "names no path");
}

function onPath(
  test: (path: string) => boolean,
  matchedLength: (path: string) => number = (path) => path.length,
): CompiledMatch {
  return {
    isConnect: false,
    matchedLength,
    // A CONNECT request has no path, so only `connect_matcher` finds it.
    matches: (request, path) => path !== "" && request.method !== "CONNECT" && test(path),
  };
}

function queryParameter(matcher: QueryParameterMatcher, path: string): RoutePredicate {
  if (matcher.stringMatch !== undefined) {
    const matches = compileStringMatcher(matcher.stringMatch, `${path}.string_match`);
    return (request) => {
      const value = queryValue(request.path, matcher.name);
      return value !== undefined && matches(value);
    };
  }
  const wanted = matcher.presentMatch ?? true;
  return (request) => (queryValue(request.path, matcher.name) !== undefined) === wanted;
}

/** The first value of a query parameter, as written; a key without `=` has the empty value. */
export function queryValue(path: string, name: string): string | undefined {
  const start = path.indexOf("?");
  if (start < 0) return undefined;
  const fragment = path.indexOf("#", start);
  const query = path.slice(start + 1, fragment < 0 ? path.length : fragment);
  for (const pair of query.split("&")) {
    const equals = pair.indexOf("=");
    const key = equals < 0 ? pair : pair.slice(0, equals);
    if (key === name) return equals < 0 ? "" : pair.slice(equals + 1);
  }
  return undefined;
}

function cookieMatch(matcher: CookieMatcher, path: string): RoutePredicate {
  const matches = compileStringMatcher(matcher.stringMatch, `${path}.string_match`);
  return (request) => {
    const value = cookieValue(request, matcher.name);
    return (value !== undefined && matches(value)) !== matcher.invertMatch;
  };
}

export function cookieValue(request: RequestView, name: string): string | undefined {
  const header = request.header("cookie");
  if (header === undefined) return undefined;
  for (const pair of header.split(/[;,]/)) {
    const equals = pair.indexOf("=");
    if (equals < 0 || pair.slice(0, equals).trim() !== name) continue;
    const value = pair.slice(equals + 1).trim();
    return value.length >= 2 && value.startsWith('"') && value.endsWith('"')
      ? value.slice(1, -1)
      : value;
  }
  return undefined;
}

function tlsContext(options: NonNullable<RouteMatch["tlsContext"]>): RoutePredicate {
  return ({ connection }) => {
    // Every certificate that reaches a connection here was verified: presented means validated.
    const hasCertificate = connection.peerUriSans.length > 0;
    if (options.presented !== undefined && options.presented !== hasCertificate) return false;
    return options.validated === undefined || options.validated === hasCertificate;
  };
}
