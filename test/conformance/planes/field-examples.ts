/**
 * Small messages that set what the walk cannot set alone: fields that need others, or a value of a
 * certain form. Each is taken, so each of its fields is.
 */
import type { JsonObject } from "@bufbuild/protobuf";

import { authzExamples } from "./authz-examples.ts";
import { choiceExamples } from "./choice-examples.ts";

const type = (name: string, fields: JsonObject = {}): JsonObject => ({
  "@type": `type.googleapis.com/${name}`,
  ...fields,
});
const typed = (name: string, fields: JsonObject = {}): JsonObject => ({
  name: "x",
  typedConfig: type(`envoy.extensions.${name}`, fields),
});
const socketAddress = (address: string): JsonObject => ({
  socketAddress: { address, portValue: 80 },
});
const pipe = (more: JsonObject = {}): JsonObject => ({ pipe: { path: "/run/a.sock", ...more } });
const endpoint = (address: JsonObject, more: JsonObject = {}): JsonObject => ({
  name: "c",
  loadAssignment: {
    clusterName: "c",
    endpoints: [{ lbEndpoints: [{ endpoint: { address, ...more } }] }],
  },
});
const assigned = (fields: JsonObject): JsonObject => ({
  clusterName: "c",
  endpoints: [{ lbEndpoints: [{ endpoint: fields }] }],
});
const added: JsonObject = { header: { key: "x-a", value: "b" } };
const format: JsonObject = {
  textFormatSource: { inlineString: "%RESPONSE_CODE%" },
  omitEmptyValues: true,
  contentType: "text/plain",
  formatters: [typed("formatter.cel.v3.Cel")],
};
const jsonFormat: JsonObject = {
  jsonFormat: { a: "%RESPONSE_CODE%" },
  jsonFormatOptions: { sortProperties: true },
};
const check: JsonObject = {
  timeout: "1s",
  interval: "5s",
  unhealthyThreshold: 1,
  healthyThreshold: 1,
};
const checked = (fields: JsonObject): JsonObject => ({
  name: "c",
  healthChecks: [{ ...check, ...fields }],
});
const options = [{ level: "1", name: "9", intValue: "1", state: "STATE_BOUND", description: "d" }];
const bytesOption = [{ level: "1", name: "9", bufValue: "AQAAAA==", type: { stream: {} } }];
const tcp = {
  name: "tcp",
  typedConfig: type("envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy", {
    statPrefix: "t",
    cluster: "app",
  }),
};
const listening: JsonObject = {
  name: "l",
  address: socketAddress("127.0.0.1"),
  bindToPort: false,
  filterChains: [{ filters: [tcp] }],
};
const fileLog = typed("access_loggers.file.v3.FileAccessLog", { path: "/dev/null" });
const routed = (route: JsonObject, more: JsonObject = {}): JsonObject => ({
  name: "r",
  virtualHosts: [
    { name: "v", domains: ["*"], routes: [{ match: { prefix: "/" }, ...route }], ...more },
  ],
});
const matched = (match: JsonObject): JsonObject => routed({ match, route: { cluster: "app" } });
const retries: JsonObject = {
  retryOn: "5xx",
  retryHostPredicate: [typed("retry.host.previous_hosts.v3.PreviousHostsPredicate")],
  retryPriority: typed("retry.priority.previous_priorities.v3.PreviousPrioritiesConfig", {
    updateFrequency: 1,
  }),
  retriableHeaders: [{ name: "x-a", presentMatch: true }],
  retriableRequestHeaders: [{ name: "x-a", presentMatch: true }],
  rateLimitedRetryBackOff: {
    resetHeaders: [{ name: "retry-after", format: "SECONDS" }],
    maxInterval: "5s",
  },
};
const policy = { permissions: [{ any: true }], principals: [{ any: true }] };
const tree: JsonObject = {
  matcherTree: {
    input: typed("matching.common_inputs.network.v3.DestinationPortInput"),
    exactMatchMap: {
      map: {
        80: {
          action: {
            name: "a",
            typedConfig: type("envoy.config.rbac.v3.Action", { name: "p", action: "ALLOW" }),
          },
        },
      },
    },
  },
};
const service = { serverUri: { uri: "http://a", cluster: "app", timeout: "1s" } };
const asked = {
  ...service,
  pathPrefix: "/a",
  authorizationRequest: { headersToAdd: [{ key: "x-a", value: "b" }] },
};
const body = { maxRequestBytes: 1, allowPartialMessage: true, packAsBytes: true };
const provider = {
  issuer: "me",
  localJwks: {
    inlineString:
      '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}',
  },
};
const state = (fields: JsonObject): JsonObject => ({
  objectKey: "envoy.string",
  formatString: format,
  ...fields,
});
const router = typed("filters.http.router.v3.Router");
const managed = (fields: JsonObject): JsonObject => ({
  httpFilters: [router],
  routeConfig: { name: "r" },
  ...fields,
});
const resets: JsonObject = { resetHeaders: [{ name: "x-reset", format: "UNIX_TIMESTAMP" }] };
const mirrors: JsonObject[] = [
  {
    cluster: "app",
    runtimeFraction: { defaultValue: { numerator: 1 } },
    disableShadowHostSuffixAppend: true,
    traceSampled: false,
    requestHeadersMutations: [
      { remove: "x-a" },
      { append: added },
      { removeOnMatch: { keyMatcher: { prefix: "x-" } } },
    ],
  },
  { clusterHeader: "x-c", hostRewriteLiteral: "a" },
];
const exchange = type("udpa.type.v1.TypedStruct", {
  typeUrl: "type.googleapis.com/envoy.tcp.metadataexchange.config.MetadataExchange",
  value: { protocol: "istio-peer-exchange" },
});
const datagrams = { socketAddress: { address: "127.0.0.1", portValue: 1, protocol: "UDP" } };
const stat = { name: "requests", tags: [{ name: "a", valueFormat: "%RESPONSE_CODE%" }] };

