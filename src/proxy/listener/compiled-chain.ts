/** A filter chain, ready for connections: its TLS context, its filters, and what ends it. */
import { assert } from "../../base/assert.ts";
import { createServerTls, createTlsCounters, type ServerTls } from "../../net/tls-contexts.ts";
import type { SecretSource } from "../../net/secret-source.ts";
import type {
  FilterChainFacts,
  RequestRecord,
  RequestSink,
} from "../../telemetry/request-record.ts";
import type { TransportSocket } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type {
  Filter,
  FilterChain,
} from "../../wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import { HttpConnectionManager } from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { TcpProxy } from "../../wire/gen/ts/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.ts";
import { DownstreamTlsContext } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import { withFileSecrets } from "../config/tls-files.ts";
import type { ConnectionFactory, ProxyContext } from "../context.ts";
import { durationMs } from "../engine/duration.ts";
import { refuse, RefusalList } from "../engine/refusal.ts";
import { createHttpConnectionManager } from "../http.ts";
import { isPeerExchange, withoutExchange } from "../istio/exchange.ts";
import { compileIstioStats, statsUrl } from "../istio/stats.ts";
import {
  compileNetworkRbacFilter,
  compileNetworkState,
  type NetworkFilter,
} from "./network-filters.ts";
import { createTcpProxy, type TcpFactory } from "../tcp.ts";

export interface CompiledChain {
  readonly name: string;
  /** For logs of its connections. */
  readonly facts: FilterChainFacts;
  readonly tls: ServerTls | undefined;
  /** Equal for chains that secure connections in the same way; empty for plaintext. */
  readonly transport: string;
  readonly handshakeTimeoutMs: number;
  readonly filters: readonly NetworkFilter[];
  readonly terminal: ConnectionFactory & Partial<Pick<TcpFactory, "deny">>;
}

export interface ChainOptions {
  readonly context: ProxyContext;
  readonly secrets: SecretSource;
  readonly direction: RequestRecord["direction"];
  readonly bufferBytesMax: number;
  readonly ignoresHealth: boolean;
  /** Names the chain among all that the proxy has. */
  readonly owner?: string;
  /** Envoy's name for the listener in statistics: `0.0.0.0_15006`. */
  readonly listenerAddress: string;
}

const prefix = "type.googleapis.com/envoy.extensions.";
const httpUrl = `${prefix}filters.network.http_connection_manager.v3.HttpConnectionManager`;
const tcpUrl = `${prefix}filters.network.tcp_proxy.v3.TcpProxy`;
const stateUrl = `${prefix}filters.network.set_filter_state.v3.Config`;
const rbacUrl = `${prefix}filters.network.rbac.v3.RBAC`;
const tlsUrl = `${prefix}transport_sockets.tls.v3.DownstreamTlsContext`;
const rawUrl = `${prefix}transport_sockets.raw_buffer.v3.RawBuffer`;

/** A peer that does not finish its handshake holds a connection for this long. */
const handshakeTimeoutMsDefault = 15_000;

/** Throws a refusal. */
export function compileChain(chain: FilterChain, options: ChainOptions): CompiledChain {
  const last = chain.filters.at(-1);
  if (last === undefined) return refuse("filters", "a chain needs a filter that ends it");
  const refusals = new RefusalList();
  const before = chain.filters.slice(0, -1).entries();
  const passing: Passing = {
    filters: [],
    sinks: [],
    exchanges: false,
    tellsPeerChain: false,
  };
  for (const [i, filter] of before) {
    const place = `filters[${i}].typed_config`;
    refusals.attempt(() => compileFilter(filter, options, passing), place);
  }
  const place = `filters[${chain.filters.length - 1}].typed_config`;
  const terminal = refusals.attempt(() => compileTerminal(last, options, passing), place);
  // Last, for a TLS context follows secrets until it is closed.
  const tls = refusals.attempt(
    () => compileSocket(chain, options, passing),
    "transport_socket.typed_config",
  );
  if (!refusals.isEmpty || terminal === undefined) tls?.close();
  refusals.throwIfAny();
  assert(terminal !== undefined, "a chain without an end was refused");
  return {
    name: chain.name,
    facts: { name: chain.name, metadata: chain.metadata?.filterMetadata ?? {} },
    filters: passing.filters,
    terminal,
    transport: transportOf(chain.transportSocket, passing),
    handshakeTimeoutMs:
      durationMs(chain.transportSocketConnectTimeout) || handshakeTimeoutMsDefault,
    tls,
  };
}

