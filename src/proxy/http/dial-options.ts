/** What a cluster and an endpoint say of connections, as options of a dial. */
import type { TcpKeepAlive } from "../../net/dialler.ts";
import type { UpstreamCluster, UpstreamEndpoint } from "../context.ts";

export function sourceOf({ sourceAddress }: UpstreamEndpoint): { readonly sourceAddress?: string } {
  return sourceAddress === undefined ? {} : { sourceAddress };
}

export function queueOf({ writeQueueBytesMax, keepAlive }: UpstreamCluster): {
  readonly writeQueueBytesMax?: number;
  readonly keepAlive?: TcpKeepAlive;
} {
  return {
    ...(writeQueueBytesMax === undefined ? {} : { writeQueueBytesMax }),
    ...(keepAlive === undefined ? {} : { keepAlive }),
  };
}
