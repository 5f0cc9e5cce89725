/**
 * A Cluster resource, checked and compiled into what running it needs. Throws a refusal for what
 * cannot be honoured; fields without any meaning here were refused before (config/honoured-…).
 */
import { honouredUpstreamHttp } from "../config/honoured-extensions.ts";
import { honoured } from "../config/honoured.ts";
import type { Cluster } from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { RoutingPriority } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type { HealthStatusSet } from "../../wire/gen/ts/envoy/config/core/v3/health_check.ts";
import { HttpProtocolOptions } from "../../wire/gen/ts/envoy/extensions/upstreams/http/v3/http_protocol_options.ts";
import { compileAnswerMatcher } from "../engine/answer-matcher.ts";
import { compileLimits, type Limits } from "../engine/circuit-breakers.ts";
import { durationMs, positiveMs } from "../engine/duration.ts";
import { compileOutlierDetection, type OutlierSettings } from "../engine/outlier-detector.ts";
import type { HeaderPredicate } from "../engine/header-matcher.ts";
import { compileKeepAlive } from "../engine/tcp-keepalive.ts";
import { compileStreamOptions } from "../engine/socket-options.ts";
import { refuse } from "../engine/refusal.ts";
import { writeQueueBytes } from "../engine/watermark.ts";
import { isPeerExchange, withoutExchange } from "../istio/exchange.ts";
import { secretOrigins } from "../config/secret-origins.ts";
import type { SocketOption, TcpKeepAlive } from "../../net/dialler.ts";
import type { HeadLimits } from "../../wire/http1-head.ts";
import type { SecretOrigin } from "../../xds/feed.ts";
import { type AddressOrder, compileAddressOrder } from "./address-order.ts";
import { statuses } from "./assignment.ts";
import { compileDiscovery, type Discovery } from "./discovery.ts";
import type { EndpointStatus } from "./endpoint.ts";
import { compileHealth, type HealthPlan } from "./health-plan.ts";
import { type BalancingPolicy, compilePolicy } from "./policy.ts";
import { compileSockets, type SocketChoice } from "./sockets.ts";
import type { TrackedKinds } from "../stats/tracked-series.ts";
import { compileServerNames, type ServerNamesPlan } from "./server-names.ts";
import {
  compileHeadLimits,
  compileUpstreamHttp1,
  compileUpstreamHttp2,
  type Http2Plan,
  withHeads,
} from "./upstream-http.ts";
import type { Http1Plan } from "../http/http1-plan.ts";

export interface ClusterPlan extends BalancingPolicy {
  readonly name: string;
  readonly statName: string;
  readonly discovery: Discovery;
  readonly panicPercent: number;
  /** Health with which an endpoint that a request insists on may be used. */
  readonly overridable: ReadonlySet<EndpointStatus>;
  readonly closesOnChange: boolean;
  readonly connectTimeoutMs: number;
  readonly writeQueueBytesMax: number;
  readonly keepAlive: TcpKeepAlive | undefined;
  /** Of endpoints with several addresses. */
  readonly addressOrder: AddressOrder;
  readonly limits: Limits;
  /** Of routes of priority HIGH. */
  readonly highLimits: Limits;
  readonly outlier: OutlierSettings | undefined;
  /** Connections for each request that an endpoint has; undefined: one. */
  readonly preconnectRatio: number | undefined;
  /** For each request that the cluster has, opened where those to come will go; undefined: none. */
  readonly forecastRatio: number | undefined;
  /** What it tells of each request, beyond the usual. */
  readonly tracked: TrackedKinds | undefined;
  /** It tells of each of its endpoints. */
  readonly tellsEndpoints: boolean;
  /** Which answers outlier detection counts as errors; undefined: by their status. */
  readonly isErrorAnswer: HeaderPredicate | undefined;
  /** Active checks of its endpoints. */
  readonly health: HealthPlan | undefined;
  readonly sockets: readonly SocketChoice[];
  /** Servers are asked for, or must be, who requests name. */
  readonly serverNames: ServerNamesPlan | undefined;
  readonly maxRequestsPerConnection: number;
  readonly idleTimeoutMs: number;
  readonly http2: Http2Plan | undefined;
  readonly http1: Http1Plan | undefined;
  /** Of answers. */
  readonly headLimits: HeadLimits;
  /** 0 means none. */
  readonly maxConnectionDurationMs: number;
  /** 0 means none. */
  readonly maxStreamDurationMs: number;
  readonly metadata: Readonly<Record<string, unknown>> | undefined;
  /** Local addresses that connections come from, at most one of each family. */
  readonly sourceAddresses: readonly string[];
  /** What the kernel is asked of the sockets of connections. */
  readonly socketOptions: readonly SocketOption[];
  /** Names of secrets its TLS contexts need before it can serve. */
  readonly secrets: ReadonlyMap<string, SecretOrigin>;
}

