/** The filter that ends a chain of plain TCP, with Istio's metrics. */
import type { Reporter } from "../../telemetry/standard-metrics.ts";
import type { FilterSchema } from "../../wire/gen/es/envoy/config/listener/v3/listener_components_pb.ts";
import {
  TcpProxySchema,
  UpstreamConnectMode,
} from "../../wire/gen/es/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy_pb.ts";
import { tcpAccessLogs } from "./access-log.ts";
import type { Init } from "./proto.ts";
import { typedConfig } from "./proto.ts";
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
