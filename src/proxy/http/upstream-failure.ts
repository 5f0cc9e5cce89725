/** Answers a request whose upstream failed, in Envoy's words: they stand in logs and in searches. */
import type { ChannelError } from "../../net/channel.ts";
import { type FailureKind, failureMeanings } from "./failure.ts";
import type { HttpStream } from "./http-stream.ts";
import type { PoolFailure, UpstreamReset } from "./upstream-exchange.ts";

export const poolFailures: { readonly [Kind in PoolFailure]: FailureKind } = {
  overflow: "upstream-overflow",
  "connect-failure": "connect-failure",
  "connect-timeout": "connect-timeout",
};

export const resetFailures: { readonly [Kind in UpstreamReset]: FailureKind } = {
  termination: "connection-termination",
  protocol: "upstream-protocol",
  remote: "remote-reset",
  refused: "remote-refused",
};

/** What stands in braces of the details that Envoy gives a reset. */
export function resetReason(failure: FailureKind): string {
  return /\{(.*)\}/.exec(failureMeanings[failure].details)?.[1] ?? "";
}

export interface UpstreamFailure {
  readonly failure: FailureKind;
  readonly error: ChannelError | undefined;
  readonly hasRetried: boolean;
}

export function replyUpstreamFailure(stream: HttpStream, cause: UpstreamFailure): void {
  const { failure, error } = cause;
  const meaning = failureMeanings[failure];
  if (!meaning.details.startsWith("upstream_reset_before")) return stream.reply(failure);
  let { body, details } = meaning;
  if (cause.hasRetried) {
    body = body.replace("reset reason", "retried and the latest reset reason");
  }
  if (failure === "connect-failure" && error !== undefined) {
    const reason = transportReason(error);
    stream.record.upstreamTransportFailureReason = reason;
    // The reason is for the log: a stranger need not know the inside of the mesh.
    details = details.replace("}", `|${reason.replaceAll(/\s/g, "_")}}`);
  }
  stream.reply(failure, { body, details });
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
