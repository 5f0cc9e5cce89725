/**
 * Envoy's bootstrap, as plain JSON: where its configuration and secrets come from (the agent's Unix
 * socket), admin on a Unix socket, Istio's tag names for its statistics. Everything else is xDS.
 */
import { proxyDnsAddress, type SidecarOptions } from "../../base/sidecar-options.ts";
import { nodeMetadata } from "../xds/node.ts";

export interface EnvoyPaths {
  /** The agent's xDS and SDS server. */
  readonly xdsSocket: string;
  readonly adminSocket: string;
  /** What the kernel lets the sidecar use, where it sets a limit. */
  readonly memoryLimitBytes?: number;
}

const pipe = (path: string): object => ({ pipe: { path, mode: 0o600 } });

/** Names that configuration refers to: the clusters of xDS and SDS. */
export const bootstrapClusters = { xds: "xds-grpc", sds: "sds-grpc" } as const;

export function envoyBootstrap(options: SidecarOptions, paths: EnvoyPaths): object {
  const { instance, nodeId, socketMark } = options;
  const ads = { ads: {}, resource_api_version: "V3", initial_fetch_timeout: "0s" };
  return {
    node: {
      id: nodeId,
      cluster: `${instance.workload}.${instance.namespace}`,
      metadata: nodeMetadata(options),
    },
    admin: { address: pipe(paths.adminSocket) },
    dynamic_resources: {
      lds_config: ads,
      cds_config: ads,
      ads_config: {
        api_type: "DELTA_GRPC",
        transport_api_version: "V3",
        set_node_on_first_message_only: true,
        grpc_services: [{ envoy_grpc: { cluster_name: bootstrapClusters.xds } }],
      },
    },
    static_resources: {
      clusters: [
        pipeCluster(bootstrapClusters.xds, paths.xdsSocket),
        pipeCluster(bootstrapClusters.sds, paths.xdsSocket),
      ],
    },
    ...(socketMark === undefined
      ? {}
      : { cluster_manager: { upstream_bind_config: markedSockets(socketMark) } }),
    overload_manager: overloadManager(paths.memoryLimitBytes),
    // Spans are sent as soon as those of Heddle's proxy; five seconds, Envoy's own, are long for people who watch.
    layered_runtime: {
      layers: [
        {
          name: "heddle",
          static_layer: { "tracing.opentelemetry.flush_interval_ms": 1000 },
        },
      ],
    },
    ...dnsResolver(options),
    stats_config: { use_all_default_tags: false, stats_tags: statsTags },
    // Histograms are merged when statistics are flushed: a scrape is at most this much behind.
    stats_flush_interval: "1s",
    stats_eviction_interval: "3600s",
  };
}

/** Connections beyond this are closed as soon as they are accepted; a sidecar never needs as many. */
const connectionsMonitor = {
  name: "envoy.resource_monitors.global_downstream_max_connections",
  typed_config: {
    "@type":
      "type.googleapis.com/envoy.extensions.resource_monitors.downstream_connections.v3.DownstreamConnectionsConfig",
    max_active_downstream_connections: 65_536,
  },
};
/** Of a limit on memory: for the agent beside Envoy. */
const agentBytes = 96 * 1024 * 1024;

/** Near its share of the limit Envoy gives memory back, then refuses requests. */
function overloadManager(limitBytes: number | undefined): object {
  if (limitBytes === undefined) return { resource_monitors: [connectionsMonitor] };
  const name = "envoy.resource_monitors.fixed_heap";
  const on = (action: string, value: number): object => ({
    name: `envoy.overload_actions.${action}`,
    triggers: [{ name, threshold: { value } }],
  });
  return {
    refresh_interval: "0.25s",
    resource_monitors: [
      connectionsMonitor,
      {
        name,
        typed_config: {
          "@type":
            "type.googleapis.com/envoy.extensions.resource_monitors.fixed_heap.v3.FixedHeapConfig",
          max_heap_size_bytes: Math.floor(Math.max(limitBytes / 2, limitBytes - agentBytes)),
        },
      },
    ],
    actions: [on("shrink_heap", 0.8), on("stop_accepting_requests", 0.9)],
  };
}

