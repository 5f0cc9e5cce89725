/** Why a client has no use for an answer, or gets none: how logs name it (Envoy's words). */
import type { HeadError } from "../../wire/http1-head.ts";
import { flag } from "./response-flags.ts";

export interface DownstreamReason {
  readonly flag: number;
  readonly details: string;
}

export const disconnected: DownstreamReason = {
  flag: flag.downstreamConnectionTermination,
  details: "downstream_remote_disconnect",
};

/** The client broke off one stream of HTTP/2. */
export const remoteReset: DownstreamReason = {
  flag: flag.downstreamRemoteReset,
  details: "http2.remote_reset",
};

/** Too much waited already for a client that gives no window. */
export const unread: DownstreamReason = {
  flag: flag.overloadManager,
  details: "http2.unread_content_overflow",
};

/** Too much waited already of answers that may leave only slowly. */
export const overfull: DownstreamReason = {
  flag: flag.overloadManager,
  details: "throttled_content_overflow",
};

const invalidField = protocolError("http2.invalid.header.field");
const violation = protocolError("http2.violation.of.messaging.rule");

/** Of HTTP/2; what is not here is an invalid field. */
const malformed: { readonly [Error in HeadError]?: DownstreamReason } = {
  syntax: violation,
  "host-missing": violation,
  // Of content that came: the head was sound.
  "content-length": protocolError("http2.remote_reset"),
  "head-too-large": limited("http2.header_list_size_too_large"),
  "too-many-fields": limited("http2.too_many_headers"),
};

export function malformedReason(error: HeadError): DownstreamReason {
  return malformed[error] ?? invalidField;
}

function protocolError(details: string): DownstreamReason {
  return { flag: flag.downstreamProtocolError, details };
}

function limited(details: string): DownstreamReason {
  return { flag: flag.downstreamRemoteReset, details };
}
