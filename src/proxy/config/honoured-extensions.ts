/**
 * Which fields of filters, loggers and other extensions are honoured. What means nothing here, and
 * is let pass for that reason, says why; keys of a runtime do, for there is none.
 */
import type { CaresDnsResolverConfig } from "../../wire/gen/ts/envoy/extensions/network/dns_resolver/cares/v3/cares_dns_resolver.ts";
import type { Http2ProtocolOptions } from "../../wire/gen/ts/envoy/config/core/v3/protocol.ts";
import type { Address } from "../../wire/gen/ts/envoy/config/core/v3/address.ts";
import type { ConfigSource } from "../../wire/gen/ts/envoy/config/core/v3/config_source.ts";
import type { SubstitutionFormatString } from "../../wire/gen/ts/envoy/config/core/v3/substitution_format_string.ts";
import type { DatadogConfig } from "../../wire/gen/ts/envoy/config/trace/v3/datadog.ts";
import type { OpenTelemetryConfig } from "../../wire/gen/ts/envoy/config/trace/v3/opentelemetry.ts";
import type { SkyWalkingConfig } from "../../wire/gen/ts/envoy/config/trace/v3/skywalking.ts";
import type { ZipkinConfig } from "../../wire/gen/ts/envoy/config/trace/v3/zipkin.ts";
import type { OutlierDetection } from "../../wire/gen/ts/envoy/config/cluster/v3/outlier_detection.ts";
import type { RBAC as Rules } from "../../wire/gen/ts/envoy/config/rbac/v3/rbac.ts";
import type { FileAccessLog } from "../../wire/gen/ts/envoy/extensions/access_loggers/file/v3/file.ts";
import type { Config as StatsLog } from "../../wire/gen/ts/envoy/extensions/access_loggers/stats/v3/stats.ts";
import type { StdoutAccessLog } from "../../wire/gen/ts/envoy/extensions/access_loggers/stream/v3/stream.ts";
import type { ClusterConfig } from "../../wire/gen/ts/envoy/extensions/clusters/dynamic_forward_proxy/v3/cluster.ts";
import type { CorsPolicy } from "../../wire/gen/ts/envoy/extensions/filters/http/cors/v3/cors.ts";
import type { FilterConfig as ForwardProxy } from "../../wire/gen/ts/envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy.ts";
import type { FilterConfig as GrpcStats } from "../../wire/gen/ts/envoy/extensions/filters/http/grpc_stats/v3/config.ts";
import type { RBAC as HttpRbac } from "../../wire/gen/ts/envoy/extensions/filters/http/rbac/v3/rbac.ts";
import type { Router } from "../../wire/gen/ts/envoy/extensions/filters/http/router/v3/router.ts";
import type { ProxyProtocol } from "../../wire/gen/ts/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.ts";
import type { TlsInspector } from "../../wire/gen/ts/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.ts";
import type { RBAC as NetworkRbac } from "../../wire/gen/ts/envoy/extensions/filters/network/rbac/v3/rbac.ts";
import type { InternalUpstreamTransport } from "../../wire/gen/ts/envoy/extensions/transport_sockets/internal_upstream/v3/internal_upstream.ts";
import type { ProxyProtocolUpstreamTransport } from "../../wire/gen/ts/envoy/extensions/transport_sockets/proxy_protocol/v3/upstream_proxy_protocol.ts";
import type { HttpProtocolOptions } from "../../wire/gen/ts/envoy/extensions/upstreams/http/v3/http_protocol_options.ts";
import type { Honoured } from "./honoured.ts";

/** Everything comes over the one stream. Nothing is given up for being late. */
export const honouredSource: Honoured<ConfigSource> = {
  ads: true,
  path: "absent",
  self: true,
  initialFetchTimeout: true,
  resourceApiVersion: true,
};

/** An IP address and a port of TCP. */
export const honouredSocketAddress: Honoured<Address> = {
  socketAddress: { address: true, portValue: true, namedPort: "absent" },
};

/** That, or a Unix socket, whose permissions are its owner's. */
export const honouredPlace: Honoured<Address> = {
  ...honouredSocketAddress,
  pipe: { path: true },
};

/** That, or a listener inside. */
export const honouredAddress: Honoured<Address> = {
  ...honouredPlace,
  envoyInternalAddress: true,
};

const rules: Honoured<Rules> = { action: true, policies: true };

export const honouredHttpRbac: Honoured<HttpRbac> = {
  rules,
  rulesStatPrefix: true,
  shadowRules: rules,
  shadowRulesStatPrefix: true,
  matcher: true,
  shadowMatcher: true,
  trackPerRuleStats: true,
};