/** What the filters before the last do. */
interface Passing {
  readonly filters: NetworkFilter[];
  /** Told of connections beside the loggers of what ends the chain. */
  readonly sinks: RequestSink[];
  /** Istio's exchange of metadata stands in the chain. */
  exchanges: boolean;
  /** Upstreams are told of the whole chain of a client's certificate. */
  tellsPeerChain: boolean;
}

function compileTerminal(
  filter: Filter,
  options: ChainOptions,
  passing: Passing,
): CompiledChain["terminal"] {
  const { context, direction, bufferBytesMax, ignoresHealth, owner } = options;
  const typed = filter.typedConfig;
  if (typed?.typeUrl === httpUrl) {
    const config = HttpConnectionManager.decode(typed.value);
    passing.tellsPeerChain = config.setCurrentClientCertDetails?.chain === true;
    return createHttpConnectionManager(config, context, {
      direction,
      bufferBytesMax,
      ignoresHealth,
      ...(owner === undefined ? {} : { owner }),
    });
  }
  if (typed?.typeUrl === tcpUrl) {
    const { sinks } = passing;
    return createTcpProxy(TcpProxy.decode(typed.value), context, { direction, sinks });
  }
  return refuse("", "cannot end a chain");
}

function compileFilter(filter: Filter, options: ChainOptions, passing: Passing): void {
  const typed = filter.typedConfig;
  if (typed?.typeUrl === rbacUrl) {
    passing.filters.push(compileNetworkRbacFilter(typed.value, options.context));
  } else if (typed?.typeUrl === stateUrl) {
    passing.filters.push(compileNetworkState(typed.value));
  } else if (typed?.typeUrl === statsUrl) {
    const { context, direction } = options;
    const node = context.node?.metadata ?? {};
    const { clock, metrics } = context;
    const stats = { clock, metrics, node, direction };
    passing.sinks.push(compileIstioStats(typed.value, "", stats));
  } else if (isPeerExchange(typed, "")) {
    passing.exchanges = true;
  } else {
    refuse("", "is not supported");
  }
}

function transportOf(socket: TransportSocket | undefined, { tellsPeerChain }: Passing): string {
  const typed = socket?.typedConfig;
  if (socket === undefined || typed?.typeUrl === rawUrl) return "";
  const config = Buffer.from(typed?.value ?? []).toString("base64");
  return tellsPeerChain ? `${config} chain` : config;
}

function compileSocket(
  { transportSocket: socket, filterChainMatch }: FilterChain,
  { context, secrets, listenerAddress }: ChainOptions,
  { exchanges, tellsPeerChain }: Passing,
): ServerTls | undefined {
  const typed = socket?.typedConfig;
  if (socket === undefined || typed?.typeUrl === rawUrl) return undefined;
  if (typed?.typeUrl !== tlsUrl) return refuse("", "is not supported");
  const tls = withFileSecrets(DownstreamTlsContext.decode(typed.value));
  return createServerTls(exchanges ? withoutExchange(tls) : tls, {
    secrets,
    serverNames: filterChainMatch?.serverNames ?? [],
    keepsPeerChain: tellsPeerChain,
    log: context.log.area("tls"),
    counters: createTlsCounters(context.metrics, "envoy_listener", {
      listener_address: listenerAddress,
    }),
  });
}
