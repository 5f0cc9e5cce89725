/** The fields of a cluster that a DestinationRule sets: balancer, pool, outlier detection. */
import type { ConnectionPool } from "../../model/connection-pool.ts";
import type { LoadBalancer, OutlierDetection, PortPolicy } from "../../model/destination-rule.ts";
import type { MeshSettings } from "../../model/mesh-config.ts";
import {
  Cluster_LbPolicy,
  type ClusterSchema,
} from "../../wire/gen/es/envoy/config/cluster/v3/cluster_pb.ts";
import type { OutlierDetectionSchema } from "../../wire/gen/es/envoy/config/cluster/v3/outlier_detection_pb.ts";
import type { Http2ProtocolOptionsSchema } from "../../wire/gen/es/envoy/config/core/v3/protocol_pb.ts";
import { HttpProtocolOptionsSchema } from "../../wire/gen/es/envoy/extensions/upstreams/http/v3/http_protocol_options_pb.ts";
import type { Init } from "./proto.ts";
import { any, duration } from "./proto.ts";

export type ClusterInit = Init<typeof ClusterSchema>;

export interface PolicyContext {
  readonly policy: PortPolicy;
  readonly spoken: Spoken;
  /** Balancers mean nothing to an ORIGINAL_DST cluster. */
  readonly isBalanced: boolean;
  readonly connectTimeoutMs: number;
}

/** What endpoints are spoken to in: `downstream` is what each request came by. */
export type Spoken = "http1" | "http2" | "downstream" | "tcp";

/**
 * As Istio decides: by the port's protocol, unless a policy or the mesh upgrades it. That is the cheaper version
 * for what the port carries, also between two of our own proxies (docs/decisions/0058).
 */
export function spokenTo(
  protocol: "http" | "http2" | "tcp" | "auto",
  { connectionPool }: PortPolicy,
  { upgradesToHttp2 }: Pick<MeshSettings, "upgradesToHttp2">,
): Spoken {
  if (protocol === "tcp") return "tcp";
  const { useClientProtocol, h2UpgradePolicy = "DEFAULT" } = connectionPool?.http ?? {};
  if (useClientProtocol === true) return "downstream";
  if (protocol === "http2" || h2UpgradePolicy === "UPGRADE") return "http2";
  // Who was not told what a port speaks upgrades nothing.
  if (protocol === "auto") return "downstream";
  return upgradesToHttp2 && h2UpgradePolicy === "DEFAULT" ? "http2" : "http1";
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
    const size = hash.ringHash?.minimumRingSize ?? (hash.minimumRingSize || 1024);
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

/**
 * As Istio: nothing is ejected by success rate. Consecutive errors of 0 turn their rule off, while 0
 * local failures and 0 percent are "not set".
 */
function outlierDetection(policy: OutlierDetection): Init<typeof OutlierDetectionSchema> {
  const gateway = policy.consecutiveGatewayErrors;
  const fiveXx = policy.consecutive5xxErrors;
  const { consecutiveLocalOriginFailures: local = 0, maxEjectionPercent = 0 } = policy;
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
    ...(splitExternalLocalOriginErrors ? { enforcingLocalOriginSuccessRate: 0 } : {}),
    ...(local === 0 || !splitExternalLocalOriginErrors
      ? {}
      : { consecutiveLocalOriginFailure: local, enforcingConsecutiveLocalOriginFailure: 100 }),
    ...(policy.interval === undefined ? {} : { interval: duration(policy.interval) }),
    ...(policy.baseEjectionTime === undefined
      ? {}
      : { baseEjectionTime: duration(policy.baseEjectionTime) }),
    ...(maxEjectionPercent === 0 ? {} : { maxEjectionPercent }),
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

function protocolFields({ spoken }: PolicyContext, pool: ConnectionPool): ClusterInit {
  const { tcp, http } = pool;
  const idle = http?.idleTimeout ?? (spoken === "tcp" ? undefined : tcp?.idleTimeout);
  const perConnection = http?.maxRequestsPerConnection ?? 0;
  const lifetime = tcp?.maxConnectionDuration;
  const isBare = idle === undefined && perConnection === 0 && lifetime === undefined;
  if (spoken === "tcp" && isBare) return {};
  const options = any(HttpProtocolOptionsSchema, {
    upstreamProtocolOptions: upstreamProtocol(spoken, pool),
    commonHttpProtocolOptions: {
      ...(idle === undefined ? {} : { idleTimeout: duration(idle) }),
      ...(perConnection === 0 ? {} : { maxRequestsPerConnection: perConnection }),
      ...(lifetime === undefined ? {} : { maxConnectionDuration: duration(lifetime) }),
    },
  });
  return { typedExtensionProtocolOptions: { [protocolOptionsName]: options } };
}

/** Envoy would drop trailers of HTTP/1.1, both ways. */
const http1Options = { enableTrailers: true };

function upstreamProtocol(
  spoken: Spoken,
  pool: ConnectionPool,
): NonNullable<Init<typeof HttpProtocolOptionsSchema>["upstreamProtocolOptions"]> {
  const http2Options = http2Fields(pool);
  if (spoken === "downstream") {
    const value = { httpProtocolOptions: http1Options, http2ProtocolOptions: http2Options };
    return { case: "useDownstreamProtocolConfig", value };
  }
  return {
    case: "explicitHttpConfig",
    value: {
      protocolConfig:
        spoken === "http2"
          ? { case: "http2ProtocolOptions", value: http2Options }
          : { case: "httpProtocolOptions", value: http1Options },
    },
  };
}

function http2Fields({ http }: ConnectionPool): Init<typeof Http2ProtocolOptionsSchema> {
  const { maxConcurrentStreams = 0, http2KeepAlive } = http ?? {};
  return {
    ...(maxConcurrentStreams === 0 ? {} : { maxConcurrentStreams }),
    ...(http2KeepAlive === undefined
      ? {}
      : {
          connectionKeepalive: {
            interval: duration(http2KeepAlive.interval),
            timeout: duration(http2KeepAlive.timeout),
          },
        }),
  };
}