export const honouredNetworkRbac: Honoured<NetworkRbac> = {
  rules,
  shadowRules: rules,
  statPrefix: true,
  shadowRulesStatPrefix: true,
  matcher: true,
  shadowMatcher: true,
  delayDeny: true,
  // Once or for all bytes: nothing that a policy reads changes while they come.
  enforcementType: true,
};

export const honouredCors: Honoured<CorsPolicy> = {
  allowOriginStringMatch: true,
  allowMethods: true,
  allowHeaders: true,
  exposeHeaders: true,
  maxAge: true,
  allowCredentials: true,
  allowPrivateNetworkAccess: true,
  filterEnabled: true,
  shadowEnabled: true,
  forwardNotMatchingPreflights: true,
};

export const honouredGrpcStats: Honoured<GrpcStats> = {
  emitFilterState: true,
  individualMethodStatsAllowlist: { services: { name: true, methodNames: true } },
  statsForAllMethods: true,
  enableUpstreamStats: true,
  replaceDotsInGrpcServiceName: true,
};

/** The cluster resolves; this filter only names the same cache. */
export const honouredForwardProxy: Honoured<ForwardProxy> = {
  dnsCacheConfig: { name: true, dnsLookupFamily: true, maxHosts: "absent" },
};

export const honouredCaresResolver: Honoured<CaresDnsResolverConfig> = {
  // How Envoy's library keeps its sockets: here it is the machine's own that asks.
  udpMaxQueries: true,
  maxUdpChannelDuration: true,
  reinitChannelOnTimeout: true,
  queryTimeoutSeconds: "absent",
  queryTries: "absent",
  edns0MaxPayloadSize: "absent",
  qcacheMaxTtl: "absent",
};

export const honouredForwardCluster: Honoured<ClusterConfig> = {
  dnsCacheConfig: { name: true, dnsLookupFamily: true, hostTtl: true, maxHosts: "absent" },
  // It concerns names in certificates, which are checked as the TLS context says.
  allowInsecureClusterOptions: true,
};

/** What comes by name may say less: the rest concerns more than the requests that pass. */
export const honouredNamedRouter: Honoured<Router> = {
  // Envoy's series by cluster are always there.
  dynamicStats: true,
  strictCheckHeaders: true,
  rejectConnectRequestEarlyData: "zero",
};

export const honouredRouter: Honoured<Router> = {
  ...honouredNamedRouter,
  startChildSpan: true,
  suppressEnvoyHeaders: true,
  respectExpectedRqTimeout: true,
};

const passThroughTlvs = { matchType: true, tlvType: true } as const;

export const honouredProxyProtocol: Honoured<ProxyProtocol> = {
  rules: {
    tlvType: true,
    onTlvPresent: { metadataNamespace: true, key: true, valueStringEncoding: true },
  },
  passThroughTlvs,
  disallowedVersions: true,
  allowRequestsWithoutProxyProtocol: true,
  statPrefix: true,
};

export const honouredProxyUpstream: Honoured<ProxyProtocolUpstreamTransport> = {
  config: { version: true, passThroughTlvs, addedTlvs: { type: true, value: true } },
  transportSocket: true,
};

export const honouredInternalUpstream: Honoured<InternalUpstreamTransport> = {
  passthroughMetadata: { kind: { host: true, cluster: true }, name: true },
  transportSocket: true,
};

export const honouredTlsInspector: Honoured<TlsInspector> = {
  // How Envoy reads, not what.
  initialReadBufferSize: true,
  maxClientHelloSize: "absent",
  enableJa3Fingerprinting: "zero",
  enableJa4Fingerprinting: "zero",
};

export const honouredFormat: Honoured<SubstitutionFormatString> = {
  textFormat: true,
  textFormatSource: {
    inlineString: true,
    inlineBytes: "absent",
    filename: "absent",
    environmentVariable: "absent",
  },
  jsonFormat: true,
  formatters: true,
  omitEmptyValues: true,
  // Fields are sorted always.
  jsonFormatOptions: true,
  // Of answers alone.
  contentType: true,
};

export const honouredFileLog: Honoured<FileAccessLog> = {
  path: true,
  format: true,
  jsonFormat: true,
  typedJsonFormat: true,
  logFormat: honouredFormat,
};

export const honouredStreamLog: Honoured<StdoutAccessLog> = { logFormat: honouredFormat };

export const honouredStatsLog: Honoured<StatsLog> = {
  statPrefix: true,
  // Our registry bounds series by itself; a prefix sets them apart among Envoy's own, and names none here.
  statsScope: {
    prefix: true,
    enableEviction: true,
    maxCounters: true,
    maxGauges: true,
    maxHistograms: true,
  },
  counters: true,
  histograms: true,
};

