/** Envoy's words for why a connection to an endpoint failed: they stand in logs and answers. */
import type { ChannelError } from "../../net/channel.ts";

const words: Readonly<Record<string, string>> = {
  ECONNREFUSED: "delayed connect error: Connection refused",
  ECONNRESET: "delayed connect error: Connection reset by peer",
  EHOSTUNREACH: "delayed connect error: No route to host",
  ENETUNREACH: "delayed connect error: Network is unreachable",
  EADDRNOTAVAIL: "immediate connect error: Cannot assign requested address",
};

export function transportReason(error: ChannelError): string {
  return words[error.code] ?? error.message;
}