function pipeCluster(name: string, path: string): object {
  return {
    name,
    type: "STATIC",
    connect_timeout: "1s",
    // Nothing to mark on a Unix socket: an empty binding replaces the one of the cluster manager.
    upstream_bind_config: {},
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
        explicit_http_config: {
          http2_protocol_options: {
            connection_keepalive: { interval: "30s", timeout: "10s" },
          },
        },
      },
    },
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: { pipe: { path } } } }] }],
    },
  };
}

/**
 * A gateway's questions are not captured, and what the machine's resolver names may be out of its
 * reach: it asks the mesh's relay, which speaks TCP. A captured workload's Envoy asks beside itself,
 * where hosts of ServiceEntries have the outside's addresses and not those that lead here. A cluster by
 * DNS holds up all others until its first answer, so both give up soon.
 */
function dnsResolver({ capture, dnsUpstream, ports }: SidecarOptions): object {
  if (capture === "explicit" || dnsUpstream === undefined) return {};
  const { hostname, port } = new URL(`tcp://${dnsUpstream}`);
  const isCaptured = capture === "transparent";
  const resolver = isCaptured
    ? { address: proxyDnsAddress, port_value: ports.dns }
    : { address: hostname.replace(/^\[|\]$/g, ""), port_value: Number(port || 53) };
  return {
    typed_dns_resolver_config: {
      name: "envoy.network.dns_resolver.cares",
      typed_config: {
        "@type":
          "type.googleapis.com/envoy.extensions.network.dns_resolver.cares.v3.CaresDnsResolverConfig",
        resolvers: [{ socket_address: resolver }],
        dns_resolver_options: {
          use_tcp_for_dns_lookups: !isCaptured,
          no_default_search_domain: true,
        },
        query_timeout_seconds: 2,
        query_tries: 2,
      },
    },
  };
}

/** SO_MARK (36) at SOL_SOCKET (1), set before the socket is bound or connected. */
function markedSockets(mark: number): object {
  return {
    socket_options: [
      {
        description: "the proxy's own connections pass capture",
        level: 1,
        name: 36,
        int_value: mark,
        state: "STATE_PREBIND",
      },
    ],
  };
}

/**
 * What follows a cluster's name in a statistic. Names contain dots, so only this ends them, and a
 * word that could be part of a hostname (`default`, `ssl`) needs more behind it.
 */
const clusterStats = [
  "(?:assignment|bind|circuit|client_ssl|init|lb|load|max_host|membership|original_dst|outlier)_",
  "(?:tcp_proxy|tls|update|upstream|warming)_",
  "default\\.total_match_count",
  "(?:canary|external|internal|zone\\.[^.]+\\.[^.]+)\\.upstream_",
  "http[12]\\.[a-z]+_",
  "ssl\\.(?:certificate|ciphers|connection_error|curves|fail_|handshake|no_cert|ocsp|session_|sigalgs|versions)",
  "(?:retry_or_shadow_abandoned|version)$",
].join("|");

const statsTags: readonly object[] = [
  { tag_name: "cluster_name", regex: `^cluster\\.((.+?)\\.)(?:${clusterStats})` },
  { tag_name: "tcp_prefix", regex: "^tcp\\.((.*?)\\.)\\w+?$" },
  { tag_name: "response_code", regex: "(?:_rq)(_(\\d{3}))$" },
  { tag_name: "response_code_class", regex: "_rq(_(\\d)xx)$" },
  {
    tag_name: "http_conn_manager_prefix",
    regex: "^http\\.((.*?)\\.)(?:downstream_|rq_|no_|passthrough|rs_|tracing|user_agent)",
  },
  {
    tag_name: "listener_address",
    regex:
      "^listener\\.((.+?)\\.)(?:downstream_|ssl|server_ssl|no_|http|connections_|extension_|worker|admin)",
  },
  { tag_name: "ssl_version", regex: "ssl\\.versions(\\.(.*))$" },
  { tag_name: "ssl_cipher", regex: "ssl\\.ciphers(\\.(.*))$" },
  { tag_name: "ssl_curve", regex: "ssl\\.curves(\\.(.*))$" },
  { tag_name: "ssl_sigalg", regex: "ssl\\.sigalgs(\\.(.*))$" },
];
