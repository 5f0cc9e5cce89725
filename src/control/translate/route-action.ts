/** What a route does with a request: forward, redirect, answer; and how it changes it. */
import type { HeaderChanges, HttpRedirect, HttpRetry } from "../../model/http-action.ts";
import type { CorsPolicy, FaultInjection } from "../../model/http-policy.ts";
import type { DirectResponse } from "../../model/virtual-service.ts";
import {
  type HeaderValueOptionSchema,
  HeaderValueOption_HeaderAppendAction as AppendAction,
} from "../../wire/gen/es/envoy/config/core/v3/base_pb.ts";
import {
  type DirectResponseActionSchema,
  RedirectAction_RedirectResponseCode as RedirectCode,
  type RedirectActionSchema,
  type RetryPolicySchema,
} from "../../wire/gen/es/envoy/config/route/v3/route_components_pb.ts";
import { CorsPolicySchema } from "../../wire/gen/es/envoy/extensions/filters/http/cors/v3/cors_pb.ts";
import { HTTPFaultSchema } from "../../wire/gen/es/envoy/extensions/filters/http/fault/v3/fault_pb.ts";
import { PreviousHostsPredicateSchema } from "../../wire/gen/es/envoy/extensions/retry/host/previous_hosts/v3/previous_hosts_pb.ts";
import { FractionalPercent_DenominatorType as Denominator } from "../../wire/gen/es/envoy/type/v3/percent_pb.ts";
import type { FractionalPercentSchema } from "../../wire/gen/es/envoy/type/v3/percent_pb.ts";
import type { Any } from "@bufbuild/protobuf/wkt";
import type { Init } from "./proto.ts";
import { any, duration, stringMatcher, typedConfig } from "./proto.ts";

/** Percent with the precision Istio's configuration can express. */
export function fractionalPercent(percent: number): Init<typeof FractionalPercentSchema> {
  return { numerator: Math.round(percent * 10_000), denominator: Denominator.MILLION };
}

const defaultRetryOn =
  "connect-failure,refused-stream,unavailable,cancelled,retriable-status-codes";

/** Undefined when retries are off; `isHashed` where a hash chooses the only destination's endpoint. */
export function retryPolicy(
  written: HttpRetry | undefined,
  meshDefault: HttpRetry | undefined,
  isHashed: boolean,
): Init<typeof RetryPolicySchema> | undefined {
  // As in Istio: retries that are written without attempts are off.
  const retry = written ?? meshDefault ?? { attempts: 2 };
  const attempts = retry.attempts ?? 0;
  if (attempts === 0) return undefined;
  const conditions = (retry.retryOn ?? "").split(",").map((one) => one.trim());
  const statuses = conditions.filter((one) => /^[1-5][0-9]{2}$/.test(one)).map(Number);
  const named = conditions.filter((one) => one !== "" && !/^[1-5][0-9]{2}$/.test(one));
  if (statuses.length > 0 && !named.includes("retriable-status-codes")) {
    named.push("retriable-status-codes");
  }
  // A hashed request belongs to one endpoint: whoever wants another one for retries says so.
  const avoidsPrevious = retry.retryIgnorePreviousHosts ?? !isHashed;
  return {
    retryOn: named.length === 0 ? defaultRetryOn : named.join(","),
    numRetries: attempts,
    retriableStatusCodes: statuses,
    ...(retry.perTryTimeout === undefined ? {} : { perTryTimeout: duration(retry.perTryTimeout) }),
    ...(retry.backoff === undefined
      ? {}
      : { retryBackOff: { baseInterval: duration(retry.backoff) } }),
    ...(avoidsPrevious
      ? {
          retryHostPredicate: [
            {
              name: "envoy.retry_host_predicates.previous_hosts",
              configType: typedConfig(PreviousHostsPredicateSchema, {}),
            },
          ],
          hostSelectionRetryMaxAttempts: 5n,
        }
      : {}),
  };
}

const redirectCodes: Readonly<Record<number, RedirectCode>> = {
  301: RedirectCode.MOVED_PERMANENTLY,
  302: RedirectCode.FOUND,
  303: RedirectCode.SEE_OTHER,
  307: RedirectCode.TEMPORARY_REDIRECT,
  308: RedirectCode.PERMANENT_REDIRECT,
};

const defaultPorts: Readonly<Record<string, number>> = { http: 80, https: 443 };

/**
 * As in Istio, a port that the scheme means anyway is not written into the Location. No table of ours
 * serves requests that came by TLS, so a redirect that names no scheme keeps `http`.
 */
