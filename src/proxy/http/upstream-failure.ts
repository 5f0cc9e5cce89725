/** Answers a request whose upstream failed, in Envoy's words: they stand in logs and in searches. */
import type { ChannelError } from "../../net/channel.ts";
import { type FailureKind, failureMeanings } from "./failure.ts";
import type { HttpStream } from "./http-stream.ts";
import { flag } from "./response-flags.ts";
import type { StreamRecord } from "./stream-record.ts";
import type { PoolFailure, UpstreamReset } from "./upstream-exchange.ts";

export const poolFailures: { readonly [Kind in PoolFailure]: FailureKind } = {
  overflow: "upstream-overflow",
  "no-pool": "no-healthy-endpoint",
  "no-address": "name-unresolved",
  // As where it is asked all the same, and ends the stream for that.
  "no-upgrade": "upstream-protocol",
  "connect-failure": "connect-failure",
  "connect-timeout": "connect-timeout",
};

/** Another attempt would fare the same. */
export function isFinal(failure: PoolFailure): boolean {
  return failure === "overflow" || failure === "no-pool" || failure === "no-address";
}

export const resetFailures: { readonly [Kind in UpstreamReset]: FailureKind } = {
  termination: "connection-termination",
  protocol: "upstream-protocol",
  remote: "remote-reset",
  refused: "remote-refused",
  overlong: "upstream-overlong",
};

/** The endpoint broke off what the client has already begun to get. */
export function breakAnswer(stream: HttpStream, failure: FailureKind): void {
  recordBreak(stream.record, failure);
  stream.breakResponse(stream.record.responseCodeDetails);
}

/** The same, where somebody else sees to what the client gets. */
export function recordBreak(record: StreamRecord, failure: FailureKind): void {
  const { details, flag: why } = failureMeanings[failure];
  // What stands in braces of the details that Envoy gives a reset.
  const reason = /\{(.*)\}/.exec(details)?.[1];
  const isReset = reason !== undefined;
  record.flags |= why;
  record.responseCodeDetails = isReset
    ? `upstream_reset_after_response_started{${reason}}`
    : details;
}

export interface UpstreamFailure {
  readonly failure: FailureKind;
  readonly error: ChannelError | undefined;
  readonly hasRetried: boolean;
  /** A client would rather have 204 than 504. */
  readonly isTimeoutEmpty?: boolean;
}

export function replyUpstreamFailure(stream: HttpStream, cause: UpstreamFailure): void {
  const { failure, error } = cause;
  const meaning = failureMeanings[failure];
  if (stream.route?.includeAttemptCountInResponse === true) {
    stream.responseHeaders.set("x-envoy-attempt-count", String(stream.record.upstreamAttempts));
  }
  if (failure === "upstream-overflow" && !stream.services.router.isSilent) {
    stream.responseHeaders.set("x-envoy-overloaded", "true");
  }
  if (failure === "upstream-overlong" && !stream.isRequestComplete) {
    return stream.reply(failure, { status: 408 });
  }
  if (failure === "name-unresolved" && error !== undefined) {
    return stream.reply(failure, { details: `${meaning.details}{${inDetails(error.message)}}` });
  }
  if (!meaning.details.startsWith("upstream_reset_before")) {
    const isEmpty = cause.isTimeoutEmpty === true && meaning.flag === flag.upstreamRequestTimeout;
    return stream.reply(failure, isEmpty ? { status: 204, body: "" } : {});
  }
  let { body, details } = meaning;
  if (cause.hasRetried) {
    body = body.replace("reset reason", "retried and the latest reset reason");
  }
  if (failure === "connect-failure" && error !== undefined) {
    const reason = transportReason(error);
    stream.record.upstreamTransportFailureReason = reason;
    // The reason is for the log: a stranger need not know the inside of the mesh.
    details = details.replace("}", `|${inDetails(reason)}}`);
  }
  stream.reply(failure, { body, details });
}

function inDetails(reason: string): string {
  return reason.replaceAll(/\s/g, "_");
}

const words: Readonly<Record<string, string>> = {
  ECONNREFUSED: "delayed connect error: Connection refused",
  ECONNRESET: "delayed connect error: Connection reset by peer",
  EHOSTUNREACH: "delayed connect error: No route to host",
  ENETUNREACH: "delayed connect error: Network is unreachable",
  EADDRNOTAVAIL: "immediate connect error: Cannot assign requested address",
};

function transportReason(error: ChannelError): string {
  return words[error.code] ?? error.message;
}
