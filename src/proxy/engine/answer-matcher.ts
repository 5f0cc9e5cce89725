/**
 * Which answers are errors for outlier detection (`error_matcher`), by their headers, `:status` among
 * them. Whatever else Envoy's MatchPredicate can look at has not come then, so it is refused.
 */
import type { MatchPredicate } from "../../wire/gen/ts/envoy/config/common/matcher/v3/matcher.ts";
import { compileHeaderMatchers, type HeaderPredicate } from "./header-matcher.ts";
import { refuse } from "./refusal.ts";

/** In each other; nobody writes more. */
const depthMax = 16;

export function compileAnswerMatcher(
  predicate: MatchPredicate,
  path: string,
  depth = 0,
): HeaderPredicate {
  if (depth > depthMax) refuse(path, `more than ${depthMax} predicates stand in each other`);
  const { orMatch, andMatch, notMatch, anyMatch, httpResponseHeadersMatch } = predicate;
  const set = orMatch ?? andMatch;
  if (set !== undefined) {
    const place = `${path}.${orMatch === undefined ? "and_match" : "or_match"}.rules`;
    const parts = set.rules.map((rule, i) =>
      compileAnswerMatcher(rule, `${place}[${i}]`, depth + 1),
    );
    if (parts.length < 2) refuse(place, "at least two are required");
    return orMatch === undefined
      ? (header) => parts.every((part) => part(header))
      : (header) => parts.some((part) => part(header));
  }
  if (notMatch !== undefined) {
    const part = compileAnswerMatcher(notMatch, `${path}.not_match`, depth + 1);
    return (header) => !part(header);
  }
  if (anyMatch === true) return () => true;
  if (httpResponseHeadersMatch === undefined) {
    return refuse(path, "only the headers of answers can be matched");
  }
  const { headers } = httpResponseHeadersMatch;
  const place = `${path}.http_response_headers_match.headers`;
  if (headers.length === 0) refuse(place, "is required");
  const parts = compileHeaderMatchers(headers, place);
  return (header) => parts.every((part) => part(header));
}
