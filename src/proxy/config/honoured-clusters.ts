/** Which fields of clusters and their endpoints are honoured. */
import type { Cluster } from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import type { HealthCheck } from "../../wire/gen/ts/envoy/config/core/v3/health_check.ts";
import type { ClusterConfig as AggregateConfig } from "../../wire/gen/ts/envoy/extensions/clusters/aggregate/v3/cluster.ts";
import type { ClusterLoadAssignment } from "../../wire/gen/ts/envoy/config/endpoint/v3/endpoint.ts";
import {
  honouredAddress,
  honouredOutlierDetection,
  honouredPlace,
  honouredSource,
} from "./honoured-extensions.ts";
import type { Honoured } from "./honoured.ts";

export const honouredAssignment: Honoured<ClusterLoadAssignment> = {
  clusterName: true,
  endpoints: {
    locality: true,
    metadata: true,
    lbEndpoints: {
      endpoint: {
        address: honouredAddress,
        additionalAddresses: {
          address: { socketAddress: { address: true, portValue: true, namedPort: "absent" } },
        },
        hostname: true,
        healthCheckConfig: {
          portValue: true,
          hostname: true,
          address: honouredPlace,
          disableActiveHealthCheck: true,
        },
      },
      healthStatus: true,
      metadata: true,
      loadBalancingWeight: true,
      endpointName: "absent",
    },
    loadBalancingWeight: true,
    priority: true,
    proximity: "absent",
  },
  policy: {
    overprovisioningFactor: true,
    dropOverloads: true,
    endpointStaleAfter: true,
    weightedPriorityHealth: true,
  },
};

const payload = { text: true, binary: true } as const;

export const honouredHealthCheck: Honoured<HealthCheck> = {
  name: true,
  timeout: true,
  interval: true,
  initialJitter: true,
  intervalJitter: true,
  intervalJitterPercent: true,
  unhealthyThreshold: true,
  healthyThreshold: true,
  reuseConnection: true,
  altPort: "absent",
  httpHealthCheck: {
    host: true,
    path: true,
    send: payload,
    receive: payload,
    responseBufferSize: true,
    requestHeadersToAdd: true,
    requestHeadersToRemove: true,
    expectedStatuses: true,
    retriableStatuses: true,
    codecClientType: true,
    serviceNameMatcher: true,
    method: true,
  },
  tcpHealthCheck: { send: payload, receive: payload },
  grpcHealthCheck: { serviceName: true, authority: true, initialMetadata: true },
  noTrafficInterval: true,
  noTrafficHealthyInterval: true,
  unhealthyInterval: true,
  unhealthyEdgeInterval: true,
  healthyEdgeInterval: true,
  eventLogPath: true,
  eventLogger: true,
  alwaysLogHealthCheckFailures: true,
  alwaysLogHealthCheckSuccess: true,
  tlsOptions: { alpnProtocols: true },
  transportSocketMatchCriteria: true,
};

export const honouredAggregate: Honoured<AggregateConfig> = { clusters: true };

const source = { protocol: true, address: true, portValue: true, namedPort: "absent" } as const;

export const honouredCluster: Honoured<Cluster> = {
  transportSocketMatches: { name: true, match: true, transportSocket: true },
  name: true,
  altStatName: true,
  type: true,
  clusterType: true,
  edsClusterConfig: { serviceName: true, edsConfig: honouredSource },
  connectTimeout: true,
  perConnectionBufferLimitBytes: true,
  lbPolicy: true,
  loadAssignment: honouredAssignment,
  maxRequestsPerConnection: true,
  circuitBreakers: {
    thresholds: {
      priority: true,
      maxConnections: true,
      maxPendingRequests: true,
      maxRequests: true,
      maxRetries: true,
      retryBudget: true,
      maxConnectionPools: true,
      trackRemaining: true,
    },
    perHostThresholds: true,
  },
  commonHttpProtocolOptions: {
    idleTimeout: true,
    maxRequestsPerConnection: true,
    maxHeadersCount: true,
    maxResponseHeadersKb: true,
  },
  typedExtensionProtocolOptions: true,
  dnsRefreshRate: true,
  dnsFailureRefreshRate: { baseInterval: true, maxInterval: true },
  typedDnsResolverConfig: true,
  dnsJitter: true,
  respectDnsTtl: true,
  dnsLookupFamily: true,
  healthChecks: honouredHealthCheck,
  ignoreHealthOnHostRemoval: true,
  outlierDetection: honouredOutlierDetection,
  // Istio's exchange of metadata alone; the compiler refuses others.
  filters: true,
  cleanupInterval: true,
  // Readiness waits for every cluster.
  waitForWarmOnInit: "absent",
  upstreamBindConfig: {
    // Of connections over IP, those of STATE_PREBIND, as in Envoy; each socket carries the proxy's own SO_MARK, whatever this says.
    socketOptions: true,
    sourceAddress: source,
    extraSourceAddresses: { address: source },
    freebind: "zero",
  },
  lbSubsetConfig: true,
  ringHashLbConfig: true,
  maglevLbConfig: true,
  originalDstLbConfig: true,
  leastRequestLbConfig: true,
  roundRobinLbConfig: true,
  commonLbConfig: {
    healthyPanicThreshold: true,
    localityWeightedLbConfig: true,
    // Updates are applied as they come.
    updateMergeWindow: true,
    consistentHashingLbConfig: { hashBalanceFactor: true, useHostnameForHashing: true },
    zoneAwareLbConfig: {
      routingEnabled: true,
      minClusterSize: true,
      failTrafficOnPanic: true,
    },
    ignoreNewHostsUntilFirstHc: true,
    overrideHostStatus: true,
    closeConnectionsOnHostSetChange: true,
  },
  preconnectPolicy: { perUpstreamPreconnectRatio: true, predictivePreconnectRatio: true },
  upstreamConnectionOptions: {
    tcpKeepalive: { keepaliveProbes: true, keepaliveTime: true, keepaliveInterval: true },
    happyEyeballsConfig: { firstAddressFamilyVersion: true, firstAddressFamilyCount: true },
  },
  transportSocket: true,
  metadata: true,
  trackClusterStats: { timeoutBudgets: true, requestResponseSizes: true, perEndpointStats: true },
  loadBalancingPolicy: true,
};
