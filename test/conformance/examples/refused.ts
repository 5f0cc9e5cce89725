/** Kinds of bootstraps that Envoy's documentation shows and this proxy does not run yet. */
import { type ExamplePorts, http, type HttpExample, network, tcpProxy, type } from "./pieces.ts";

export interface RefusedExample {
  readonly kind: string;
  readonly text: (ports: ExamplePorts) => string;
  /** What the refusal names, and what stands in the line that it gives. */
  readonly names: string;
  readonly line: string;
}

/** A filter of HTTP before the router. */
function filter(kind: string, message: string, fields = ""): RefusedExample {
  const config = `${type(`filters.http.${message}`)}${fields === "" ? "" : `, ${fields}`}`;
  const filters = `- {name: example, typed_config: {${config}}}`;
  const names = message.split(".").at(-1) ?? "";
  return { kind, text: (ports) => http(ports, { filters }), names, line: "example" };
}

function connection(kind: string, message: string, fields: string): RefusedExample {
  const config = `${type(`filters.network.${message}`)}, ${fields}`;
  const names = message.split(".").at(-1) ?? "";
  const text = `- name: example\n  typed_config: {${config}}`;
  return { kind, text: (ports) => network(ports, text), names, line: "typed_config" };
}

function field(kind: string, example: HttpExample, names: string, line: string): RefusedExample {
  return { kind, text: (ports) => http(ports, example), names, line };
}

const compressor = (library: string): string => `- name: example
  typed_config: {${type("filters.http.compressor.v3.Compressor")}, compressor_library: {name: text_optimized, typed_config: {${type(`compression.${library}`)}}}}`;

const http3Options = `typed_extension_protocol_options:
  envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
    ${type("upstreams.http.v3.HttpProtocolOptions")}
    explicit_http_config: {http3_protocol_options: {}}`;

export const refusedExamples: readonly RefusedExample[] = [
  connection(
    "Redis",
    "redis_proxy.v3.RedisProxy",
    "stat_prefix: redis, settings: {op_timeout: 5s}",
  ),
  connection("MongoDB", "mongo_proxy.v3.MongoProxy", "stat_prefix: mongo"),
  connection("MySQL", "mysql_proxy.v3.MySQLProxy", "stat_prefix: mysql"),
  connection("Thrift", "thrift_proxy.v3.ThriftProxy", "stat_prefix: thrift"),
  connection("network ext_authz", "ext_authz.v3.ExtAuthz", "stat_prefix: authz"),
  filter("gRPC-JSON transcoder", "grpc_json_transcoder.v3.GrpcJsonTranscoder", "services: [a.B]"),
  filter("gRPC HTTP/1.1 bridge", "grpc_http1_bridge.v3.Config"),
  filter("CSRF", "csrf.v3.CsrfPolicy"),
  filter("Lua", "lua.v3.Lua", 'default_source_code: {inline_string: "x"}'),
  filter("WebAssembly", "wasm.v3.Wasm", "config: {name: example}"),
  filter("rate limit service", "ratelimit.v3.RateLimit", "domain: example"),
  {
    ...filter(
      "ext_authz over gRPC with Google's client",
      "ext_authz.v3.ExtAuthz",
      "grpc_service: {google_grpc: {target_uri: app, stat_prefix: app}}",
    ),
    names: "grpc_service",
  },
  filter("ext_proc", "ext_proc.v3.ExternalProcessor"),
  filter("OAuth 2", "oauth2.v3.OAuth2"),
  filter("cache", "cache.v3.CacheConfig"),
  filter("buffer", "buffer.v3.Buffer", "max_request_bytes: 10"),
  filter("health check of ours", "health_check.v3.HealthCheck", "pass_through_mode: false"),
  field("gzip", { filters: compressor("gzip.compressor.v3.Gzip") }, "Compressor", "Compressor"),
  field(
    "brotli",
    { filters: compressor("brotli.compressor.v3.Brotli") },
    "Compressor",
    "Compressor",
  ),
  field(
    "health checks of Redis",
    {
      cluster: `health_checks: [{timeout: 1s, interval: 5s, unhealthy_threshold: 1, healthy_threshold: 1, custom_health_check: {name: envoy.health_checkers.redis}}]`,
    },
    "custom_health_check",
    "custom_health_check",
  ),
  field(
    "load reporting",
    { top: "cluster_manager: {load_stats_config: {api_type: GRPC}}" },
    "cluster_manager",
    "cluster_manager",
  ),
  field(
    "statistics sinks",
    { top: "stats_sinks: [{name: envoy.stat_sinks.statsd}]" },
    "stats_sinks",
    "stats_sinks",
  ),
  field(
    "pools of each client's connection",
    { cluster: "connection_pool_per_downstream_connection: true" },
    "connection_pool_per_downstream_connection",
    "connection_pool_per_downstream_connection",
  ),
  field("HTTP/3 upstream", { cluster: http3Options }, "http3_protocol_options", "http3"),
  field(
    "Zipkin in protobuf",
    {
      manager: `tracing:
  provider:
    name: envoy.tracers.zipkin
    typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.ZipkinConfig, collector_cluster: app, collector_endpoint: /api/v2/spans, collector_endpoint_version: HTTP_PROTO}`,
    },
    "collector_endpoint_version",
    "collector_endpoint_version",
  ),
  field(
    "HTTP/3",
    { listener: "udp_listener_config: {quic_options: {}}" },
    "udp_listener_config",
    "udp_listener_config",
  ),
  {
    kind: "UDP proxy",
    text: (ports) =>
      network(ports, tcpProxy, {
        listener: `listener_filters:\n- name: example\n  typed_config: {${type("filters.udp.udp_proxy.v3.UdpProxyConfig")}, stat_prefix: udp}`,
      }),
    names: "UdpProxyConfig",
    line: "UdpProxyConfig",
  },
  {
    kind: "DNS filter",
    text: (ports) =>
      network(ports, tcpProxy, {
        listener: `listener_filters:\n- name: example\n  typed_config: {${type("filters.udp.dns_filter.v3.DnsFilterConfig")}, stat_prefix: dns}`,
      }),
    names: "DnsFilterConfig",
    line: "DnsFilterConfig",
  },
  {
    kind: "load reports",
    text: () => "static_resources:\n  clusters:\n  - name: app\n    lrs_server: {self: {}}\n",
    names: "lrs_server",
    line: "lrs_server",
  },
  {
    kind: "names of ids that tunnels do not have",
    text: (ports) =>
      network(
        ports,
        `- {name: tcp, typed_config: {${type("filters.network.tcp_proxy.v3.TcpProxy")}, stat_prefix: tcp, cluster: app, tunneling_config: {hostname: "a:1", request_id_header: "x-id"}}}`,
      ),
    names: "tunneling_config.request_id_header",
    line: "tunneling_config",
  },
];
