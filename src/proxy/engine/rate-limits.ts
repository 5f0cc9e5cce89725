/** `rate_limits` of routes: what a request is counted as, in a limiter's terms. */
import {
  type QueryParameterMatcher,
  type RateLimit,
  type RateLimit_Action,
  type RateLimit_Action_MaskedRemoteAddress,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { type RequestPredicate, conditionClosure } from "./condition-closure.ts";
import { allOf, type Condition } from "./condition.ts";
import { compileHeaderFormat } from "./header-format.ts";
import { headerCondition } from "./header-matcher.ts";
import { knownIp } from "./ip.ts";
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

export interface RouteRateLimit {
  readonly stage: number;
  /** Undefined where the request lacks what it is counted by; `cluster` is its route's. */
  descriptor(request: RequestView, cluster: string): Descriptor | undefined;
}

/** Undefined: no descriptor at all; empty: nothing is added to it. */
type Part = (request: RequestView, cluster: string) => DescriptorEntry | "skip" | undefined;

export function compileRateLimits(
  limits: readonly RateLimit[],
  path: string,
): readonly RouteRateLimit[] {
  return limits.map((limit, i) => compileRateLimit(limit, `${path}[${i}]`));
}

function compileRateLimit(limit: RateLimit, path: string): RouteRateLimit {
  if (limit.disableKey !== "") refuse(`${path}.disable_key`, "there is no runtime to ask");
  if (limit.limit !== undefined) refuse(`${path}.limit`, "is not supported");
  if (limit.hitsAddend !== undefined) refuse(`${path}.hits_addend`, "is not supported");
  if (limit.applyOnStreamDone) refuse(`${path}.apply_on_stream_done`, "is not supported");
  if (limit.xRatelimitOption !== 0) refuse(`${path}.x_ratelimit_option`, "is not supported");
  const parts = limit.actions.map((action, i) => compileAction(action, `${path}.actions[${i}]`));
  return {
    stage: limit.stage ?? 0,
    descriptor(request, cluster) {
      const entries: DescriptorEntry[] = [];
      for (const part of parts) {
        const entry = part(request, cluster);
        if (entry === undefined) return undefined;
        if (entry !== "skip") entries.push(entry);
      }
      return entries.length === 0 ? undefined : entries;
    },
  };
}

function compileAction(action: RateLimit_Action, path: string): Part {
  if (action.destinationCluster !== undefined) {
    return (_request, cluster) => ({ key: "destination_cluster", value: cluster });
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
    return (request) => ({ key: "remote_address", value: addressOf(request) });
  }
  if (action.maskedRemoteAddress !== undefined) return masked(action.maskedRemoteAddress);
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
  return (request, cluster) =>
    holds(request, pathOf(request.path), () => 1) === expected ? part(request, cluster) : undefined;
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
