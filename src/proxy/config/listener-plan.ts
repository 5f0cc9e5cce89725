/** A Listener resource, checked: what it is made of and what must be there before it serves. */
import type { RouteConfiguration } from "../../wire/gen/ts/envoy/config/route/v3/route.ts";
import type { TransportSocket } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type { Listener } from "../../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import type {
  Filter,
  FilterChain,
} from "../../wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import {
  HttpConnectionManager,
  type HttpFilter,
} from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { TcpProxy } from "../../wire/gen/ts/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.ts";
import { DownstreamTlsContext } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import type { SecretOrigin } from "../../xds/feed.ts";
import type { RouteUser } from "../stats/configuration-series.ts";
import { isPeerExchange } from "../istio/exchange.ts";
import { statsUrl } from "../istio/stats.ts";
import { isUdpListener, planUdpListener } from "../udp.ts";
import { durationMs } from "../engine/duration.ts";
import { compileFilterChains } from "../engine/filter-chains.ts";
import { refuse, RefusalList } from "../engine/refusal.ts";
import type { ExtensionNeed } from "./extensions.ts";
import { honouredHttp, honouredListener, honouredTcp } from "./honoured-listeners.ts";
import { honouredRoutes } from "./honoured-routes.ts";
import { secretOrigins } from "./secret-origins.ts";
import { withFileSecrets } from "./tls-files.ts";
import { checkHonoured, type UnknownFieldCount } from "./honoured.ts";

export interface ListenerNeeds {
  /** Route configurations it refers to by name. */
  readonly routes: ReadonlySet<string>;
  /** And who does. */
  readonly routeUsers: readonly RouteUser[];
  readonly secrets: ReadonlyMap<string, SecretOrigin>;
  /** Filters whose configurations stand under a name. */
  readonly extensions: readonly ExtensionNeed[];
  /** Route configurations written into it, to be compiled for a check. */
  readonly inlineRoutes: readonly InlineRoutes[];
}

export interface InlineRoutes {
  readonly routes: RouteConfiguration;
  readonly path: string;
}

export const filterUrls = {
  http: "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
  tcp: "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy",
  rbac: "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC",
  state: "type.googleapis.com/envoy.extensions.filters.network.set_filter_state.v3.Config",
} as const;

const downstreamTlsUrl =
  "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext";
const plainUrl = "type.googleapis.com/envoy.extensions.transport_sockets.raw_buffer.v3.RawBuffer";

/** Throws a refusal. */
export function checkListener(listener: Listener, unknown: UnknownFieldCount): ListenerNeeds {
  if (isUdpListener(listener)) {
    planUdpListener(listener, unknown);
    return {
      routes: new Set(),
      routeUsers: [],
      secrets: new Map(),
      extensions: [],
      inlineRoutes: [],
    };
  }
  const refusals = new RefusalList();
  if (servesNobody(listener)) refusals.add("filter_chains", "at least one is required");
  refusals.attempt(() => checkHonoured(listener, honouredListener, "", unknown));
  refusals.attempt(() => compileFilterChains(listener));
  const needs = {
    routes: new Set<string>(),
    routeUsers: [] as RouteUser[],
    secrets: new Map<string, SecretOrigin>(),
    extensions: [] as ExtensionNeed[],
    inlineRoutes: [] as InlineRoutes[],
  };
  const chains = listener.filterChains.map((chain, i) => ({ chain, at: `filter_chains[${i}]` }));
  if (listener.defaultFilterChain !== undefined) {
    chains.push({ chain: listener.defaultFilterChain, at: "default_filter_chain" });
  }
  for (const { chain, at } of chains) checkChain(chain, at, { ...needs, unknown, refusals });
  refusals.throwIfAny();
  return needs;
}

/** No connection would ever be taken: Envoy refuses such a listener, too. Only UDP has no filter chains. */
export function servesNobody(listener: Listener): boolean {
  const { filterChains, defaultFilterChain } = listener;
  return filterChains.length === 0 && defaultFilterChain === undefined && !isUdpListener(listener);
}

