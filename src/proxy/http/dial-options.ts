/** What a cluster and an endpoint say of connections to it; most of it as options of a dial. */
import type { DialOptions } from "../../net/dialler.ts";
import type { Ways } from "../../net/racing-dialler.ts";
import type { UpstreamCluster, UpstreamEndpoint } from "../context.ts";
import type { InternalTarget } from "../internal.ts";

interface Way {
  readonly sourceAddress?: string;
  readonly internal?: InternalTarget;
  readonly ways?: Ways;
}

/** From where, where to, and what is said first. */
export function sourceOf(
  endpoint: UpstreamEndpoint,
): Way & { readonly preface?: NonNullable<DialOptions["preface"]> } {
  const { preface } = endpoint;
  return preface === undefined ? wayOf(endpoint) : { ...wayOf(endpoint), preface };
}

function wayOf({ sourceAddress, internal, ways }: UpstreamEndpoint): Way {
  if (internal !== undefined) return { internal };
  if (ways !== undefined) return { ways };
  return sourceAddress === undefined ? {} : { sourceAddress };
}

type SocketSettings = Pick<UpstreamCluster, "keepAlive" | "socketOptions">;

export function queueOf(
  cluster: SocketSettings & Pick<UpstreamCluster, "writeQueueBytesMax">,
): Pick<DialOptions, "writeQueueBytesMax" | "keepAlive" | "socketOptions"> {
  const { writeQueueBytesMax } = cluster;
  const settings = socketOf(cluster);
  return writeQueueBytesMax === undefined ? settings : { ...settings, writeQueueBytesMax };
}

/** What the kernel is asked of its sockets. */
export function socketOf({
  keepAlive,
  socketOptions = [],
}: SocketSettings): Pick<DialOptions, "keepAlive" | "socketOptions"> {
  return {
    ...(keepAlive === undefined ? {} : { keepAlive }),
    ...(socketOptions.length === 0 ? {} : { socketOptions }),
  };
}

/** One to it has been opened, or closed. */
export function countConnection(endpoint: UpstreamEndpoint, change: 1 | -1): void {
  endpoint.connections = (endpoint.connections ?? 0) + change;
  endpoint.stats?.onConnection(change);
}

/** `isAsked`: by a request that came so. */
export function speaksHttp2(cluster: UpstreamCluster | undefined, isAsked: boolean): boolean {
  const when = cluster?.http2?.when;
  return when === "always" || (when === "downstream" && isAsked);
}
