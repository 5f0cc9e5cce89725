/** Kinds of bootstraps that Envoy's documentation shows and this proxy runs. */
import {
  bootstrap,
  cluster,
  type ExamplePorts,
  http,
  type HttpExample,
  httpManager,
  listenerAt,
  network,
  tcpProxy,
  type,
} from "./pieces.ts";

export interface RunningExample {
  readonly kind: string;
  readonly text: (ports: ExamplePorts, folder: string) => string;
  /** Files beside it: name → text. */
  readonly files?: (ports: ExamplePorts) => Readonly<Record<string, string>>;
  readonly asks?: readonly Ask[];
}

export interface Ask {
  readonly path?: string;
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** Status and body; `closed` without an answer. */
  readonly answer: string;
  readonly secure?: boolean;
}

const passes: readonly Ask[] = [{ answer: "200 app /" }];

function one(kind: string, example: HttpExample, asks: readonly Ask[] = passes): RunningExample {
  return { kind, text: (ports) => http(ports, example), asks };
}

const rbac = `- name: rbac
  typed_config: {${type("filters.http.rbac.v3.RBAC")}, rules: {action: DENY, policies: {admin: {permissions: [{url_path: {path: {prefix: /admin}}}], principals: [{any: true}]}}}}`;
const jwt = `- name: jwt
  typed_config:
    ${type("filters.http.jwt_authn.v3.JwtAuthentication")}
    providers: {p: {issuer: "https://issuer.test", local_jwks: {filename: FOLDER/keys.json}}}
    rules: [{match: {prefix: /}, requires: {provider_name: p}}]`;
const keySet =
  '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}';
const extAuthz = `- name: authz
  typed_config: {${type("filters.http.ext_authz.v3.ExtAuthz")}, http_service: {server_uri: {uri: "http://app", cluster: app, timeout: 5s}, path_prefix: /check}}`;
const fault = `- name: fault
  typed_config: {${type("filters.http.fault.v3.HTTPFault")}, abort: {http_status: 418, percentage: {numerator: 100}}}`;
const rateLimit = `- name: limit
  typed_config: {${type("filters.http.local_ratelimit.v3.LocalRateLimit")}, stat_prefix: l, token_bucket: {max_tokens: 1, fill_interval: 3600s}, filter_enabled: {default_value: {numerator: 100}}, filter_enforced: {default_value: {numerator: 100}}}`;
const headerMutation = `- name: change
  typed_config: {${type("filters.http.header_mutation.v3.HeaderMutation")}, mutations: {request_mutations: [{remove: x-a}], response_mutations: [{append: {header: {key: x-b, value: "1"}}}]}}`;
const session = `- name: session
  typed_config: {${type("filters.http.stateful_session.v3.StatefulSession")}, session_state: {name: envoy.http.stateful_session.header, typed_config: {${type("http.stateful_session.header.v3.HeaderBasedSessionState")}, name: x-session}}}`;
const cors = `- {name: envoy.filters.http.cors, typed_config: {${type("filters.http.cors.v3.Cors")}}}`;
const grpcWeb = `- {name: envoy.filters.http.grpc_web, typed_config: {${type("filters.http.grpc_web.v3.GrpcWeb")}}}`;
const corsPolicy = `typed_per_filter_config:
  envoy.filters.http.cors: {${type("filters.http.cors.v3.CorsPolicy")}, allow_origin_string_match: [{exact: "http://a.test"}], allow_methods: GET}`;
const preflight = { origin: "http://a.test", "access-control-request-method": "GET" };

const serverTls = (more = ""): string => `transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    ${type("transport_sockets.tls.v3.DownstreamTlsContext")}
    ${more === "" ? "require_client_certificate: false" : "require_client_certificate: true"}
    common_tls_context:
      tls_certificates: [{certificate_chain: {filename: FOLDER/cert.pem}, private_key: {filename: FOLDER/key.pem}}]
      ${more === "" ? "alpn_protocols: [http/1.1]" : more}`;
const clientTls = `transport_socket:
  name: envoy.transport_sockets.tls
  typed_config:
    ${type("transport_sockets.tls.v3.UpstreamTlsContext")}
    sni: server.test
    common_tls_context:
      tls_certificates: [{certificate_chain: {filename: FOLDER/cert.pem}, private_key: {filename: FOLDER/key.pem}}]
      validation_context: {trusted_ca: {filename: FOLDER/root.pem}}`;
const trusts = "validation_context: {trusted_ca: {filename: FOLDER/root.pem}}";
const accessLog = `access_log:
- name: stdout
  typed_config: {${type("access_loggers.file.v3.FileAccessLog")}, path: /dev/null, log_format: {json_format: {path: "%REQ(:PATH)%", status: "%RESPONSE_CODE%"}}}`;