interface Gathering {
  readonly routes: Set<string>;
  readonly routeUsers: RouteUser[];
  readonly secrets: Map<string, SecretOrigin>;
  readonly extensions: ExtensionNeed[];
  readonly inlineRoutes: InlineRoutes[];
  readonly unknown: UnknownFieldCount;
  readonly refusals: RefusalList;
}

function checkChain(chain: FilterChain, path: string, found: Gathering): void {
  const { refusals } = found;
  const secrets = refusals.attempt(() =>
    socketSecrets(chain.transportSocket, `${path}.transport_socket`),
  );
  for (const [name, origin] of secrets ?? []) found.secrets.set(name, origin);
  if (chain.filters.length === 0) {
    refusals.add(`${path}.filters`, "a chain needs a filter that ends it");
  }
  for (const [i, filter] of chain.filters.entries()) {
    const isLast = i === chain.filters.length - 1;
    const place = `${path}.filters[${i}]`;
    const endsChain = refusals.attempt(() => checkFilter(filter, place, found));
    if (endsChain === undefined || endsChain === isLast) continue;
    refusals.add(
      place,
      isLast ? "the last filter must end the chain" : "only the last may end a chain",
    );
  }
}

/** Returns whether the filter ends its chain. */
function checkFilter(filter: Filter, path: string, found: Gathering): boolean {
  const typed = filter.typedConfig;
  if (typed === undefined) return refuse(`${path}.typed_config`, "is required");
  const place = `${path}.typed_config`;
  switch (typed.typeUrl) {
    case filterUrls.http: {
      const config = HttpConnectionManager.decode(typed.value);
      const { refusals, unknown } = found;
      refusals.attempt(() => checkHonoured(config, honouredHttp, place, unknown));
      found.extensions.push(...config.httpFilters.flatMap(needOf));
      if (config.rds !== undefined) {
        const { statPrefix, rds } = config;
        found.routes.add(rds.routeConfigName);
        found.routeUsers.push({ statPrefix, routes: rds.routeConfigName });
      }
      const { routeConfig } = config;
      if (routeConfig !== undefined) {
        const at = `${place}.route_config`;
        refusals.attempt(() => checkHonoured(routeConfig, honouredRoutes, at, unknown));
        found.inlineRoutes.push({ routes: routeConfig, path: at });
      }
      return true;
    }
    case filterUrls.tcp:
      checkHonoured(TcpProxy.decode(typed.value), honouredTcp, place, found.unknown);
      return true;
    case filterUrls.rbac:
    case filterUrls.state:
    case statsUrl:
      return false;
    default:
      if (isPeerExchange(typed, place)) return false;
      return refuse(path, `filter '${typed.typeUrl}' is not supported`);
  }
}

const initialFetchTimeoutMsDefault = 15_000;

function needOf({ name, configDiscovery: found }: HttpFilter): readonly ExtensionNeed[] {
  if (found === undefined) return [];
  const { typeUrls, defaultConfig, applyDefaultConfigWithoutWarming: isReady } = found;
  const waits = defaultConfig === undefined || !isReady;
  const waitMs =
    durationMs(found.configSource?.initialFetchTimeout) ?? initialFetchTimeoutMsDefault;
  return [{ name, typeUrls: new Set(typeUrls), waits, waitMs }];
}

function socketSecrets(
  socket: TransportSocket | undefined,
  path: string,
): ReadonlyMap<string, SecretOrigin> {
  if (socket === undefined || socket.typedConfig?.typeUrl === plainUrl) return new Map();
  if (socket.typedConfig?.typeUrl !== downstreamTlsUrl) {
    return refuse(path, `'${socket.typedConfig?.typeUrl ?? socket.name}' is not supported`);
  }
  return secretOrigins(
    withFileSecrets(DownstreamTlsContext.decode(socket.typedConfig.value)),
    `${path}.typed_config`,
  );
}
