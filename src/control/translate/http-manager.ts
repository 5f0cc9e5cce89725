/** The HTTP connection manager of every chain that carries HTTP, in Istio's filter order. */
import type { Any } from "@bufbuild/protobuf/wkt";

import type { PathNormalization } from "../../model/mesh-config.ts";
import type { FilterSchema } from "../../wire/gen/es/envoy/config/listener/v3/listener_components_pb.ts";
import { OpenTelemetryConfigSchema } from "../../wire/gen/es/envoy/config/trace/v3/opentelemetry_pb.ts";
import { CorsSchema } from "../../wire/gen/es/envoy/extensions/filters/http/cors/v3/cors_pb.ts";
import { FilterConfigSchema as ForwardProxySchema } from "../../wire/gen/es/envoy/extensions/filters/http/dynamic_forward_proxy/v3/dynamic_forward_proxy_pb.ts";
import { HTTPFaultSchema } from "../../wire/gen/es/envoy/extensions/filters/http/fault/v3/fault_pb.ts";
import { FilterConfigSchema as GrpcStatsSchema } from "../../wire/gen/es/envoy/extensions/filters/http/grpc_stats/v3/config_pb.ts";
import { RouterSchema } from "../../wire/gen/es/envoy/extensions/filters/http/router/v3/router_pb.ts";
import {
  type HttpConnectionManager_TracingSchema,
  HttpConnectionManager_ForwardClientCertDetails as ForwardCert,
  HttpConnectionManager_PathWithEscapedSlashesAction as EscapedSlashes,
  HttpConnectionManagerSchema,
} from "../../wire/gen/es/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager_pb.ts";
import { attemptAccessLogs, httpAccessLogs } from "./access-log.ts";
import { forwardProxyCache } from "./clusters.ts";
import { outboundClusterName } from "./names.ts";
import type { Init } from "./proto.ts";
import { adsSource, any, duration, typedConfig } from "./proto.ts";
import type { ProxyView } from "./proxy-view.ts";

export interface HttpManagerOptions {
  readonly direction: "inbound" | "outbound" | "gateway";
  readonly statPrefix: string;
  /** Name of the route configuration, asked for on the ADS stream. */
  readonly routeName: string;
  /** Filters that decide whether the request may pass; run before all others. */
  readonly authorization?: readonly NamedConfig[];
  /** A proxy in the open sense: takes CONNECT, and requests for hosts outside the mesh. */
  readonly isForwardProxy?: boolean;
}

export interface NamedConfig {
  readonly name: string;
  readonly config: Any;
}

const requestHeadersTimeoutMs = 60_000;

type ManagerInit = Init<typeof HttpConnectionManagerSchema>;

export function httpManager(
  view: ProxyView,
  options: HttpManagerOptions,
): Init<typeof FilterSchema> {
  const { direction, statPrefix, routeName } = options;
  const isInbound = direction === "inbound";
  const upgrades = ["websocket", ...(options.isForwardProxy === true ? ["CONNECT"] : [])];
  return {
    name: "envoy.filters.network.http_connection_manager",
    configType: typedConfig(HttpConnectionManagerSchema, {
      statPrefix,
      routeSpecifier: {
        case: "rds",
        value: { configSource: adsSource(), routeConfigName: routeName },
      },
      httpFilters: httpFilters(view, options).map(({ name, config }) => ({
        name,
        configType: { case: "typedConfig", value: config } as const,
      })),
      upgradeConfigs: upgrades.map((upgradeType) => ({ upgradeType })),
      httpProtocolOptions: { acceptHttp10: true, enableTrailers: true },
      // Or a browser's WebSocket over HTTP/2 would be refused.
      http2ProtocolOptions: { allowConnect: true },
      streamIdleTimeout: duration(0),
      // Istio sends none; a client that never ends a request's head would hold its connection for ever.
      requestHeadersTimeout: duration(requestHeadersTimeoutMs),
      useRemoteAddress: direction === "gateway",
      ...clientCertFields(direction),
      ...normalizationFields(view.model.settings.pathNormalization),
      ...tracingFields(view, direction),
      accessLog: httpAccessLogs(view, isInbound ? "destination" : "source"),
    }),
  };
}

// Istio's order; a request that is not allowed must not be delayed, answered or counted by others.
function httpFilters(view: ProxyView, options: HttpManagerOptions): NamedConfig[] {
  // Inbound requests go to applications, without TLS.
  const upstreamLog = options.direction === "inbound" ? [] : attemptAccessLogs(view);
  return [
    ...(options.authorization ?? []),
    {
      name: "envoy.filters.http.grpc_stats",
      config: any(GrpcStatsSchema, { emitFilterState: true }),
    },
    { name: "envoy.filters.http.fault", config: any(HTTPFaultSchema, {}) },
    { name: "envoy.filters.http.cors", config: any(CorsSchema, {}) },
    ...(options.isForwardProxy === true
      ? [
          {
            name: "envoy.filters.http.dynamic_forward_proxy",
            config: any(ForwardProxySchema, {
              implementationSpecifier: { case: "dnsCacheConfig", value: forwardProxyCache },
            }),
          },
        ]
      : []),
    { name: "envoy.filters.http.router", config: any(RouterSchema, { upstreamLog }) },
  ];
}

/** Inbound tells the application who called; a gateway believes nobody outside. */
function clientCertFields(direction: HttpManagerOptions["direction"]): ManagerInit {
  switch (direction) {
    case "inbound":
      return {
        forwardClientCertDetails: ForwardCert.APPEND_FORWARD,
        setCurrentClientCertDetails: { subject: true, dns: true, uri: true },
      };
    case "outbound":
      return { forwardClientCertDetails: ForwardCert.SANITIZE };
    case "gateway":
      return { forwardClientCertDetails: ForwardCert.SANITIZE_SET };
  }
}

function normalizationFields(normalization: PathNormalization): ManagerInit {
  switch (normalization) {
    case "NONE":
      return { normalizePath: false };
    case "BASE":
      return { normalizePath: true };
    case "MERGE_SLASHES":
      return { normalizePath: true, mergeSlashes: true };
    case "DECODE_AND_MERGE_SLASHES":
      return {
        normalizePath: true,
        mergeSlashes: true,
        pathWithEscapedSlashesAction: EscapedSlashes.UNESCAPE_AND_FORWARD,
      };
  }
}

function tracingFields(
  view: ProxyView,
  direction: HttpManagerOptions["direction"],
): { readonly tracing?: Init<typeof HttpConnectionManager_TracingSchema> } {
  const settings = view.model.settings.tracing;
  if (settings === undefined) return {};
  const service = view.model.services.get(settings.service);
  // A cluster that does not exist would have the listener refused; the problem says so instead.
  if (service?.ports.some(({ number }) => number === settings.port) !== true) return {};
  const { proxy } = view;
  const scheme = `http://${settings.service}:${settings.port}`;
  return {
    tracing: {
      clientSampling: { value: 100 },
      randomSampling: { value: settings.samplingPercent },
      overallSampling: { value: 100 },
      spawnUpstreamSpan: direction === "gateway",
      provider: {
        name: "envoy.tracers.opentelemetry",
        configType: typedConfig(OpenTelemetryConfigSchema, {
          serviceName: `${proxy.labels["app"] ?? proxy.workload}.${proxy.namespace}`,
          httpService: {
            httpUri: {
              uri: `${scheme}${settings.path}`,
              httpUpstreamType: {
                case: "cluster",
                value: outboundClusterName(settings.service, settings.port),
              },
              timeout: duration(settings.timeoutMs),
            },
          },
        }),
      },
    },
  };
}
