/** How connections to endpoints ended, as their cluster counts it. */
import type { ChannelError } from "../../net/channel.ts";
import type { ClusterCounters, UpstreamConnectionEnd, UpstreamEndpoint } from "../context.ts";

/** Ends that were our own decision. */
const ownErrors: ReadonlySet<string> = new Set(["ETIMEDOUT", "write-queue-full", "fault"]);

export interface EndedConnection {
  readonly lengthMs: number;
  /** Its endpoint had closed its side. */
  readonly hasPeerEnded: boolean;
  readonly error: ChannelError | undefined;
  readonly isBusy: boolean;
}

export function endOf(ended: EndedConnection): UpstreamConnectionEnd {
  const { lengthMs, hasPeerEnded, error, isBusy } = ended;
  const isBroken = error !== undefined && !ownErrors.has(error.code);
  return { lengthMs, by: hasPeerEnded || isBroken ? "remote" : "local", isBusy };
}

/** With which a name does not resolve (getaddrinfo). */
const resolverCodes = /^(?:ENOTFOUND|EAI_\w+)$/;

/** Says what its requests are told. */
export function countConnectFailure(
  counters: ClusterCounters,
  endpoint: UpstreamEndpoint,
  error: ChannelError | undefined,
): "connect-timeout" | "connect-failure" | "no-address" {
  const isTimeout = error?.code === "ETIMEDOUT";
  counters.onConnectFailure();
  endpoint.stats?.onConnectFailure();
  if (isTimeout) counters.count("upstream_cx_connect_timeout");
  if (error?.code === "source-address") counters.count("bind_errors");
  if (error !== undefined && resolverCodes.test(error.code)) return "no-address";
  return isTimeout ? "connect-timeout" : "connect-failure";
}
