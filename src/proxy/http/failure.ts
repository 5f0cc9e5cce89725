/**
 * Why a request was answered by the proxy itself. This table is the only place that says what each
 * failure means outside: status, gRPC code, response flag, response code details (Envoy's strings)
 * and the body, which is Envoy's too, because people search the web for those sentences.
 */
import type { HeadError } from "../../wire/http1-head.ts";
import { flag } from "./response-flags.ts";

export type FailureKind =
  | "malformed-request"
  | "underscore"
  | "invalid-character"
  | "invalid-target"
  | "head-too-large"
  | "too-many-fields"
  | "transfer-encoding"
  | "transfer-encoding-not-allowed"
  | "content-length-and-chunked"
  | "host-missing"
  | "connection-header"
  | "expectation"
  | "low-version"
  | "path-normalization"
  | "upgrade-refused"
  | "headers-timeout"
  | "request-timeout"
  | "stream-idle"
  | "stream-idle-waiting"
  | "max-duration"
  | "access-denied"
  | "chain-gone"
  | "drop-overload"
  | "drop-all"
  | "fault"
  | "rate-limited"
  | "overload"
  | "unsound-control"
  | "absolute-target"
  | "resources-short"
  | "rewrite-too-costly"
  | "filter-missing"
  | "no-route"
  | "no-cluster"
  | "no-healthy-endpoint"
  | "name-unresolved"
  | "upstream-overflow"
  | "connect-failure"
  | "connect-timeout"
  | "connection-termination"
  | "upstream-protocol"
  | "remote-reset"
  | "remote-refused"
  | "response-timeout"
  | "per-try-timeout"
  | "per-try-idle-timeout"
  | "upstream-overlong";

export interface FailureMeaning {
  readonly status: number;
  readonly grpcStatus: number;
  readonly flag: number;
  readonly details: string;
  readonly body: string;
}

const resetBody = "upstream connect error or disconnect/reset before headers. ";

function badRequest(details: string, status = 400, body = "Bad Request"): FailureMeaning {
  return {
    status,
    grpcStatus: grpcStatusOf(status),
    flag: flag.downstreamProtocolError,
    details,
    body,
  };
}

function upstream(
  flagBit: number,
  reason: string,
  details: string,
  status: number = 503,
): FailureMeaning {
  return {
    status,
    grpcStatus: 14,
    flag: flagBit,
    details: `upstream_reset_before_response_started{${details}}`,
    body: `${resetBody}reset reason: ${reason}`,
  };
}

function plain(
  status: number,
  grpcStatus: number,
  ...[flagBit, details, body]: [flagBit: number, details: string, body: string]
): FailureMeaning {
  return { status, grpcStatus, flag: flagBit, details, body };
}

