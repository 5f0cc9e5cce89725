/**
 * Dynamic forward proxy: a cluster whose endpoints are whatever requests name. The name becomes the
 * endpoint's address and is resolved, by the machine, when a connection is opened to it.
 */
import { honouredForwardCluster } from "../config/honoured-extensions.ts";
import { honoured } from "../config/honoured.ts";
import {
  Cluster_DnsLookupFamily as LookupFamily,
  type Cluster,
  type Cluster_CustomClusterType,
} from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { ClusterConfig } from "../../wire/gen/ts/envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import { durationMs } from "../engine/duration.ts";
import { refuse } from "../engine/refusal.ts";

export interface ForwardDiscovery {
  readonly kind: "forward";
  /** For authorities without one. */
  readonly defaultPort: number;
  /** A destination that nobody asked for in this time is forgotten. */
  readonly cleanupMs: number;
}

const typeUrl =
  "type.googleapis.com/envoy.extensions.clusters.dynamic_forward_proxy.v3.ClusterConfig";
const hostTtlMs = 300_000;

export function compileForward(
  cluster: Cluster,
  type: Cluster_CustomClusterType,
): ForwardDiscovery {
  const { typedConfig } = type;
  if (typedConfig?.typeUrl !== typeUrl) refuse("cluster_type", `'${type.name}' is not supported`);
  const path = "cluster_type.typed_config";
  const config = honoured(ClusterConfig.decode(typedConfig.value), honouredForwardCluster, path);
  const { dnsCacheConfig: cache } = config;
  if (cache === undefined) refuse(`${path}.dns_cache_config`, "is missing");
  if (cache.dnsLookupFamily !== LookupFamily.ALL) {
    refuse(`${path}.dns_cache_config.dns_lookup_family`, "must be ALL");
  }
  const isTls = cluster.transportSocket !== undefined || cluster.transportSocketMatches.length > 0;
  return {
    kind: "forward",
    defaultPort: isTls ? 443 : 80,
    cleanupMs: durationMs(cache.hostTtl) ?? hostTtlMs,
  };
}

const hostBytesMax = 253;

/** `host`, `host:port`, `[v6]:port`; undefined for what names no destination. */
export function addressOfAuthority(
  authority: string,
  defaultPort: number,
): SocketAddress | undefined {
  const [, literal, name, digits] =
    /^(?:\[([0-9a-fA-F:.]+)\]|([A-Za-z0-9._-]+))(?::(\d{1,5}))?$/.exec(authority) ?? [];
  const address = literal ?? name;
  if (address === undefined || address.length > hostBytesMax) return undefined;
  const port = digits === undefined ? defaultPort : Number(digits);
  return port >= 1 && port <= 65_535 ? { address: address.toLowerCase(), port } : undefined;
}
