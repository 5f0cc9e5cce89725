/** What the proxy of a hot restart serves: HTTP with gRPC and WebSockets on one port, TCP on another. */
import type { ApplicationPorts } from "./application.ts";

export interface ProxyPorts {
  readonly http: number;
  readonly tcp: number;
}

const filters = "type.googleapis.com/envoy.extensions.filters";
const http2Options = {
  "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
    "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
    explicit_http_config: { http2_protocol_options: {} },
  },
};

/** Whoever comes is served: no answer is to be the proxy's own. */
const limits = { max_connections: 65_536, max_pending_requests: 65_536, max_requests: 65_536 };

export function bootstrapOf(proxy: ProxyPorts, application: ApplicationPorts): object {
  const manager = {
    "@type": `${filters}.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "http",
    upgrade_configs: [{ upgrade_type: "websocket" }],
    stream_idle_timeout: "0s",
    route_config: {
      virtual_hosts: [
        {
          name: "all",
          domains: ["*"],
          routes: [
            { match: { prefix: "/", grpc: {} }, route: { cluster: "grpc", timeout: "0s" } },
            { match: { prefix: "/" }, route: { cluster: "http", timeout: "0s" } },
          ],
        },
      ],
    },
    http_filters: [
      { name: "router", typed_config: { "@type": `${filters}.http.router.v3.Router` } },
    ],
  };
  const tcpProxy = {
    "@type": `${filters}.network.tcp_proxy.v3.TcpProxy`,
    stat_prefix: "tcp",
    cluster: "tcp",
  };
  return {
    static_resources: {
      listeners: [listener("http", proxy.http, manager), listener("tcp", proxy.tcp, tcpProxy)],
      clusters: [
        cluster("http", application.http),
        { ...cluster("grpc", application.grpc), typed_extension_protocol_options: http2Options },
        cluster("tcp", application.tcp),
      ],
    },
  };
}

function listener(name: string, port: number, filter: object): object {
  const filterChain = { filters: [{ name, typed_config: filter }] };
  return { name, address: at(port), filter_chains: [filterChain] };
}

function cluster(name: string, port: number): object {
  const endpoint = { endpoint: { address: at(port) } };
  return {
    name,
    // On a busy machine the application has no processor for seconds.
    connect_timeout: "120s",
    circuit_breakers: { thresholds: [limits] },
    load_assignment: { cluster_name: name, endpoints: [{ lb_endpoints: [endpoint] }] },
  };
}

function at(port: number): object {
  return { socket_address: { address: "127.0.0.1", port_value: port } };
}
