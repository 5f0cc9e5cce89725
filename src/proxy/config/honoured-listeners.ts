/** Which fields of listeners and of their connection managers are honoured. */
import type { SocketOption } from "../../wire/gen/ts/envoy/config/core/v3/socket_option.ts";
import type { Listener } from "../../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import type { FilterChain } from "../../wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import type { HttpConnectionManager } from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import type { TcpProxy } from "../../wire/gen/ts/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.ts";
import {
  honouredFormat,
  honouredHttp2,
  honouredSocketAddress,
  honouredSource,
} from "./honoured-extensions.ts";
import type { Honoured } from "./honoured.ts";

const filterChain: Honoured<FilterChain> = {
  filterChainMatch: true,
  filters: { name: true, typedConfig: true },
  metadata: true,
  transportSocket: true,
  transportSocketConnectTimeout: true,
  name: true,
  useProxyProto: "zero",
};

const honouredSocketOption: Honoured<SocketOption> = {
  description: true,
  level: true,
  name: true,
  intValue: true,
  bufValue: true,
  state: true,
  type: true,
};

/** An IP address and a port, or a Unix socket. */
const ownAddress = { ...honouredSocketAddress, pipe: { path: true, mode: true } } as const;

export const honouredListener: Honoured<Listener> = {
  name: true,
  address: ownAddress,
  additionalAddresses: {
    address: ownAddress,
    socketOptions: { socketOptions: honouredSocketOption },
  },
  statPrefix: true,
  filterChains: filterChain,
  filterChainMatcher: true,
  useOriginalDst: true,
  defaultFilterChain: filterChain,
  perConnectionBufferLimitBytes: true,
  metadata: true,
  deprecatedV1: true,
  drainType: true,
  listenerFilters: { name: true, typedConfig: true, filterDisabled: true },
  listenerFiltersTimeout: true,
  continueOnListenerFiltersTimeout: true,
  transparent: true,
  freebind: true,
  // Of sockets that are opened, too: one that stays open stays as it is.
  socketOptions: honouredSocketOption,
  trafficDirection: true,
  // One thread accepts, so balance between threads is exact already.
  connectionBalanceConfig: { exactBalance: true },
  reusePort: true,
  enableReusePort: true,
  accessLog: true,
  tcpBacklogSize: true,
  tcpFastOpenQueueLength: "zero",
  // Of a listener whose socket is opened for it: one that stays open stays as it is.
  tcpKeepalive: { keepaliveProbes: true, keepaliveTime: true, keepaliveInterval: true },
  maxConnectionsToAcceptPerSocketEvent: true,
  bindToPort: true,
  internalListener: {},
  ignoreGlobalConnLimit: true,
  bypassOverloadManager: true,
};

export const honouredHttp: Honoured<HttpConnectionManager> = {
  codecType: true,
  statPrefix: true,
  rds: { routeConfigName: true, configSource: honouredSource },
  routeConfig: true,
  httpFilters: {
    name: true,
    typedConfig: true,
    configDiscovery: {
      configSource: honouredSource,
      defaultConfig: true,
      applyDefaultConfigWithoutWarming: true,
      typeUrls: true,
    },
    isOptional: true,
    disabled: true,
  },
  tracing: {
    clientSampling: true,
    randomSampling: true,
    overallSampling: true,
    provider: true,
    spawnUpstreamSpan: true,
    noContextPropagation: true,
    maxPathTagLength: true,
    verbose: true,
    customTags: true,
    operation: true,
    upstreamOperation: true,
  },
  commonHttpProtocolOptions: {
    idleTimeout: true,
    maxConnectionDuration: true,
    maxHeadersCount: true,
    maxStreamDuration: true,
    headersWithUnderscoresAction: true,
    maxRequestsPerConnection: true,
    // Of answers.
    maxResponseHeadersKb: "absent",
  },
  httpProtocolOptions: {
    allowAbsoluteUrl: true,
    allowCustomMethods: true,
    acceptHttp10: true,
    defaultHostForHttp10: true,
    headerKeyFormat: true,
    enableTrailers: true,
    allowChunkedLength: true,
    overrideStreamErrorOnInvalidHttpMessage: true,
    // Which library Envoy reads heads with.
    useBalsaParser: true,
  },
  http2ProtocolOptions: honouredHttp2,
  serverName: true,
  serverHeaderTransformation: true,
  maxRequestHeadersKb: true,
  streamIdleTimeout: true,
  requestTimeout: true,
  requestHeadersTimeout: true,
  // Between HTTP/2's two farewells; on HTTP/1.1 a connection ends with the answer in hand.
  drainTimeout: true,
  delayedCloseTimeout: true,
  accessLog: true,
  accessLogFlushInterval: true,
  flushAccessLogOnNewRequest: true,
  accessLogOptions: {
    accessLogFlushInterval: true,
    flushAccessLogOnNewRequest: true,
    flushLogOnTunnelSuccessfullyEstablished: true,
  },
  addUserAgent: "zero",
  useRemoteAddress: true,
  xffNumTrustedHops: true,
  internalAddressConfig: { unixSockets: true, cidrRanges: true },
  skipXffAppend: true,
  via: true,
  generateRequestId: true,
  preserveExternalRequestId: true,
  alwaysSetRequestIdInResponse: true,
  requestIdExtension: true,
  forwardClientCertDetails: true,
  setCurrentClientCertDetails: { subject: true, cert: true, chain: true, dns: true, uri: true },
  proxy100Continue: true,
  upgradeConfigs: { upgradeType: true, enabled: true },
  normalizePath: true,
  mergeSlashes: true,
  pathWithEscapedSlashesAction: true,
  stripMatchingHostPort: true,
  stripAnyHostPort: true,
  streamErrorOnInvalidHttpMessage: true,
  stripTrailingHostDot: true,
  appendXForwardedPort: true,
  addProxyProtocolConnectionState: true,
  localReplyConfig: {
    mappers: {
      filter: true,
      statusCode: true,
      body: true,
      bodyFormatOverride: honouredFormat,
      headersToAdd: true,
    },
    bodyFormat: honouredFormat,
  },
};

export const honouredTcp: Honoured<TcpProxy> = {
  statPrefix: true,
  cluster: true,
  weightedClusters: { clusters: { name: true, weight: true } },
  idleTimeout: true,
  accessLog: true,
  maxConnectAttempts: true,
  hashPolicy: true,
  // Loggers hear of connections and of progress where their filters name these entries.
  flushAccessLogOnConnected: true,
  accessLogOptions: { flushAccessLogOnConnected: true },
  // A connection is the filter's once its TLS stands: ON_DOWNSTREAM_TLS_HANDSHAKE is what is done in any case.
  upstreamConnectMode: true,
  maxEarlyDataBytes: true,
  // CONNECT, over HTTP/1.1 or HTTP/2, or what of them ALPN agrees on.
  tunnelingConfig: {
    hostname: true,
    headersToAdd: true,
    usePost: true,
    postPath: true,
    propagateResponseHeaders: true,
    propagateResponseTrailers: true,
    requestIdExtension: true,
    requestIdHeader: true,
    requestIdMetadataKey: true,
  },
  maxDownstreamConnectionDuration: true,
  checkDrainClose: "absent",
};