const openTelemetry = `tracing:
  provider:
    name: envoy.tracers.opentelemetry
    typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, service_name: example, http_service: {http_uri: {uri: "http://127.0.0.1/v1/traces", cluster: other, timeout: 1s}}}`;
const tracer = (name: string, fields: string): string => `tracing:
  provider:
    name: ${name}
    typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.${fields}}`;
const zipkin = tracer(
  "envoy.tracers.zipkin",
  "ZipkinConfig, collector_cluster: other, collector_endpoint: /api/v2/spans, collector_endpoint_version: HTTP_JSON",
);
const datadog = tracer("envoy.tracers.datadog", "DatadogConfig, collector_cluster: other");
const forwardCache = "dns_cache_config: {name: cache, dns_lookup_family: ALL}";

export const runningExamples: readonly RunningExample[] = [
  {
    kind: "front proxy",
    text: (ports) =>
      http(ports, {
        routes: `- {match: {prefix: /other}, route: {cluster: other}}\n- {match: {prefix: "/"}, route: {cluster: app}}`,
        clusters: cluster("other", ports.other),
      }),
    asks: [...passes, { path: "/other", answer: "200 other /other" }],
  },
  { kind: "TCP proxy", text: (ports) => network(ports, tcpProxy), asks: passes },
  one("subsets", {
    cluster:
      "lb_subset_config: {fallback_policy: ANY_ENDPOINT, subset_selectors: [{keys: [version]}]}",
  }),
  one("CORS", { filters: cors, host: corsPolicy }, [
    ...passes,
    { method: "OPTIONS", headers: preflight, answer: "200 " },
  ]),
  one("gRPC-Web", { filters: grpcWeb }),
  one("fault injection", { filters: fault }, [{ answer: "418 fault filter abort" }]),
  {
    kind: "JWT",
    text: (ports, folder) => http(ports, { filters: jwt.replace("FOLDER", folder) }),
    files: () => ({ "keys.json": keySet }),
    asks: [{ answer: "401 Jwt is missing" }],
  },
  one("ext_authz over HTTP", { filters: extAuthz }),
  one("RBAC", { filters: rbac }, [
    ...passes,
    { path: "/admin", answer: "403 RBAC: access denied" },
  ]),
  one("local rate limit", { filters: rateLimit }, [
    ...passes,
    { answer: "429 local_rate_limited" },
  ]),
  one("header mutation", { filters: headerMutation }),
  one("stateful session", { filters: session }),
  one(
    "local reply",
    {
      manager: 'local_reply_config: {body_format: {json_format: {status: "%RESPONSE_CODE%"}}}',
      routes: `- {match: {prefix: "/"}, direct_response: {status: 503}}`,
    },
    [{ answer: '503 {"status":503}\n' }],
  ),
  one("WebSocket", { manager: "upgrade_configs: [{upgrade_type: websocket}]" }),
  one(
    "direct response",
    {
      routes: `- {match: {prefix: "/"}, direct_response: {status: 503, body: {inline_string: later}}}`,
    },
    [{ answer: "503 later" }],
  ),
  one("redirect", { routes: `- {match: {prefix: "/"}, redirect: {path_redirect: /new}}` }, [
    { answer: "301 " },
  ]),
  one(
    "rewrite",
    { routes: `- {match: {prefix: /old/}, route: {cluster: app, prefix_rewrite: /}}` },
    [
      { path: "/old/x", answer: "200 app /x" },
      { path: "/x", answer: "404 " },
    ],
  ),
  {
    kind: "traffic split",
    text: (ports) =>
      http(ports, {
        routes: `- {match: {prefix: "/"}, route: {weighted_clusters: {clusters: [{name: app, weight: 100}, {name: other, weight: 0}]}}}`,
        clusters: cluster("other", ports.other),
      }),
    asks: passes,
  },
  {
    kind: "mirror",
    text: (ports) =>
      http(ports, {
        routes: `- {match: {prefix: "/"}, route: {cluster: app, request_mirror_policies: [{cluster: other}]}}`,
        clusters: cluster("other", ports.other),
      }),
    asks: passes,
  },
  one("retries", {
    routes: `- {match: {prefix: "/"}, route: {cluster: app, timeout: 3s, retry_policy: {retry_on: "5xx,reset", num_retries: 2}}}`,
  }),
  one("circuit breakers and outlier detection", {
    cluster: `circuit_breakers: {thresholds: [{max_connections: 10, max_requests: 10}]}\noutlier_detection: {consecutive_5xx: 5}`,
  }),
  one("health checks", {
    cluster: `health_checks: [{timeout: 1s, interval: 5s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {}}]`,
  }),
  one("ring hash", {
    cluster: "lb_policy: RING_HASH",
    routes: `- {match: {prefix: "/"}, route: {cluster: app, hash_policy: [{header: {header_name: x-user}}]}}`,
  }),
  one("least request", { cluster: "lb_policy: LEAST_REQUEST" }),
  one("logical DNS", { cluster: "type: LOGICAL_DNS\ndns_lookup_family: V4_ONLY" }),
  one("strict DNS", { cluster: "type: STRICT_DNS\ndns_lookup_family: V4_ONLY" }),
  one("access log in JSON", { manager: accessLog }),
  {
    kind: "OpenTelemetry",
    text: (ports) =>
      http(ports, { manager: openTelemetry, clusters: cluster("other", ports.other) }),
    asks: passes,
  },
  ...[zipkin, datadog].map((manager, i) => ({
    kind: ["Zipkin", "Datadog"][i] ?? "",
    text: (ports: ExamplePorts) =>
      http(ports, { manager, clusters: cluster("other", ports.other) }),
    asks: passes,
  })),
  one("header operations", {
    host: "response_headers_to_add: [{header: {key: x-a, value: b}}]\nrequest_headers_to_remove: [x-c]",
  }),
  one("CONNECT refused by default", {}, [{ method: "CONNECT", path: "a:1", answer: "closed" }]),
  {
    kind: "TLS termination",
    text: (ports) => http(ports, { chain: serverTls() }),
    asks: [{ secure: true, answer: "200 app /" }],
  },
  {
    kind: "mutual TLS",
    text: (ports) => http(ports, { chain: serverTls(trusts) }),
    // A client without a certificate.
    asks: [{ secure: true, answer: "closed" }],
  },
  {
    kind: "double proxy",
    text: (ports) => {
      const outer = listenerAt(ports.listener, httpManager({})).replace("main", "outer");
      const inner = listenerAt(
        ports.second,
        httpManager({ routes: `- {match: {prefix: "/"}, route: {cluster: other}}` }),
        { chain: serverTls(trusts) },
      );
      return bootstrap(
        `${outer}\n${inner}`,
        `${cluster("app", ports.second, clientTls)}\n${cluster("other", ports.other)}`,
      );
    },
    asks: [{ answer: "200 other /" }],
  },
  {
    kind: "routing by SNI",
    text: (ports) =>
      network(ports, tcpProxy, {
        listener: `listener_filters: [{name: tls, typed_config: {${type("filters.listener.tls_inspector.v3.TlsInspector")}}}]`,
        chain: "filter_chain_match: {server_names: [server.test]}",
      }),
    asks: [{ answer: "closed" }],
  },
  {
    kind: "PROXY protocol",
    text: (ports) =>
      http(ports, {
        listener: `listener_filters: [{name: proxy, typed_config: {${type("filters.listener.proxy_protocol.v3.ProxyProtocol")}, allow_requests_without_proxy_protocol: true}}]`,
      }),
    asks: passes,
  },
  {
    kind: "original destination",
    text: (ports) =>
      network(ports, tcpProxy, {
        listener: `listener_filters: [{name: dst, typed_config: {${type("filters.listener.original_dst.v3.OriginalDst")}}}]`,
        clusters: "- {name: passthrough, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED}",
      }),
    asks: passes,
  },
  {
    kind: "dynamic forward proxy",
    text: (ports) =>
      http(ports, {
        filters: `- {name: forward, typed_config: {${type("filters.http.dynamic_forward_proxy.v3.FilterConfig")}, ${forwardCache}}}`,
        routes: `- {match: {prefix: "/"}, route: {cluster: forward}}`,
        clusters: `- {name: forward, lb_policy: CLUSTER_PROVIDED, cluster_type: {name: forward, typed_config: {${type("clusters.dynamic_forward_proxy.v3.ClusterConfig")}, ${forwardCache}}}}`,
      }),
    asks: [{ headers: { host: "127.0.0.1:OTHER" }, answer: "200 other /" }],
  },
  {
    kind: "resources in files",
    text: (_ports, folder) =>
      `node: {id: files, cluster: example}\ndynamic_resources:\n  lds_config: {path_config_source: {path: ${folder}/lds.yaml}}\n  cds_config: {path_config_source: {path: ${folder}/cds.yaml}}\n`,
    files: (ports) => ({
      "lds.yaml": `resources:\n${listenerAt(ports.listener, httpManager({})).replace("- name", '- "@type": type.googleapis.com/envoy.config.listener.v3.Listener\n  name')}\n`,
      "cds.yaml": `resources:\n${cluster("app", ports.app).replace("- name", '- "@type": type.googleapis.com/envoy.config.cluster.v3.Cluster\n  name')}\n`,
    }),
    asks: passes,
  },
  {
    kind: "a control plane that is away",
    text: (ports) =>
      http(ports, {
        top: `dynamic_resources:\n  cds_config: {ads: {}, initial_fetch_timeout: 0.2s}\n  ads_config: {api_type: GRPC, grpc_services: [{envoy_grpc: {cluster_name: control}}]}`,
        clusters: cluster("control", 1, "http2_protocol_options: {}"),
      }),
    asks: passes,
  },
];