export function compileCluster(cluster: Cluster): ClusterPlan {
  if (cluster.name === "") refuse("name", "is required");
  const http = httpOptions(cluster);
  const common = http?.commonHttpProtocolOptions ?? cluster.commonHttpProtocolOptions;
  const exchanges = cluster.filters.filter(({ typedConfig, name }, i) => {
    const path = `filters[${i}].typed_config`;
    return isPeerExchange(typedConfig, path) || refuse(path, `'${name}' is not supported`);
  });
  const sockets = compileSockets(cluster).map((socket) =>
    socket.tls === undefined || exchanges.length === 0
      ? socket
      : { ...socket, tls: withoutExchange(socket.tls) },
  );
  const serverNames = compileServerNames(http?.upstreamHttpProtocolOptions);
  // Not yet: what is told keeps pools apart, and so do names; a name passed over would go unproven.
  if (
    serverNames !== undefined &&
    sockets.some(({ tls, passes }) => tls !== undefined && passes !== undefined)
  ) {
    const path = `typed_extension_protocol_options[${httpOptionsKey}].upstream_http_protocol_options`;
    refuse(path, "is not supported with TLS inside internal_upstream");
  }
  const discovery = compileDiscovery(cluster);
  const headLimits = compileHeadLimits(common);
  const http2 = withHeads(compileUpstreamHttp2(cluster, http, sockets), headLimits);
  const health = compileHealth(cluster, { speaksHttp2: http2 !== undefined });
  if (health !== undefined && hasNoEndpoints.has(discovery.kind)) {
    refuse("health_checks", "is not supported where a cluster has no endpoints of its own");
  }
  const maxRequests = common?.maxRequestsPerConnection ?? cluster.maxRequestsPerConnection;
  return {
    name: cluster.name,
    statName: cluster.altStatName === "" ? cluster.name : cluster.altStatName,
    discovery,
    health,
    ...aheadOf(cluster, sockets),
    tracked: trackedOf(cluster),
    tellsEndpoints: cluster.trackClusterStats?.perEndpointStats === true,
    isErrorAnswer: errorMatcherOf(http),
    ...compilePolicy(cluster),
    // Envoy rounds it, too.
    panicPercent: Math.round(cluster.commonLbConfig?.healthyPanicThreshold?.value ?? 50),
    overridable: overridableOf(cluster.commonLbConfig?.overrideHostStatus),
    closesOnChange: cluster.commonLbConfig?.closeConnectionsOnHostSetChange === true,
    connectTimeoutMs: positiveMs(cluster.connectTimeout, "connect_timeout") ?? 5000,
    writeQueueBytesMax: writeQueueBytes(cluster.perConnectionBufferLimitBytes),
    ...connectionsOf(cluster),
    limits: compileLimits(cluster.circuitBreakers, "circuit_breakers"),
    highLimits: compileLimits(cluster.circuitBreakers, "circuit_breakers", RoutingPriority.HIGH),
    outlier:
      cluster.outlierDetection === undefined
        ? undefined
        : compileOutlierDetection(cluster.outlierDetection, "outlier_detection"),
    sockets,
    serverNames,
    maxRequestsPerConnection: maxRequests ?? 0,
    idleTimeoutMs: durationMs(common?.idleTimeout) ?? 3_600_000,
    http2,
    headLimits,
    http1: compileUpstreamHttp1(http),
    maxConnectionDurationMs: durationMs(common?.maxConnectionDuration) ?? 0,
    maxStreamDurationMs: durationMs(common?.maxStreamDuration) ?? 0,
    metadata: cluster.metadata?.filterMetadata,
    sourceAddresses: sourceAddressesOf(cluster),
    socketOptions: socketOptionsOf(cluster),
    secrets: new Map(
      sockets.flatMap(({ tls }) =>
        tls === undefined ? [] : [...secretOrigins(tls, "transport_socket.typed_config")],
      ),
    ),
  };
}

/** Requests name them, or they are those of other clusters. */
const hasNoEndpoints: ReadonlySet<Discovery["kind"]> = new Set([
  "original-dst",
  "forward",
  "aggregate",
]);

function connectionsOf({
  upstreamConnectionOptions: options,
}: Cluster): Pick<ClusterPlan, "keepAlive" | "addressOrder"> {
  const path = "upstream_connection_options";
  return {
    keepAlive: compileKeepAlive(options?.tcpKeepalive, `${path}.tcp_keepalive`),
    addressOrder: compileAddressOrder(
      options?.happyEyeballsConfig,
      `${path}.happy_eyeballs_config`,
    ),
  };
}