export function redirectAction(
  redirect: HttpRedirect,
  listenerPort: number | undefined,
): Init<typeof RedirectActionSchema> {
  const { scheme, uri, prefixRewrite } = redirect;
  const isFromRequest = redirect.derivePort === "FROM_REQUEST_PORT";
  const port = redirect.port ?? (isFromRequest ? (listenerPort ?? 0) : 0);
  return {
    hostRedirect: redirect.authority ?? "",
    portRedirect: port === defaultPorts[scheme ?? "http"] ? 0 : port,
    ...(scheme === undefined
      ? {}
      : { schemeRewriteSpecifier: { case: "schemeRedirect", value: scheme } as const }),
    ...(uri === undefined
      ? {}
      : { pathRewriteSpecifier: { case: "pathRedirect", value: uri } as const }),
    ...(prefixRewrite === undefined
      ? {}
      : { pathRewriteSpecifier: { case: "prefixRewrite", value: prefixRewrite } as const }),
    responseCode: redirectCodes[redirect.redirectCode ?? 301] ?? RedirectCode.MOVED_PERMANENTLY,
  };
}

export function directResponse(answer: DirectResponse): Init<typeof DirectResponseActionSchema> {
  const { status, body } = answer;
  if (body?.string !== undefined) {
    return { status, body: { specifier: { case: "inlineString", value: body.string } } };
  }
  if (body?.bytes !== undefined) {
    const value = Uint8Array.from(atob(body.bytes), (char) => char.charCodeAt(0));
    return { status, body: { specifier: { case: "inlineBytes", value } } };
  }
  return { status };
}

type HeaderOption = Init<typeof HeaderValueOptionSchema>;

export interface HeaderFields {
  readonly requestHeadersToAdd: HeaderOption[];
  readonly requestHeadersToRemove: string[];
  readonly responseHeadersToAdd: HeaderOption[];
  readonly responseHeadersToRemove: string[];
}

export function headerFields(
  request: HeaderChanges | undefined,
  response: HeaderChanges | undefined,
): HeaderFields {
  return {
    requestHeadersToAdd: headersToAdd(request),
    requestHeadersToRemove: [...(request?.remove ?? [])],
    responseHeadersToAdd: headersToAdd(response),
    responseHeadersToRemove: [...(response?.remove ?? [])],
  };
}

// `host` cannot be set as a header; `authorityFrom` turns it into a rewrite, as Istio does.
function headersToAdd(changes: HeaderChanges | undefined): HeaderOption[] {
  const options = (
    values: Readonly<Record<string, string>> | undefined,
    appendAction: AppendAction,
  ): HeaderOption[] =>
    Object.entries(values ?? {})
      .filter(([name]) => name.toLowerCase() !== "host")
      .map(([key, value]) => ({ header: { key, value }, appendAction }));
  return [
    ...options(changes?.set, AppendAction.OVERWRITE_IF_EXISTS_OR_ADD),
    ...options(changes?.add, AppendAction.APPEND_IF_EXISTS_OR_ADD),
  ];
}

/** The authority that a header operation on `host` asks for. */
export function authorityFrom(changes: HeaderChanges | undefined): string | undefined {
  const all = [...Object.entries(changes?.set ?? {}), ...Object.entries(changes?.add ?? {})];
  return all.find(([name]) => name.toLowerCase() === "host")?.[1];
}

const grpcCodes =
  "OK CANCELLED UNKNOWN INVALID_ARGUMENT DEADLINE_EXCEEDED NOT_FOUND ALREADY_EXISTS PERMISSION_DENIED RESOURCE_EXHAUSTED FAILED_PRECONDITION ABORTED OUT_OF_RANGE UNIMPLEMENTED INTERNAL UNAVAILABLE DATA_LOSS UNAUTHENTICATED".split(
    " ",
  );

/** As in Istio: a fault without a percentage is injected into no request. */
export function faultConfig(fault: FaultInjection): Any {
  const { delay, abort } = fault;
  return any(HTTPFaultSchema, {
    ...(delay === undefined
      ? {}
      : {
          delay: {
            faultDelaySecifier: { case: "fixedDelay", value: duration(delay.fixedDelay) },
            percentage: fractionalPercent(delay.percentage ?? 0),
          },
        }),
    ...(abort === undefined
      ? {}
      : {
          abort: {
            errorType:
              abort.grpcStatus === undefined
                ? { case: "httpStatus", value: abort.httpStatus ?? 500 }
                : { case: "grpcStatus", value: Math.max(0, grpcCodes.indexOf(abort.grpcStatus)) },
            percentage: fractionalPercent(abort.percentage ?? 0),
          },
        }),
  });
}

export function corsConfig(cors: CorsPolicy): Any {
  return any(CorsPolicySchema, {
    allowOriginStringMatch: (cors.allowOrigins ?? []).map(stringMatcher),
    allowMethods: (cors.allowMethods ?? []).join(","),
    allowHeaders: (cors.allowHeaders ?? []).join(","),
    exposeHeaders: (cors.exposeHeaders ?? []).join(","),
    maxAge: cors.maxAge === undefined ? "" : String(Math.floor(cors.maxAge / 1000)),
    ...(cors.allowCredentials === undefined ? {} : { allowCredentials: cors.allowCredentials }),
    filterEnabled: { defaultValue: { numerator: 100, denominator: Denominator.HUNDRED } },
    forwardNotMatchingPreflights: cors.unmatchedPreflights !== "IGNORE",
  });
}