export const failureMeanings: { readonly [Kind in FailureKind]: FailureMeaning } = {
  "malformed-request": badRequest("http1.codec_error"),
  underscore: badRequest("http1.unexpected_underscore"),
  "invalid-character": badRequest("http1.invalid_characters"),
  "invalid-target": badRequest("http1.invalid_url"),
  "head-too-large": badRequest("http1.headers_too_large", 431, "Request Header Fields Too Large"),
  "too-many-fields": badRequest("http1.too_many_headers", 431, "Request Header Fields Too Large"),
  "transfer-encoding": badRequest("http1.invalid_transfer_encoding", 501, "Not Implemented"),
  "transfer-encoding-not-allowed": badRequest("http1.transfer_encoding_not_allowed"),
  "content-length-and-chunked": badRequest("http1.content_length_and_chunked_not_allowed"),
  "host-missing": plain(400, 13, 0, "missing_host_header", ""),
  "connection-header": badRequest("http1.connection_header_rejected"),
  expectation: badRequest("http1.codec_error", 417, "Expectation Failed"),
  "low-version": badRequest("low_version", 426, "Upgrade Required"),
  "path-normalization": plain(400, 13, 0, "path_normalization_failed", ""),
  "upgrade-refused": plain(403, 7, 0, "upgrade_failed", ""),
  "headers-timeout": plain(408, 2, 0, "request_header_timeout", "request header timeout"),
  "request-timeout": plain(408, 2, 0, "request_overall_timeout", "request timeout"),
  "stream-idle": plain(408, 2, flag.streamIdleTimeout, "stream_idle_timeout", "stream timeout"),
  "stream-idle-waiting": plain(
    504,
    14,
    flag.streamIdleTimeout,
    "stream_idle_timeout",
    "stream timeout",
  ),
  "max-duration": plain(504, 4, 0, "max_duration_timeout", "downstream duration timeout"),
  "access-denied": plain(403, 7, 0, "rbac_access_denied", "RBAC: access denied"),
  // The control plane asks for so many requests to be turned away.
  "drop-overload": plain(503, 14, flag.dropOverload, "drop_overload", "drop overload"),
  "drop-all": plain(
    503,
    14,
    flag.unconditionalDropOverload,
    "unconditional_drop_overload",
    "unconditional drop overload",
  ),
  // A client on a connection from before the configuration of now, which has no place for it.
  "chain-gone": plain(503, 14, flag.noRouteFound, "filter_chain_not_found", "no longer served"),
  "rate-limited": plain(429, 14, flag.rateLimited, "local_rate_limited", "local_rate_limited"),
  fault: plain(503, 14, flag.faultInjected, "fault_filter_abort", "fault filter abort"),
  // Without a flag, as Envoy: OM is of streams that are broken off.
  "resources-short": plain(503, 14, 0, "overload", "envoy overloaded"),
  overload: plain(503, 14, flag.upstreamOverflow, "overload", "overloaded"),
  // The connection manager takes paths alone.
  "absolute-target": plain(404, 12, 0, "absolute_path_rejected", ""),
  "unsound-control": plain(
    400,
    13,
    flag.invalidRequestHeaders,
    "request_headers_failed_strict_check",
    "",
  ),
  // Envoy goes on, for seconds where the path is long.
  "rewrite-too-costly": plain(400, 13, flag.invalidRequestHeaders, "rewrite_too_costly", ""),
  // What a filter shall do was to come from elsewhere, and has not come.
  "filter-missing": plain(500, 2, flag.noFilterConfigFound, "", ""),
  "no-route": plain(404, 12, flag.noRouteFound, "route_not_found", ""),
  "no-cluster": plain(503, 14, flag.noClusterFound, "cluster_not_found", ""),
  "no-healthy-endpoint": plain(
    503,
    14,
    flag.noHealthyUpstream,
    "no_healthy_upstream",
    "no healthy upstream",
  ),
  // Of a request that names its endpoint; why it does not resolve follows in braces.
  "name-unresolved": plain(
    503,
    14,
    flag.noHealthyUpstream,
    "dns_resolution_failure",
    "no healthy upstream",
  ),
  "upstream-overflow": upstream(flag.upstreamOverflow, "overflow", "overflow"),
  "connect-failure": upstream(
    flag.upstreamConnectionFailure,
    "remote connection failure",
    "remote_connection_failure",
  ),
  "connect-timeout": upstream(
    flag.upstreamConnectionFailure,
    "connection timeout",
    "connection_timeout",
  ),
  "connection-termination": upstream(
    flag.upstreamConnectionTermination,
    "connection termination",
    "connection_termination",
  ),
  "upstream-protocol": upstream(
    flag.upstreamProtocolError,
    "protocol error",
    "protocol_error",
    502,
  ),
  "remote-reset": upstream(flag.upstreamRemoteReset, "remote reset", "remote_reset"),
  "remote-refused": upstream(
    flag.upstreamRemoteReset,
    "remote refused stream reset",
    "remote_refused_stream_reset",
  ),
  "response-timeout": plain(
    504,
    14,
    flag.upstreamRequestTimeout,
    "response_timeout",
    "upstream request timeout",
  ),
  "per-try-timeout": plain(
    504,
    14,
    flag.upstreamRequestTimeout,
    "upstream_per_try_timeout",
    "upstream request timeout",
  ),
  "per-try-idle-timeout": plain(
    504,
    14,
    flag.upstreamRequestTimeout,
    "upstream_per_try_idle_timeout",
    "upstream request timeout",
  ),
  "upstream-overlong": plain(
    504,
    14,
    flag.upstreamMaxStreamDuration,
    "upstream_max_stream_duration_reached",
    "upstream max stream duration reached",
  ),
};

/** What a gRPC caller is told where there is only an HTTP status (the gRPC specification's table). */
export function grpcStatusOf(status: number): number {
  switch (status) {
    case 400:
      return 13;
    case 401:
      return 16;
    case 403:
      return 7;
    case 404:
      return 12;
    case 429:
    case 502:
    case 503:
    case 504:
      return 14;
    default:
      return 2;
  }
}

/** How a refused head is answered. */
export const headFailures: { readonly [Error in HeadError]: FailureKind } = {
  syntax: "malformed-request",
  "invalid-character": "invalid-character",
  "invalid-method": "malformed-request",
  "invalid-target": "invalid-target",
  version: "malformed-request",
  "head-too-large": "head-too-large",
  "too-many-fields": "too-many-fields",
  "content-length": "malformed-request",
  "transfer-encoding": "transfer-encoding",
  "transfer-encoding-unknown": "transfer-encoding",
  "content-length-and-chunked": "content-length-and-chunked",
  "transfer-encoding-not-allowed": "transfer-encoding-not-allowed",
  "host-missing": "host-missing",
  "host-invalid": "malformed-request",
  "connection-header": "connection-header",
  expectation: "expectation",
  "body-not-allowed": "malformed-request",
};

/** The request is sound, but its connection is not served any more. */
export function isRefusedService(failure: FailureKind): boolean {
  return failure === "chain-gone" || failure === "access-denied";
}