function trackedOf({ trackClusterStats: wanted }: Cluster): TrackedKinds | undefined {
  if (wanted?.timeoutBudgets !== true && wanted?.requestResponseSizes !== true) return undefined;
  return { timeouts: wanted.timeoutBudgets, sizes: wanted.requestResponseSizes };
}

function preconnectRatioOf(
  { preconnectPolicy }: Cluster,
  field: "perUpstreamPreconnectRatio" | "predictivePreconnectRatio",
): number | undefined {
  const ratio = preconnectPolicy?.[field] ?? 1;
  if (!(ratio >= 1 && ratio <= 3)) {
    const name = field.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    refuse(`preconnect_policy.${name}`, "must be from 1 to 3");
  }
  return ratio > 1 ? ratio : undefined;
}

function aheadOf(
  cluster: Cluster,
  sockets: readonly SocketChoice[],
): Pick<ClusterPlan, "preconnectRatio" | "forecastRatio"> {
  return {
    preconnectRatio: preconnectRatioOf(cluster, "perUpstreamPreconnectRatio"),
    forecastRatio: forecastRatioOf(cluster, sockets),
  };
}

/** What is told to servers first is each client's own, so there are no connections for whoever comes next. */
function forecastRatioOf(cluster: Cluster, sockets: readonly SocketChoice[]): number | undefined {
  const ratio = preconnectRatioOf(cluster, "predictivePreconnectRatio");
  if (
    ratio !== undefined &&
    sockets.some(({ passes, header }) => passes !== undefined || header !== undefined)
  ) {
    const path = "preconnect_policy.predictive_preconnect_ratio";
    refuse(path, "is not supported where connections are told of clients");
  }
  return ratio;
}

/** Envoy's default: all that may take requests without being asked for. */
const overridableDefault: ReadonlySet<EndpointStatus> = new Set(["UNKNOWN", "HEALTHY", "DEGRADED"]);

function overridableOf(set: HealthStatusSet | undefined): ReadonlySet<EndpointStatus> {
  if (set === undefined) return overridableDefault;
  return new Set(set.statuses.flatMap((status) => statuses[status] ?? []));
}

const solSocket = 1;
const soMark = 36;

/**
 * As Envoy, which sets on sockets that connect what is to be set before they are bound, and nothing
 * else. Without the mark: every socket towards an upstream carries the proxy's own, asked for or not.
 */
function socketOptionsOf({ upstreamBindConfig }: Cluster): readonly SocketOption[] {
  const options = upstreamBindConfig?.socketOptions ?? [];
  const compiled = compileStreamOptions(options, "upstream_bind_config.socket_options");
  const isOwn = ({ level, name }: SocketOption): boolean => level === solSocket && name === soMark;
  return compiled.filter((one) => one.when === "unbound" && !isOwn(one));
}

function sourceAddressesOf({ upstreamBindConfig }: Cluster): readonly string[] {
  const { sourceAddress, extraSourceAddresses = [] } = upstreamBindConfig ?? {};
  const all = [sourceAddress, ...extraSourceAddresses.map((extra) => extra.address)];
  return all.flatMap((one, i) => {
    if (one === undefined) return [];
    if ((one.portValue ?? 0) !== 0) {
      const field = i === 0 ? "source_address" : `extra_source_addresses[${i - 1}].address`;
      refuse(`upstream_bind_config.${field}.port_value`, "is not supported");
    }
    return [one.address];
  });
}

const httpOptionsKey = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

function httpOptions(cluster: Cluster): HttpProtocolOptions | undefined {
  for (const key of Object.keys(cluster.typedExtensionProtocolOptions)) {
    if (key !== httpOptionsKey) {
      refuse(`typed_extension_protocol_options[${key}]`, "is not supported");
    }
  }
  const any = cluster.typedExtensionProtocolOptions[httpOptionsKey];
  if (any === undefined) return undefined;
  const path = `typed_extension_protocol_options[${httpOptionsKey}]`;
  const options = honoured(HttpProtocolOptions.decode(any.value), honouredUpstreamHttp, path);
  if (options.explicitHttpConfig?.http3ProtocolOptions !== undefined) {
    refuse(`${path}.explicit_http_config.http3_protocol_options`, "is not supported");
  }
  if (options.httpFilters.length > 0) refuse(`${path}.http_filters`, "is not supported");
  return options;
}

function errorMatcherOf(options: HttpProtocolOptions | undefined): HeaderPredicate | undefined {
  const matcher = options?.outlierDetection?.errorMatcher;
  if (matcher === undefined) return undefined;
  const path = `typed_extension_protocol_options[${httpOptionsKey}].outlier_detection`;
  return compileAnswerMatcher(matcher, `${path}.error_matcher`);
}
