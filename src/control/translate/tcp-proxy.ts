/** The filter that ends a chain of plain TCP, with Istio's metrics. */
import type { Reporter } from "../../telemetry/standard-metrics.ts";
import type { FilterSchema } from "../../wire/gen/es/envoy/config/listener/v3/listener_components_pb.ts";
import {
  TcpProxySchema,
  UpstreamConnectMode,
} from "../../wire/gen/es/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts";
import { tcpAccessLogs } from "./access-log.ts";
import type { Tunnel } from "../../model/destination-rule.ts";
import type { Init } from "./proto.ts";
import { duration, typedConfig } from "./proto.ts";
import type { ProxyView } from "./proxy-view.ts";

export interface TcpTarget {
  readonly cluster: string;
  readonly weight: number;
}

export interface TcpProxyOptions {
  readonly reporter: Reporter;
  readonly statPrefix: string;
  /** One cluster, or several by weight. */
  readonly targets: readonly TcpTarget[];
  /** Below TLS the application must not see a connection whose peer is not known yet. */
  readonly isBelowTls: boolean;
  /** What a DestinationRule asks for. */
  readonly policy?: ConnectionPolicy | undefined;
}

/** Milliseconds. */
export interface ConnectionPolicy {
  readonly idleMs: number | undefined;
  readonly lifetimeMs: number | undefined;
  /** Connections from one address stay with one endpoint. */
  readonly isBySource: boolean;
  readonly tunnel: Tunnel | undefined;
}

const earlyBytesMax = 65_536;

export function tcpProxy(view: ProxyView, options: TcpProxyOptions): Init<typeof FilterSchema> {
  const { targets } = options;
  const only = targets[0];
  return {
    name: "envoy.filters.network.tcp_proxy",
    configType: typedConfig(TcpProxySchema, {
      statPrefix: options.statPrefix,
      clusterSpecifier:
        targets.length === 1 && only !== undefined
          ? { case: "cluster", value: only.cluster }
          : {
              case: "weightedClusters",
              value: {
                clusters: targets.map(({ cluster, weight }) => ({ name: cluster, weight })),
              },
            },
      ...policyFields(options.policy),
      accessLog: tcpAccessLogs(view, options.reporter),
      accessLogOptions: { flushAccessLogOnConnected: true },
      ...(options.isBelowTls
        ? {
            upstreamConnectMode: UpstreamConnectMode.ON_DOWNSTREAM_TLS_HANDSHAKE,
            maxEarlyDataBytes: earlyBytesMax,
          }
        : {}),
    }),
  };
}

function policyFields(policy: ConnectionPolicy | undefined): Init<typeof TcpProxySchema> {
  if (policy === undefined) return {};
  const { idleMs, lifetimeMs, isBySource, tunnel } = policy;
  return {
    ...(idleMs === undefined ? {} : { idleTimeout: duration(idleMs) }),
    ...(lifetimeMs === undefined ? {} : { maxDownstreamConnectionDuration: duration(lifetimeMs) }),
    ...(isBySource
      ? { hashPolicy: [{ policySpecifier: { case: "sourceIp" as const, value: {} } }] }
      : {}),
    ...(tunnel === undefined ? {} : { tunnelingConfig: tunnelFields(tunnel) }),
  };
}

function tunnelFields({ protocol, targetHost, targetPort }: Tunnel): {
  readonly hostname: string;
  readonly usePost: boolean;
} {
  const isIpv6 = targetHost.includes(":") && !targetHost.startsWith("[");
  const host = isIpv6 ? `[${targetHost}]` : targetHost;
  return { hostname: `${host}:${targetPort}`, usePost: protocol === "POST" };
}
