/** The fields of a cluster that a DestinationRule sets: balancer, pool, outlier detection. */
import type {
  ConnectionPool,
  LoadBalancer,
  OutlierDetection,
  PortPolicy,
} from "../../model/destination-rule.ts";
import {
  Cluster_LbPolicy,
  type ClusterSchema,
} from "../../wire/gen/es/envoy/config/cluster/v3/cluster_pb.ts";
import type { OutlierDetectionSchema } from "../../wire/gen/es/envoy/config/cluster/v3/outlier_detection_pb.ts";
import { HttpProtocolOptionsSchema } from "../../wire/gen/es/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.ts";
import type { Init } from "./proto.ts";
import { any, duration } from "./proto.ts";

export type ClusterInit = Init<typeof ClusterSchema>;

export interface PolicyContext {
  readonly policy: PortPolicy;
  readonly protocol: "http" | "http2" | "tcp" | "auto";
  /** Balancers mean nothing to an ORIGINAL_DST cluster. */
  readonly isBalanced: boolean;
  readonly connectTimeoutMs: number;
}

/** Istio's "no limit". */
const unlimited = 2 ** 32 - 1;

export function policyFields(context: PolicyContext): ClusterInit {
  const { policy, isBalanced } = context;
  const pool = policy.connectionPool ?? {};
  return {
    connectTimeout: duration(pool.tcp?.connectTimeout ?? context.connectTimeoutMs),
    ...(isBalanced ? balancerFields(policy.loadBalancer) : {}),
    circuitBreakers: { thresholds: [circuitBreakers(pool)] },
    ...(policy.outlierDetection === undefined
      ? {}
      : { outlierDetection: outlierDetection(policy.outlierDetection) }),
    ...healthFields(policy.outlierDetection),
    ...keepaliveFields(pool),
    ...protocolFields(context, pool),
  };
}

function balancerFields(balancer: LoadBalancer | undefined): ClusterInit {
  const hash = balancer?.consistentHash;
  if (hash?.maglev !== undefined) {
    const { tableSize } = hash.maglev;
    return {
      lbPolicy: Cluster_LbPolicy.MAGLEV,
      ...(tableSize === undefined
        ? {}
        : { lbConfig: { case: "maglevLbConfig", value: { tableSize: BigInt(tableSize) } } }),
    };
  }
  if (hash !== undefined) {
    const size = hash.ringHash?.minimumRingSize ?? hash.minimumRingSize ?? 1024;
    return {
      lbPolicy: Cluster_LbPolicy.RING_HASH,
      lbConfig: { case: "ringHashLbConfig", value: { minimumRingSize: BigInt(size) } },
    };
  }
  switch (balancer?.simple ?? "UNSPECIFIED") {
    case "RANDOM":
      return { lbPolicy: Cluster_LbPolicy.RANDOM };
    case "ROUND_ROBIN":
      return { lbPolicy: Cluster_LbPolicy.ROUND_ROBIN };
    case "PASSTHROUGH":
      return { lbPolicy: Cluster_LbPolicy.CLUSTER_PROVIDED };
    case "UNSPECIFIED":
    case "LEAST_REQUEST":
    case "LEAST_CONN":
      return { lbPolicy: Cluster_LbPolicy.LEAST_REQUEST };
  }
}

function circuitBreakers(pool: ConnectionPool): {
  maxConnections: number;
  maxPendingRequests: number;
  maxRequests: number;
  maxRetries: number;
  trackRemaining: boolean;
} {
  return {
    maxConnections: limit(pool.tcp?.maxConnections),
    maxPendingRequests: limit(pool.http?.http1MaxPendingRequests),
    maxRequests: limit(pool.http?.http2MaxRequests),
    maxRetries: limit(pool.http?.maxRetries),
    trackRemaining: true,
  };
}

/** 0 is "not set", as Istio reads it. */
function limit(value: number | undefined): number {
  return value === undefined || value === 0 ? unlimited : value;
}

function outlierDetection(policy: OutlierDetection): Init<typeof OutlierDetectionSchema> {
  const gateway = policy.consecutiveGatewayErrors;
  const fiveXx = policy.consecutive5xxErrors;
  const local = policy.consecutiveLocalOriginFailures;
  const { splitExternalLocalOriginErrors = false } = policy;
  return {
    enforcingSuccessRate: 0,
    ...(fiveXx === undefined
      ? {}
      : { consecutive5xx: fiveXx, enforcingConsecutive5xx: fiveXx > 0 ? 100 : 0 }),
    ...(gateway === undefined
      ? {}
      : {
          consecutiveGatewayFailure: gateway,
          enforcingConsecutiveGatewayFailure: gateway > 0 ? 100 : 0,
        }),
    splitExternalLocalOriginErrors,
    ...(local === undefined || !splitExternalLocalOriginErrors
      ? {}
      : {
          consecutiveLocalOriginFailure: local,
          enforcingConsecutiveLocalOriginFailure: local > 0 ? 100 : 0,
        }),
    ...(policy.interval === undefined ? {} : { interval: duration(policy.interval) }),
    ...(policy.baseEjectionTime === undefined
      ? {}
      : { baseEjectionTime: duration(policy.baseEjectionTime) }),
    ...(policy.maxEjectionPercent === undefined
      ? {}
      : { maxEjectionPercent: policy.maxEjectionPercent }),
  };
}

// Istio turns panic mode off unless minHealthPercent asks for it: an ejected endpoint stays ejected.
function healthFields(policy: OutlierDetection | undefined): ClusterInit {
  if (policy === undefined) return {};
  return { commonLbConfig: { healthyPanicThreshold: { value: policy.minHealthPercent ?? 0 } } };
}

function keepaliveFields(pool: ConnectionPool): ClusterInit {
  const keepalive = pool.tcp?.tcpKeepalive;
  if (keepalive === undefined) return {};
  const { probes, time, interval } = keepalive;
  return {
    upstreamConnectionOptions: {
      tcpKeepalive: {
        ...(probes === undefined ? {} : { keepaliveProbes: probes }),
        ...(time === undefined ? {} : { keepaliveTime: Math.ceil(time / 1000) }),
        ...(interval === undefined ? {} : { keepaliveInterval: Math.ceil(interval / 1000) }),
      },
    },
  };
}

const protocolOptionsName = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

function protocolFields(context: PolicyContext, pool: ConnectionPool): ClusterInit {
  const { tcp, http } = pool;
  const idle = http?.idleTimeout;
  const perConnection = http?.maxRequestsPerConnection ?? 0;
  const lifetime = tcp?.maxConnectionDuration;
  const isTcp = context.protocol === "tcp";
  if (isTcp && idle === undefined && perConnection === 0 && lifetime === undefined) return {};
  const options = any(HttpProtocolOptionsSchema, {
    upstreamProtocolOptions: {
      case: "explicitHttpConfig",
      value: {
        protocolConfig:
          context.protocol === "http2"
            ? { case: "http2ProtocolOptions", value: {} }
            : // Envoy would drop trailers, both ways.
              { case: "httpProtocolOptions", value: { enableTrailers: true } },
      },
    },
    commonHttpProtocolOptions: {
      ...(idle === undefined ? {} : { idleTimeout: duration(idle) }),
      ...(perConnection === 0 ? {} : { maxRequestsPerConnection: perConnection }),
      ...(lifetime === undefined ? {} : { maxConnectionDuration: duration(lifetime) }),
    },
  });
  return { typedExtensionProtocolOptions: { [protocolOptionsName]: options } };
}
