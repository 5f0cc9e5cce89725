/** Trees of matchers, interpreted: slow and obvious, straight from the messages. */
import type { RequestView } from "../../../src/proxy/engine/request.ts";
import type { CidrRange } from "../../../src/wire/gen/ts/envoy/config/core/v3/address.ts";
import { Ip } from "../../../src/wire/gen/ts/envoy/extensions/matching/input_matchers/ip/v3/ip.ts";
import { HttpRequestHeaderMatchInput } from "../../../src/wire/gen/ts/envoy/type/matcher/v3/http_inputs.ts";
import type { Any } from "../../../src/wire/gen/ts/google/protobuf/any.ts";
import type {
  Matcher,
  Matcher_MatcherList_Predicate as Predicate,
  Matcher_OnMatch as OnMatch,
} from "../../../src/wire/gen/ts/xds/type/matcher/v3/matcher.ts";
import { IPMatcher } from "../../../src/wire/gen/ts/xds/type/matcher/v3/ip.ts";
import { oracleText } from "./headers.ts";
import { isIn } from "./rbac.ts";

/** The action's bytes; undefined where no matcher names one. */
export function oracleMatch(matcher: Matcher, request: RequestView): Uint8Array | undefined {
  for (const { predicate, onMatch } of matcher.matcherList?.matchers ?? []) {
    const found = holds(predicate, request) ? follow(onMatch, request) : undefined;
    if (found !== undefined) return found;
  }
  const tree = matcher.matcherTree;
  if (tree !== undefined) {
    const value = inputOf(tree.input?.typedConfig, request);
    for (const onMatch of branches(tree, value)) {
      const found = follow(onMatch, request);
      if (found !== undefined) return found;
    }
  }
  return matcher.onNoMatch === undefined ? undefined : follow(matcher.onNoMatch, request);
}

/** What a value leads to, the best first. */
function branches(
  { exactMatchMap, prefixMatchMap, customMatch }: NonNullable<Matcher["matcherTree"]>,
  value: string | undefined,
): readonly OnMatch[] {
  if (value === undefined) return [];
  const exact = exactMatchMap?.map[value];
  if (exact !== undefined) return [exact];
  const prefixes = Object.entries(prefixMatchMap?.map ?? {})
    .filter(([prefix]) => value.startsWith(prefix))
    .toSorted(([a], [b]) => b.length - a.length);
  const ranges = IPMatcher.decode(customMatch?.typedConfig?.value ?? new Uint8Array(0))
    .rangeMatchers.flatMap(({ ranges: list, onMatch }) => list.map((range) => ({ range, onMatch })))
    .filter(({ range }) => isIn(range as CidrRange, value))
    .toSorted((a, b) => (b.range.prefixLen ?? 0) - (a.range.prefixLen ?? 0));
  return [
    ...prefixes.map(([, onMatch]) => onMatch),
    ...ranges.flatMap(({ onMatch }) => (onMatch === undefined ? [] : [onMatch])),
  ];
}

function follow(onMatch: OnMatch | undefined, request: RequestView): Uint8Array | undefined {
  if (onMatch?.matcher !== undefined) return oracleMatch(onMatch.matcher, request);
  return onMatch?.action?.typedConfig?.value;
}

function holds(predicate: Predicate | undefined, request: RequestView): boolean {
  if (predicate?.notMatcher !== undefined) return !holds(predicate.notMatcher, request);
  if (predicate?.andMatcher !== undefined) {
    return predicate.andMatcher.predicate.every((one) => holds(one, request));
  }
  if (predicate?.orMatcher !== undefined) {
    return predicate.orMatcher.predicate.some((one) => holds(one, request));
  }
  const { input, valueMatch, customMatch } = predicate?.singlePredicate ?? {};
  const value = inputOf(input?.typedConfig, request);
  if (value === undefined) return false;
  if (valueMatch !== undefined) return oracleText({ ...valueMatch, custom: undefined }, value);
  const { cidrRanges } = Ip.decode(customMatch?.typedConfig?.value ?? new Uint8Array(0));
  return cidrRanges.some((range) => isIn(range, value));
}

function inputOf(any: Any | undefined, request: RequestView): string | undefined {
  const { connection } = request;
  switch (any?.typeUrl.split(".").at(-1) ?? "") {
    case "DestinationIPInput":
      return connection.destinationAddress;
    case "DestinationPortInput":
      return String(connection.destinationPort);
    case "SourceIPInput":
      return request.remoteAddress ?? connection.sourceAddress;
    case "DirectSourceIPInput":
      return connection.direct === undefined ? connection.sourceAddress : connection.direct.address;
    case "ServerNameInput":
      return connection.sni === "" ? undefined : connection.sni;
    case "UriSanInput":
      return connection.peerUriSans.length === 0 ? undefined : connection.peerUriSans.join(",");
    case "HttpRequestHeaderMatchInput":
      return request.header(
        HttpRequestHeaderMatchInput.decode(any?.value ?? new Uint8Array(0)).headerName,
      );
    default:
      throw new Error(`the test's input ${any?.typeUrl} is not known`);
  }
}