export type FieldExample = readonly [type: string, json: JsonObject];

export const fieldExamples: readonly FieldExample[] = [
  ["cluster.v3.Cluster", endpoint({ envoyInternalAddress: { serverListenerName: "l" } })],
  [
    "cluster.v3.Cluster",
    endpoint(socketAddress("127.0.0.1"), {
      healthCheckConfig: { address: socketAddress("127.0.0.1") },
    }),
  ],
  [
    "cluster.v3.Cluster",
    checked({ httpHealthCheck: { path: "/", method: "POST", send: { text: "00" } } }),
  ],
  [
    "cluster.v3.Cluster",
    checked({
      httpHealthCheck: {
        path: "/",
        receive: [{ text: "00" }],
        requestHeadersToAdd: [added],
        expectedStatuses: [{ start: "200", end: "300" }],
        retriableStatuses: [{ start: "500", end: "501" }],
        codecClientType: "HTTP2",
        serviceNameMatcher: { prefix: "a" },
      },
    }),
  ],
  [
    "cluster.v3.Cluster",
    checked({ tcpHealthCheck: { send: { text: "00" }, receive: [{ text: "00" }] } }),
  ],
  [
    "cluster.v3.Cluster",
    checked({ tcpHealthCheck: { send: { binary: "AA==" }, receive: [{ binary: "AA==" }] } }),
  ],
  [
    "cluster.v3.Cluster",
    {
      name: "c",
      transportSocketMatches: [
        {
          name: "m",
          match: { a: "b" },
          transportSocket: typed("transport_sockets.raw_buffer.v3.RawBuffer"),
        },
      ],
      transportSocket: typed("transport_sockets.raw_buffer.v3.RawBuffer"),
      outlierDetection: { consecutive5xx: 1, enforcingConsecutive5xx: 1, maxEjectionTime: "400s" },
      preconnectPolicy: { perUpstreamPreconnectRatio: 1.5, predictivePreconnectRatio: 1.5 },
      upstreamBindConfig: {
        sourceAddress: { address: "127.0.0.1", portValue: 0 },
        socketOptions: [{ level: "1", name: "36", intValue: "1337", description: "mark" }],
      },
      loadBalancingPolicy: {
        policies: [{ typedExtensionConfig: typed("load_balancing_policies.random.v3.Random") }],
      },
      typedExtensionProtocolOptions: {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": type(
          "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
          { explicitHttpConfig: { httpProtocolOptions: {} } },
        ),
      },
    },
  ],
  [
    "cluster.v3.Cluster",
    {
      name: "c",
      lbPolicy: "CLUSTER_PROVIDED",
      clusterType: typed("clusters.dynamic_forward_proxy.v3.ClusterConfig", {
        dnsCacheConfig: { name: "d", dnsLookupFamily: "ALL" },
      }),
    },
  ],
  [
    "endpoint.v3.ClusterLoadAssignment",
    assigned({ address: { envoyInternalAddress: { serverListenerName: "l" } } }),
  ],
  [
    "endpoint.v3.ClusterLoadAssignment",
    assigned({
      address: socketAddress("127.0.0.1"),
      healthCheckConfig: { address: socketAddress("127.0.0.1") },
    }),
  ],
  [
    "listener.v3.Listener",
    {
      ...listening,
      additionalAddresses: [
        { address: socketAddress("127.0.0.2"), socketOptions: { socketOptions: options } },
      ],
      socketOptions: options,
      accessLog: [fileLog],
      listenerFilters: [
        {
          ...typed("filters.listener.tls_inspector.v3.TlsInspector"),
          filterDisabled: { destinationPortRange: { start: 80, end: 81 } },
        },
      ],
    },
  ],
  [
    "listener.v3.Listener",
    {
      ...listening,
      additionalAddresses: [
        { address: socketAddress("127.0.0.2"), socketOptions: { socketOptions: bytesOption } },
      ],
      socketOptions: bytesOption,
      filterChains: [
        { filters: [tcp], transportSocket: typed("transport_sockets.raw_buffer.v3.RawBuffer") },
      ],
      defaultFilterChain: {
        name: "d",
        filters: [tcp],
        metadata: { filterMetadata: { a: {} } },
        transportSocket: typed("transport_sockets.raw_buffer.v3.RawBuffer"),
        transportSocketConnectTimeout: "1s",
      },
    },
  ],
  [
    "listener.v3.Listener",
    {
      ...listening,
      filterChains: [{ name: "a", filters: [tcp] }],
      filterChainMatcher: {
        onNoMatch: {
          action: { name: "a", typedConfig: type("google.protobuf.StringValue", { value: "a" }) },
        },
      },
    },
  ],
  [
    "listener.v3.Listener",
    {
      ...listening,
      address: pipe({ mode: 0o600 }),
      additionalAddresses: [{ address: pipe({ mode: 0o600 }) }],
    },
  ],
  ["cluster.v3.Cluster", endpoint(pipe(), { healthCheckConfig: { address: pipe() } })],
  [
    "endpoint.v3.ClusterLoadAssignment",
    assigned({ address: pipe(), healthCheckConfig: { address: pipe() } }),
  ],
  ["listener.v3.Listener", { name: "l", internalListener: {}, filterChains: [{ filters: [tcp] }] }],
  ["route.v3.RouteConfiguration", matched({ pathSeparatedPrefix: "/a" })],
  [
    "route.v3.RouteConfiguration",
    matched({
      pathMatchPolicy: typed("path.match.uri_template.v3.UriTemplateMatchConfig", {
        pathTemplate: "/a/*",
      }),
    }),
  ],
  [
    "route.v3.RouteConfiguration",
    matched({
      prefix: "/",
      headers: [{ name: "x-a", presentMatch: true }],
      cookies: [{ name: "a", stringMatch: { exact: "b" } }],
      dynamicMetadata: [
        { filter: "f", path: [{ key: "k" }], value: { stringMatch: { exact: "b" } } },
      ],
      filterState: [{ key: "k", stringMatch: { exact: "b" } }],
    }),
  ],
  [
    "route.v3.RouteConfiguration",
    {
      ...routed(
        {
          route: {
            weightedClusters: {
              clusters: [
                {
                  name: "app",
                  weight: 1,
                  hostRewriteLiteral: "a",
                  metadataMatch: { filterMetadata: { "envoy.lb": { a: "b" } } },
                  requestHeadersToAdd: [added],
                  requestHeadersToRemove: ["x-a"],
                  responseHeadersToAdd: [added],
                  responseHeadersToRemove: ["x-a"],
                  typedPerFilterConfig: {
                    f: type("envoy.config.route.v3.FilterConfig", {
                      isOptional: true,
                      disabled: true,
                    }),
                  },
                },
              ],
              totalWeight: 1,
              headerName: "x-w",
              runtimeKeyPrefix: "k",
            },
            metadataMatch: { filterMetadata: { "envoy.lb": { a: "b" } } },
            retryPolicy: retries,
            requestMirrorPolicies: [
              {
                cluster: "app",
                runtimeFraction: { defaultValue: { numerator: 1 } },
                disableShadowHostSuffixAppend: true,
              },
            ],
            hashPolicy: [{ header: { headerName: "x-a" } }],
          },
          requestHeadersToAdd: [added],
          responseHeadersToAdd: [added],
        },
        {
          retryPolicy: retries,
          requestMirrorPolicies: [{ cluster: "app", hostRewriteLiteral: "a" }],
          requestHeadersToAdd: [added],
          responseHeadersToAdd: [added],
        },
      ),
      requestHeadersToAdd: [added],
      responseHeadersToAdd: [added],
    },
  ],
  [
    "route.v3.RouteConfiguration",
    routed({ directResponse: { status: 200, body: { inlineString: "a" }, bodyFormat: format } }),
  ],
  [
    "route.v3.RouteConfiguration",
    routed({ directResponse: { status: 200, bodyFormat: jsonFormat } }),
  ],
  [
    "filters.http.cors.v3.CorsPolicy",
    { allowOriginStringMatch: [{ exact: "a" }], shadowEnabled: { defaultValue: { numerator: 1 } } },
  ],
  [
    "filters.http.ext_authz.v3.ExtAuthz",
    {
      httpService: asked,
      withRequestBody: body,
      filterEnabledMetadata: {
        filter: "f",
        path: [{ key: "k" }],
        value: { stringMatch: { exact: "b" } },
      },
    },
  ],
  ["filters.http.ext_authz.v3.ExtAuthz", { httpService: { ...service, pathOverride: "/a" } }],
  [
    "filters.http.ext_authz.v3.ExtAuthz",
    {
      httpService: {
        ...service,
        retryPolicy: { retryOn: "5xx", retryBackOff: { baseInterval: "1s" } },
      },
      decoderHeaderMutationRules: { allowExpression: { regex: "a" } },
    },
  ],
  ["filters.http.ext_authz.v3.ExtAuthzPerRoute", { checkSettings: { withRequestBody: body } }],
  ...authzExamples,
  [
    "filters.http.jwt_authn.v3.JwtAuthentication",
    {
      providers: { p: provider },
      requirementMap: { r: { providerName: "p" } },
      filterStateRules: { name: "s", requires: { a: { providerName: "p" } } },
      rules: [
        {
          match: { pathSeparatedPrefix: "/a", headers: [{ name: "x-a", presentMatch: true }] },
          requirementName: "r",
        },
      ],
    },
  ],
  [
    "filters.http.local_ratelimit.v3.LocalRateLimit",
    {
      statPrefix: "s",
      tokenBucket: { maxTokens: 1, fillInterval: "1s" },
      responseHeadersToAdd: [added],
      requestHeadersToAddWhenNotEnforced: [added],
    },
  ],
  ["filters.http.rbac.v3.RBAC", { shadowRules: { policies: { p: policy } } }],
  ["filters.http.rbac.v3.RBAC", { matcher: tree, shadowMatcher: tree }],
  ["filters.network.rbac.v3.RBAC", { statPrefix: "s", shadowRules: { policies: { p: policy } } }],
  ["filters.network.rbac.v3.RBAC", { statPrefix: "s", matcher: tree, shadowMatcher: tree }],
  [
    "filters.http.set_filter_state.v3.Config",
    { onRequestHeaders: [state({ factoryKey: "envoy.string" })] },
  ],
  [
    "filters.network.set_filter_state.v3.Config",
    {
      onNewConnection: [state({ factoryKey: "envoy.string" })],
      onDownstreamTlsHandshake: [state({ factoryKey: "envoy.string" })],
    },
  ],
  ["access_loggers.file.v3.FileAccessLog", { path: "/dev/null", logFormat: format }],
  ["access_loggers.stream.v3.StdoutAccessLog", { logFormat: format }],
  [
    "access_loggers.stats.v3.Config",
    {
      statPrefix: "s",
      counters: [{ stat, valueFixed: "1" }],
      histograms: [{ stat, valueFormat: "%DURATION%" }],
    },
  ],
  [
    "trace.v3.ZipkinConfig",
    {
      traceId128bit: true,
      collectorEndpointVersion: "HTTP_JSON",
      collectorService: { httpUri: { uri: "http://a/v2", cluster: "app", timeout: "1s" } },
    },
  ],
  [
    "trace.v3.OpenTelemetryConfig",
    {
      grpcService: { envoyGrpc: { clusterName: "app" } },
      sampler: typed("tracers.opentelemetry.samplers.v3.AlwaysOnSamplerConfig"),
      resourceDetectors: [
        typed("tracers.opentelemetry.resource_detectors.v3.EnvironmentResourceDetectorConfig"),
      ],
    },
  ],
  [
    "clusters.dynamic_forward_proxy.v3.ClusterConfig",
    { dnsCacheConfig: { name: "d", dnsLookupFamily: "ALL" } },
  ],
  [
    "load_balancing_policies.ring_hash.v3.RingHash",
    { hashBalanceFactor: 120, maximumRingSize: "2048" },
  ],
  [
    "load_balancing_policies.ring_hash.v3.RingHash",
    { consistentHashingLbConfig: { hashBalanceFactor: 120 } },
  ],
  ...choiceExamples,
  [
    "filters.network.tcp_proxy.v3.TcpProxy",
    {
      weightedClusters: { clusters: [{ name: "app", weight: 1 }] },
      accessLog: [fileLog],
      hashPolicy: [{ sourceIp: {} }],
      tunnelingConfig: { hostname: "h:1", headersToAdd: [added] },
    },
  ],
  [
    "filters.network.http_connection_manager.v3.HttpConnectionManager",
    managed({
      accessLog: [fileLog],
      httpProtocolOptions: {
        acceptHttp10: true,
        defaultHostForHttp10: "a",
        headerKeyFormat: {
          statefulFormatter: typed(
            "http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig",
          ),
        },
      },
      http2ProtocolOptions: {
        initialStreamWindowSize: 65_535,
        initialConnectionWindowSize: 65_535,
      },
      internalAddressConfig: { cidrRanges: [{ addressPrefix: "10.0.0.0", prefixLen: 8 }] },
      proxy100Continue: true,
      tracing: {
        provider: {
          name: "z",
          typedConfig: type("envoy.config.trace.v3.ZipkinConfig", {
            collectorCluster: "app",
            collectorEndpoint: "/a",
            collectorEndpointVersion: "HTTP_JSON",
          }),
        },
      },
      localReplyConfig: {
        mappers: [
          {
            filter: {
              statusCodeFilter: { comparison: { value: { defaultValue: 400, runtimeKey: "k" } } },
            },
            statusCode: 401,
            body: { inlineString: "a" },
            bodyFormatOverride: format,
            headersToAdd: [added],
          },
          {
            filter: {
              statusCodeFilter: { comparison: { value: { defaultValue: 500, runtimeKey: "k" } } },
            },
            bodyFormatOverride: jsonFormat,
          },
        ],
        bodyFormat: format,
      },
    }),
  ],
  [
    "filters.network.http_connection_manager.v3.HttpConnectionManager",
    managed({ localReplyConfig: { bodyFormat: jsonFormat } }),
  ],
  [
    "filters.network.http_connection_manager.v3.HttpConnectionManager",
    managed({
      httpFilters: [
        {
          name: "f",
          configDiscovery: {
            configSource: { ads: {}, initialFetchTimeout: "1s", resourceApiVersion: "V3" },
            typeUrls: ["type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"],
            defaultConfig: type("envoy.extensions.filters.http.cors.v3.Cors"),
            applyDefaultConfigWithoutWarming: true,
          },
        },
        router,
      ],
    }),
  ],
  ...["explicitHttpConfig", "useDownstreamProtocolConfig", "autoConfig"].flatMap(upstreamsOf),
  ["filters.http.router.v3.Router", { strictCheckHeaders: ["x-envoy-upstream-rq-timeout-ms"] }],
  [
    "filters.network.tcp_proxy.v3.TcpProxy",
    { cluster: "app", tunnelingConfig: { hostname: "h:1", usePost: true, postPath: "/a" } },
  ],
  [
    "filters.network.tcp_proxy.v3.TcpProxy",
    {
      cluster: "app",
      tunnelingConfig: {
        hostname: "h:1",
        requestIdExtension: {
          typedConfig: type("envoy.extensions.request_id.uuid.v3.UuidRequestIdConfig"),
        },
        requestIdHeader: "x-id",
        requestIdMetadataKey: "id",
      },
    },
  ],
  [
    "filters.network.http_connection_manager.v3.HttpConnectionManager",
    replying({ textFormat: "a" }),
  ],
  [
    "route.v3.RouteConfiguration",
    routed({ directResponse: { status: 200, bodyFormat: { textFormat: "a" } } }),
  ],
  [
    "route.v3.RouteConfiguration",
    { ...routed({ route: { cluster: "app" } }), requestMirrorPolicies: mirrors },
  ],
  [
    "route.v3.RouteConfiguration",
    routed(
      {
        route: {
          cluster: "app",
          requestMirrorPolicies: mirrors,
          metadataMatch: { filterMetadata: { "envoy.lb": { a: "b" } } },
          retryPolicy: { retryOn: "5xx", rateLimitedRetryBackOff: resets },
          cors: { allowOriginStringMatch: [{ exact: "a" }] },
        },
      },
      {
        requestMirrorPolicies: mirrors,
        retryPolicy: { retryOn: "5xx", rateLimitedRetryBackOff: resets },
        cors: { allowOriginStringMatch: [{ exact: "a" }] },
      },
    ),
  ],
  [
    "route.v3.RouteConfiguration",
    routed({
      match: {
        pathMatchPolicy: typed("path.match.uri_template.v3.UriTemplateMatchConfig", {
          pathTemplate: "/a/{b}",
        }),
      },
      route: {
        pathRewritePolicy: typed("path.rewrite.uri_template.v3.UriTemplateRewriteConfig", {
          pathTemplateRewrite: "/{b}",
        }),
        weightedClusters: { clusters: [{ name: "app", weight: 1 }], useHashPolicy: true },
        hashPolicy: [{ header: { headerName: "x-a" } }],
      },
    }),
  ],
  [
    "route.v3.RouteConfiguration",
    routed({
      match: { connectMatcher: {} },
      route: { cluster: "app", upgradeConfigs: [{ upgradeType: "CONNECT", connectConfig: {} }] },
    }),
  ],
  [
    "cluster.v3.Cluster",
    checked({
      httpHealthCheck: {
        path: "/",
        method: "POST",
        send: { binary: "AA==" },
        receive: [{ binary: "AA==" }],
      },
      eventLogger: [
        typed("health_check.event_sinks.file.v3.HealthCheckEventFileSink", {
          eventLogPath: "/dev/null",
        }),
      ],
    }),
  ],
  [
    "cluster.v3.Cluster",
    {
      ...checked({
        grpcHealthCheck: { serviceName: "s", authority: "a", initialMetadata: [added] },
      }),
      typedExtensionProtocolOptions: {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": type(
          "envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
          { explicitHttpConfig: { http2ProtocolOptions: {} } },
        ),
      },
    },
  ],
  [
    "cluster.v3.Cluster",
    {
      name: "c",
      filters: [{ name: "f", typedConfig: exchange }],
      upstreamBindConfig: {
        sourceAddress: { address: "127.0.0.1", portValue: 0 },
        extraSourceAddresses: [{ address: { address: "::1", portValue: 0 } }],
      },
    },
  ],
  [
    "cluster.v3.Cluster",
    endpoint(socketAddress("127.0.0.1"), {
      additionalAddresses: [{ address: socketAddress("::1") }],
    }),
  ],
  [
    "endpoint.v3.ClusterLoadAssignment",
    assigned({
      address: socketAddress("127.0.0.1"),
      additionalAddresses: [{ address: socketAddress("::1") }],
    }),
  ],
  [
    "cluster.v3.Cluster",
    {
      name: "c",
      typedDnsResolverConfig: typed(
        "network.dns_resolver.getaddrinfo.v3.GetAddrInfoDnsResolverConfig",
      ),
    },
  ],
  [
    "listener.v3.Listener",
    {
      name: "l",
      address: datagrams,
      additionalAddresses: [{ address: datagrams }],
      udpListenerConfig: {},
      listenerFilters: [
        typed("filters.udp.udp_proxy.v3.UdpProxyConfig", { statPrefix: "s", cluster: "app" }),
      ],
    },
  ],
  [
    "filters.network.http_connection_manager.v3.HttpConnectionManager",
    managed({
      httpFilters: [
        {
          name: "f",
          configDiscovery: {
            configSource: { self: {} },
            typeUrls: ["type.googleapis.com/envoy.extensions.filters.http.cors.v3.Cors"],
          },
        },
        router,
      ],
    }),
  ],
  [
    "listener.v3.Listener",
    {
      ...listening,
      defaultFilterChain: { filterChainMatch: { serverNames: ["a"] }, filters: [tcp] },
    },
  ],
];

function upstreamsOf(field: string): readonly FieldExample[] {
  const protocols: readonly JsonObject[] = [
    {
      httpProtocolOptions: {
        headerKeyFormat: {
          statefulFormatter: typed(
            "http.header_formatters.preserve_case.v3.PreserveCaseFormatterConfig",
          ),
        },
      },
    },
    {
      http2ProtocolOptions: {
        initialStreamWindowSize: 65_535,
        initialConnectionWindowSize: 65_535,
      },
    },
  ];
  return protocols.map((protocol) => [
    "upstreams.http.v3.HttpProtocolOptions",
    { [field]: protocol },
  ]);
}

function replying(given: JsonObject): JsonObject {
  return managed({
    localReplyConfig: {
      mappers: [
        {
          filter: {
            statusCodeFilter: { comparison: { value: { defaultValue: 400, runtimeKey: "k" } } },
          },
          bodyFormatOverride: given,
        },
      ],
      bodyFormat: given,
    },
  });
}