export const honouredTelemetry: Honoured<OpenTelemetryConfig> = {
  serviceName: true,
  httpService: true,
  grpcService: true,
  resourceDetectors: true,
  sampler: true,
  maxCacheSize: true,
  setTelemetrySdkResourceAttributes: "zero",
  setServiceNameResourceAttribute: "absent",
  setInstrumentationScope: "absent",
};

export const honouredZipkin: Honoured<ZipkinConfig> = {
  collectorCluster: true,
  collectorEndpoint: true,
  collectorEndpointVersion: true,
  collectorHostname: true,
  collectorService: true,
  sharedSpanContext: true,
  traceContextOption: true,
  traceId128bit: true,
};

export const honouredDatadog: Honoured<DatadogConfig> = {
  collectorCluster: true,
  collectorHostname: true,
  serviceName: true,
};

export const honouredSkywalking: Honoured<SkyWalkingConfig> = {
  grpcService: true,
  clientConfig: {
    serviceName: true,
    instanceName: true,
    backendToken: true,
    maxCacheSize: true,
  },
};

const pool = {
  idleTimeout: true,
  maxRequestsPerConnection: true,
  maxConnectionDuration: true,
  maxStreamDuration: true,
  maxHeadersCount: true,
  maxResponseHeadersKb: true,
  // Of what clients send alone, in Envoy, too.
  headersWithUnderscoresAction: true,
} as const;
/** Trailers always pass. */
const http1 = {
  enableTrailers: true,
  headerKeyFormat: true,
  allowChunkedLength: true,
  // Of requests alone.
  allowAbsoluteUrl: "zero",
  overrideStreamErrorOnInvalidHttpMessage: "zero",
  // Which library Envoy reads heads with.
  useBalsaParser: true,
} as const;
/** The same for both sides. */
export const honouredHttp2: Honoured<Http2ProtocolOptions> = {
  hpackTableSize: true,
  maxConcurrentStreams: true,
  initialStreamWindowSize: true,
  initialConnectionWindowSize: true,
  maxOutboundFrames: true,
  maxOutboundControlFrames: true,
  maxConsecutiveInboundFramesWithEmptyPayload: true,
  maxInboundPriorityFramesPerStream: true,
  maxInboundWindowUpdateFramesPerDataFrameSent: true,
  streamErrorOnInvalidHttpMessaging: true,
  overrideStreamErrorOnInvalidHttpMessage: true,
  connectionKeepalive: { interval: true, timeout: true },
  allowConnect: true,
  // Which library Envoy reads frames with.
  useOghttp2Codec: true,
  maxMetadataSize: "absent",
  enableHuffmanEncoding: "absent",
  maxHeaderFieldSizeKb: "absent",
  disallowObsText: "absent",
  streamResetBurst: "absent",
  streamResetRate: "absent",
};

export const honouredUpstreamHttp: Honoured<HttpProtocolOptions> = {
  commonHttpProtocolOptions: pool,
  upstreamHttpProtocolOptions: {
    autoSni: true,
    autoSanValidation: true,
    overrideAutoSniHeader: true,
  },
  explicitHttpConfig: {
    httpProtocolOptions: http1,
    http2ProtocolOptions: honouredHttp2,
  },
  useDownstreamProtocolConfig: { httpProtocolOptions: http1, http2ProtocolOptions: honouredHttp2 },
  autoConfig: { httpProtocolOptions: http1, http2ProtocolOptions: honouredHttp2 },
  outlierDetection: true,
};

/** Pushes to other endpoints, or by other measures, are not known. */
export const honouredOutlierDetection: Honoured<OutlierDetection> = {
  consecutive5xx: true,
  interval: true,
  baseEjectionTime: true,
  maxEjectionPercent: true,
  enforcingConsecutive5xx: true,
  enforcingSuccessRate: true,
  successRateMinimumHosts: true,
  successRateRequestVolume: true,
  successRateStdevFactor: true,
  consecutiveGatewayFailure: true,
  enforcingConsecutiveGatewayFailure: true,
  splitExternalLocalOriginErrors: true,
  consecutiveLocalOriginFailure: true,
  enforcingConsecutiveLocalOriginFailure: true,
  enforcingFailurePercentage: true,
  enforcingFailurePercentageLocalOrigin: true,
  enforcingLocalOriginSuccessRate: true,
  failurePercentageThreshold: true,
  failurePercentageMinimumHosts: true,
  failurePercentageRequestVolume: true,
  maxEjectionTime: true,
  maxEjectionTimeJitter: true,
  alwaysEjectOneHost: true,
  detectDegradedHosts: "zero",
  successfulActiveHealthCheckUnejectHost: true,
};
