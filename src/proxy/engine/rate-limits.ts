/** `rate_limits` of routes: what a request is counted as, in a limiter's terms. */
import {
  type QueryParameterMatcher,
  type RateLimit,
  type RateLimit_Action,
  type RateLimit_Action_MaskedRemoteAddress,
  type RateLimit_Action_MetaData,
  RateLimit_Action_MetaData_Source as Source,
  type RateLimit_Action_RemoteAddressMatch,
  type RateLimit_HitsAddend,
  RateLimit_XRateLimitOption as Option,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { bytesOf } from "../../base/latin1.ts";
import { hasPort } from "../../base/socket-address.ts";
import { type RequestPredicate, conditionClosure } from "./condition-closure.ts";
import { allOf, type Condition } from "./condition.ts";
import { compileHeaderFormat } from "./header-format.ts";
import { headerCondition } from "./header-matcher.ts";
import { isWithin, knownIp, parseIpRange } from "./ip.ts";
import { valueAt } from "./metadata-matcher.ts";
import { refuse } from "./refusal.ts";
import type { RequestView } from "./request.ts";
import { pathOf } from "./request-path.ts";
import { queryValue } from "./request-text.ts";
import { queryParameter } from "./route-match.ts";
import { lowerAscii } from "./text-test.ts";

export interface DescriptorEntry {
  readonly key: string;
  readonly value: string;
}

export type Descriptor = readonly DescriptorEntry[];

/** What one request is counted as. */
export interface Usage {
  readonly descriptor: Descriptor;
  /** Tokens that it takes. */
  readonly hits: number;
  /** Whether its client is told of the limit; undefined: as the filter says. */
  readonly isTold?: boolean | undefined;
}

/** Where a request comes from and goes to. */
export interface RatedClusters {
  /** Of this proxy. */
  readonly own: string;
  /** Of the request's route. */
  readonly target: string;
}

export interface RouteRateLimit {
  readonly stage: number;
  /** Undefined where the request lacks what it is counted by. */
  usage(request: RequestView, clusters: RatedClusters): Usage | undefined;
}

/** Undefined: no descriptor at all; "skip": nothing is added to it. */
type Part = (request: RequestView, clusters: RatedClusters) => DescriptorEntry | "skip" | undefined;

export function compileRateLimits(
  limits: readonly RateLimit[],
  path: string,
): readonly RouteRateLimit[] {
  for (const [i, { hitsAddend }] of limits.entries()) {
    // Envoy passes it over there.
    if (hitsAddend !== undefined) {
      refuse(`${path}[${i}].hits_addend`, "is the filter's own limits' to say");
    }
  }
  return compileAll(limits, path);
}

/** Of a filter itself, which belong to all of its stages. */
export function compileOwnRateLimits(
  limits: readonly RateLimit[],
  path: string,
): readonly RouteRateLimit[] {
  for (const [i, { stage }] of limits.entries()) {
    if (stage !== undefined) refuse(`${path}[${i}].stage`, "means nothing beside the filter's own");
  }
  return compileAll(limits, path);
}

function compileAll(limits: readonly RateLimit[], path: string): readonly RouteRateLimit[] {
  return limits.map((limit, i) => compileRateLimit(limit, `${path}[${i}]`));
}

function compileRateLimit(limit: RateLimit, path: string): RouteRateLimit {
  if (limit.disableKey !== "") refuse(`${path}.disable_key`, "there is no runtime to ask");
  if (limit.limit !== undefined) refuse(`${path}.limit`, "is not supported");
  if (limit.applyOnStreamDone) refuse(`${path}.apply_on_stream_done`, "is not supported");
  const isTold = toldOptions.get(limit.xRatelimitOption);
  if (isTold === undefined && limit.xRatelimitOption !== Option.UNSPECIFIED) {
    refuse(`${path}.x_ratelimit_option`, `${limit.xRatelimitOption} is not known`);
  }
  const parts = limit.actions.map((action, i) => compileAction(action, `${path}.actions[${i}]`));
  const hitsOf = compileHits(limit.hitsAddend, `${path}.hits_addend`);
  return {
    stage: limit.stage ?? 0,
    usage(request, clusters) {
      const descriptor: DescriptorEntry[] = [];
      for (const part of parts) {
        const entry = part(request, clusters);
        if (entry === undefined) return undefined;
        if (entry !== "skip") descriptor.push(entry);
      }
      const hits = descriptor.length === 0 ? undefined : hitsOf(request);
      return hits === undefined ? undefined : { descriptor, hits, isTold };
    },
  };
}

const toldOptions: ReadonlyMap<Option, boolean> = new Map<Option, boolean>([
  [Option.OFF, false],
  [Option.DRAFT_VERSION_03, true],
]);

const hitsMax = 1_000_000_000;

/** Undefined where what it says is no number of hits. */
function compileHits(
  addend: RateLimit_HitsAddend | undefined,
  path: string,
): (request: RequestView) => number | undefined {
  if (addend === undefined) return () => 1;
  const { number, format, isNegativeHits } = addend;
  if (isNegativeHits) refuse(`${path}.is_negative_hits`, "is not supported");
  if ((number === undefined) === (format === "")) refuse(path, "needs a number or a format");
  if (number !== undefined) {
    if (number > hitsMax) refuse(`${path}.number`, `must be at most ${hitsMax}`);
    return () => Number(number);
  }
  const text = compileHeaderFormat(format, `${path}.format`);
  return (request) => hitsIn(typeof text === "string" ? text : text(request));
}

function hitsIn(text: string): number | undefined {
  const trimmed = text.trim();
  const number = /^[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?$/i.test(trimmed) ? Number(trimmed) : -1;
  return number >= 0 && number <= hitsMax ? Math.trunc(number) : undefined;
}

function compileAction(action: RateLimit_Action, path: string): Part {
  if (action.sourceCluster !== undefined) {
    return (_request, { own }) => ({ key: "source_cluster", value: own });
  }
  if (action.destinationCluster !== undefined) {
    return (_request, { target }) => ({ key: "destination_cluster", value: target });
  }
  if (action.requestHeaders !== undefined) {
    const { headerName, descriptorKey, skipIfAbsent } = action.requestHeaders;
    const name = lowerAscii(headerName);
    return given(descriptorKey, skipIfAbsent, (request) => request.header(name));
  }
  if (action.queryParameters !== undefined) {
    const { queryParameterName: name, descriptorKey, skipIfAbsent } = action.queryParameters;
    return given(descriptorKey, skipIfAbsent, (request) => queryValue(request.path, name));
  }
  if (action.remoteAddress !== undefined) {
    return (request) => {
      const value = addressOf(request);
      // As Envoy: who comes from a Unix socket has none.
      return hasPort(value) ? { key: "remote_address", value } : undefined;
    };
  }
  if (action.maskedRemoteAddress !== undefined) return masked(action.maskedRemoteAddress);
  if (action.remoteAddressMatch !== undefined) {
    return addressMatch(action.remoteAddressMatch, `${path}.remote_address_match`);
  }
  if (action.metadata !== undefined) return metadata(action.metadata, `${path}.metadata`);
  if (action.genericKey !== undefined) {
    return said(action.genericKey, "generic_key", `${path}.generic_key`);
  }
  if (action.headerValueMatch !== undefined) {
    const place = `${path}.header_value_match`;
    const { headers, expectMatch = true } = action.headerValueMatch;
    const wanted = headers.map((header, i) => headerCondition(header, `${place}.headers[${i}]`));
    return when(wanted, expectMatch, said(action.headerValueMatch, "header_match", place));
  }
  if (action.queryParameterValueMatch !== undefined) {
    const place = `${path}.query_parameter_value_match`;
    const { queryParameters, expectMatch = true } = action.queryParameterValueMatch;
    const wanted = queryParameters.map((parameter: QueryParameterMatcher, i) =>
      queryParameter(parameter, `${place}.query_parameters[${i}]`),
    );
    return when(wanted, expectMatch, said(action.queryParameterValueMatch, "query_match", place));
  }
  return refuse(path, "this kind of action is not supported");
}

/** A text that filters have found out, or that stands in the route's metadata. */
function metadata(action: RateLimit_Action_MetaData, path: string): Part {
  const { descriptorKey: key, metadataKey, defaultValue, source, skipIfAbsent } = action;
  if (key === "") refuse(`${path}.descriptor_key`, "is required");
  if (metadataKey === undefined || metadataKey.key === "") {
    return refuse(`${path}.metadata_key.key`, "is required");
  }
  const namespace = metadataKey.key;
  const names = metadataKey.path.map((segment, i) =>
    segment.key === undefined || segment.key === ""
      ? refuse(`${path}.metadata_key.path[${i}].key`, "is required")
      : segment.key,
  );
  if (source !== Source.DYNAMIC && source !== Source.ROUTE_ENTRY) {
    refuse(`${path}.source`, "only metadata of requests and routes are looked at");
  }
  return (request) => {
    const fields =
      source === Source.DYNAMIC
        ? request.metadata?.get(namespace)
        : request.record?.routeMetadata?.[namespace];
    const found = valueAt(fields, names);
    const value = typeof found === "string" && found !== "" ? bytesOf(found) : defaultValue;
    if (value !== "") return { key, value };
    return skipIfAbsent ? "skip" : undefined;
  };
}

function addressMatch(action: RateLimit_Action_RemoteAddressMatch, path: string): Part {
  const { addressMatcher } = action;
  if (addressMatcher === undefined || addressMatcher.ranges.length === 0) {
    return refuse(`${path}.address_matcher.ranges`, "at least one is required");
  }
  const ranges = addressMatcher.ranges.map((range, i) =>
    parseIpRange(range, `${path}.address_matcher.ranges[${i}]`),
  );
  const part = said(action, "remote_address_match", path);
  return (request, clusters) => {
    const address = addressOf(request);
    if (knownIp(address) === undefined) return undefined;
    const isIn = ranges.some((range) => isWithin(address, range));
    return isIn === addressMatcher.invertMatch ? undefined : part(request, clusters);
  };
}

function given(
  key: string,
  skipIfAbsent: boolean,
  read: (request: RequestView) => string | undefined,
): Part {
  return (request) => {
    const value = read(request);
    if (value === undefined || value === "") return skipIfAbsent ? "skip" : undefined;
    return { key, value };
  };
}

interface Said {
  readonly descriptorKey: string;
  readonly descriptorValue: string;
  readonly defaultValue: string;
}

/** A value of the configuration, with what it takes from the request. */
function said(
  { descriptorKey, descriptorValue, defaultValue }: Said,
  key: string,
  path: string,
): Part {
  const name = descriptorKey === "" ? key : descriptorKey;
  const format = compileHeaderFormat(descriptorValue, `${path}.descriptor_value`);
  if (typeof format === "string") {
    const value = format === "" ? defaultValue : format;
    return value === "" ? () => undefined : () => ({ key: name, value });
  }
  return (request) => {
    const value = format(request) || defaultValue;
    return value === "" ? undefined : { key: name, value };
  };
}

function when(conditions: readonly Condition[], expected: boolean, part: Part): Part {
  const holds: RequestPredicate = conditionClosure(allOf(conditions));
  return (request, clusters) =>
    holds(request, pathOf(request.path), () => 1) === expected
      ? part(request, clusters)
      : undefined;
}

function addressOf(request: RequestView): string {
  return request.remoteAddress ?? request.connection.sourceAddress;
}

function masked(action: RateLimit_Action_MaskedRemoteAddress): Part {
  const { v4PrefixMaskLen = 32, v6PrefixMaskLen = 128 } = action;
  return (request) => {
    const bytes = knownIp(addressOf(request));
    if (bytes === undefined) return undefined;
    const length = bytes.length === 4 ? v4PrefixMaskLen : v6PrefixMaskLen;
    return { key: "masked_remote_address", value: `${maskedText(bytes, length)}/${length}` };
  };
}

function maskedText(bytes: readonly number[], length: number): string {
  const kept = bytes.map((byte, i) => byte & ~(0xff >> Math.min(8, Math.max(0, length - i * 8))));
  if (kept.length === 4) return kept.join(".");
  return compressed(
    Array.from({ length: 8 }, (_, i) =>
      (((kept[i * 2] ?? 0) << 8) | (kept[i * 2 + 1] ?? 0)).toString(16),
    ),
  );
}

/** RFC 5952: the longest run of at least two zero groups, the first of them, becomes `::`. */
function compressed(groups: readonly string[]): string {
  let best = { from: 0, length: 0 };
  for (let from = 0; from < groups.length; from++) {
    let length = 0;
    while (groups[from + length] === "0") length++;
    if (length > best.length) best = { from, length };
  }
  if (best.length < 2) return groups.join(":");
  const before = groups.slice(0, best.from).join(":");
  return `${before}::${groups.slice(best.from + best.length).join(":")}`;
}
