/** A Listener resource, ready for connections. Opens nothing. */
import { assert } from "../../base/assert.ts";
import { honouredProxyProtocol, honouredTlsInspector } from "../config/honoured-extensions.ts";
import { honoured } from "../config/honoured.ts";
import { createHash } from "node:crypto";

import { formatSocketAddress, type SocketAddress } from "../../base/socket-address.ts";
import type { TcpKeepAlive } from "../../net/dialler.ts";
import { compileKeepAlive } from "../engine/tcp-keepalive.ts";
import type { SocketOption } from "../../net/listen.ts";
import type { SecretSource } from "../../net/secret-source.ts";
import type { RequestRecord, RequestSink } from "../../telemetry/request-record.ts";
import type { Address } from "../../wire/gen/ts/envoy/config/core/v3/address.ts";
import { TrafficDirection } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import {
  type Listener,
  Listener_DrainType as DrainType,
} from "../../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import {
  FilterChain,
  type ListenerFilter,
} from "../../wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import { TlsInspector } from "../../wire/gen/ts/envoy/extensions/filters/listener/tls_inspector/v3/tls_inspector.ts";
import { ProxyProtocol } from "../../wire/gen/ts/envoy/extensions/filters/listener/proxy_protocol/v3/proxy_protocol.ts";
import type { ProxyContext } from "../context.ts";
import { durationMs } from "../engine/duration.ts";
import {
  compileFilterChains,
  type ConnectionFacts,
  type FilterChainSelector,
} from "../engine/filter-chains.ts";
import { refuse, RefusalList } from "../engine/refusal.ts";
import { type ChainOptions, type CompiledChain, compileChain } from "./compiled-chain.ts";
import { compileSocketOptions } from "./socket-options.ts";
import { compilePredicate, type PortPredicate } from "./filter-predicate.ts";

export interface CompiledListener {
  readonly name: string;
  readonly statAddress: string;
  readonly addresses: readonly SocketAddress[];
  /** Connections come from inside the proxy, by its name. */
  readonly isInternal: boolean;
  readonly bindsToPort: boolean;
  /** Hands connections over to the listener at their original destination. */
  readonly usesOriginalDestination: boolean;
  /** Takes the destination before redirection as the connection's own. */
  readonly restoresDestination: boolean;
  /** Undefined: not inspected. True for a port: switched off there. */
  readonly tlsInspector: PortPredicate | undefined;
  readonly httpInspector: PortPredicate | undefined;
  readonly proxyProtocol: { readonly isRequired: boolean } | undefined;
  /** 0 means none. */
  readonly inspectionTimeoutMs: number;
  readonly continuesOnTimeout: boolean;
  readonly selector: FilterChainSelector;
  readonly chains: ReadonlyMap<FilterChain, CompiledChain>;
  /** Chains by their content, so that a new version keeps those that did not change. */
  readonly chainsByContent: ReadonlyMap<string, CompiledChain>;
  readonly bufferBytesMax: number;
  readonly backlog: number;
  readonly keepAlive: TcpKeepAlive | undefined;
  /** Of each address, in their order. */
  readonly socketOptions: readonly (readonly SocketOption[])[];
  readonly acceptsMax: number | undefined;
  readonly direction: RequestRecord["direction"];
  /** Logs connections that no chain takes. */
  readonly refused: RequestSink;
}

export interface CompileListenerOptions {
  readonly context: ProxyContext;
  readonly secrets: SecretSource;
  readonly before: CompiledListener | undefined;
}

const bufferBytesMaxDefault = 1024 * 1024;
const inspectionTimeoutMsDefault = 15_000;
const backlogDefault = 4096;

const directions: Readonly<Record<number, RequestRecord["direction"]>> = {
  [TrafficDirection.INBOUND]: "inbound",
  [TrafficDirection.OUTBOUND]: "outbound",
};

/** Throws a refusal. */
export function compileListener(
  listener: Listener,
  options: CompileListenerOptions,
): CompiledListener {
  const isInternal = listener.internalListener !== undefined;
  const addresses = isInternal ? internalOnly(listener) : addressesOf(listener);
  const [first] = addresses;
  const statAddress =
    first === undefined ? listener.name : formatSocketAddress(first).replace(/:(\d+)$/, "_$1");
  const bufferBytesMax = listener.perConnectionBufferLimitBytes ?? bufferBytesMaxDefault;
  const refusals = new RefusalList();
  const filters = refusals.attempt(() => compileFilters(listener.listenerFilters));
  const chainOptions: ChainOptions = {
    context: options.context,
    secrets: options.secrets,
    direction: directions[listener.trafficDirection] ?? "unspecified",
    bufferBytesMax,
    ignoresHealth: listener.drainType === DrainType.MODIFY_ONLY,
    listenerAddress: statAddress,
  };
  const compiled = refusals.attempt(() => compileChains(listener, chainOptions, options.before));
  const refused = refusals.attempt(() => compileRefusedLog(listener, options.context));
  const socketOptions = refusals.attempt(() => compileSocketOptions(listener, addresses));
  refusals.throwIfAny();
  assert(
    socketOptions !== undefined &&
      filters !== undefined &&
      compiled !== undefined &&
      refused !== undefined,
    "a listener that lacks a part was refused",
  );
  const usesOriginalDestination = listener.useOriginalDst === true;
  return {
    name: listener.name,
    statAddress,
    addresses,
    isInternal,
    bindsToPort: !isInternal && (listener.bindToPort ?? listener.deprecatedV1?.bindToPort ?? true),
    usesOriginalDestination,
    ...filters,
    restoresDestination: filters.restoresDestination || usesOriginalDestination,
    inspectionTimeoutMs: durationMs(listener.listenerFiltersTimeout) ?? inspectionTimeoutMsDefault,
    continuesOnTimeout: listener.continueOnListenerFiltersTimeout,
    selector: compileFilterChains(listener),
    ...compiled,
    bufferBytesMax,
    backlog: listener.tcpBacklogSize ?? backlogDefault,
    keepAlive: compileKeepAlive(listener.tcpKeepalive, "tcp_keepalive"),
    socketOptions,
    acceptsMax: listener.maxConnectionsToAcceptPerSocketEvent || undefined,
    direction: chainOptions.direction,
    refused,
  };
}

/** The chain that takes a connection. */
export function chainFor(
  listener: CompiledListener,
  facts: ConnectionFacts,
): CompiledChain | undefined {
  const source = listener.selector.match(facts);
  return source === undefined ? undefined : listener.chains.get(source);
}

/** Whether two listeners learn the same of a connection to a port before they choose its chain. */
export function inspectsAlike(a: CompiledListener, b: CompiledListener, port: number): boolean {
  return (
    a === b ||
    (a.tlsInspector?.(port) === b.tlsInspector?.(port) &&
      a.httpInspector?.(port) === b.httpInspector?.(port) &&
      a.proxyProtocol?.isRequired === b.proxyProtocol?.isRequired)
  );
}

/** Connections that a chain takes are logged by its filters alone. */
function compileRefusedLog({ accessLog }: Listener, context: ProxyContext): RequestSink {
  for (const [i, { filter }] of accessLog.entries()) {
    const flags = filter?.responseFlagFilter?.flags;
    if (flags?.length === 1 && flags[0] === "NR") continue;
    refuse(
      `access_log[${i}].filter`,
      "only connections that no filter chain takes are logged by a listener: the response flag NR",
    );
  }
  return context.sinkFor(accessLog, "");
}

function compileChains(
  listener: Listener,
  options: ChainOptions,
  before: CompiledListener | undefined,
): Pick<CompiledListener, "chains" | "chainsByContent"> {
  const chains = new Map<FilterChain, CompiledChain>();
  const chainsByContent = new Map<string, CompiledChain>();
  const sources = listener.filterChains.map((chain, i) => ({ chain, at: `filter_chains[${i}]` }));
  if (listener.defaultFilterChain !== undefined) {
    sources.push({ chain: listener.defaultFilterChain, at: "default_filter_chain" });
  }
  const made: CompiledChain[] = [];
  const refusals = new RefusalList();
  try {
    for (const { chain: source, at } of sources) {
      const content = contentOf(source, options);
      let chain = chainsByContent.get(content) ?? before?.chainsByContent.get(content);
      if (chain === undefined) {
        const owner = `${listener.name}/${content}`;
        chain = refusals.attempt(() => compileChain(source, { ...options, owner }), at);
        if (chain === undefined) continue;
        made.push(chain);
      }
      chains.set(source, chain);
      chainsByContent.set(content, chain);
    }
    refusals.throwIfAny();
  } catch (thrown) {
    for (const chain of made) chain.tls?.close();
    throw thrown;
  }
  return { chains, chainsByContent };
}

/** Equal for chains that do the same to the same connections. */
function contentOf(chain: FilterChain, options: ChainOptions): string {
  const hash = createHash("sha256");
  hash.update(FilterChain.encode(chain).finish());
  const { direction, bufferBytesMax, listenerAddress, ignoresHealth } = options;
  hash.update(`${direction} ${bufferBytesMax} ${listenerAddress} ${ignoresHealth}`);
  return hash.digest("base64");
}

function addressesOf(listener: Listener): readonly SocketAddress[] {
  return [listener.address, ...listener.additionalAddresses.map((one) => one.address)].map(
    (address, i) => addressOf(address, i === 0 ? "address" : `additional_addresses[${i - 1}]`),
  );
}

/** No address, or its own name again. */
function internalOnly(listener: Listener): readonly [] {
  const { address, additionalAddresses, name } = listener;
  const named = address?.envoyInternalAddress?.serverListenerName;
  if (name === "") refuse("name", "is required of a listener inside the proxy");
  if (address !== undefined && named !== name) {
    refuse("address", "a listener inside the proxy has none but its name");
  }
  if (additionalAddresses.length > 0) refuse("additional_addresses", "is not supported");
  if (listener.useOriginalDst === true) refuse("use_original_dst", "is not supported");
  return [];
}

function addressOf(address: Address | undefined, path: string): SocketAddress {
  const socket = address?.socketAddress;
  if (socket?.portValue === undefined) {
    return refuse(path, "only IP addresses with a port are supported");
  }
  return { address: socket.address, port: socket.portValue };
}

type Filters = Pick<
  CompiledListener,
  "restoresDestination" | "tlsInspector" | "httpInspector" | "proxyProtocol"
>;

const prefix = "type.googleapis.com/envoy.extensions.filters.listener.";

function compileFilters(filters: readonly ListenerFilter[]): Filters {
  let restoresDestination = false;
  let tlsInspector: PortPredicate | undefined;
  let httpInspector: PortPredicate | undefined;
  let proxyProtocol: Filters["proxyProtocol"];
  for (const [i, filter] of filters.entries()) {
    const path = `listener_filters[${i}].typed_config`;
    const isOff = compilePredicate(filter.filterDisabled);
    switch (filter.typedConfig?.typeUrl) {
      case `${prefix}original_dst.v3.OriginalDst`:
        refusePredicate(filter, `listener_filters[${i}]`);
        restoresDestination = true;
        break;
      case `${prefix}tls_inspector.v3.TlsInspector`:
        honoured(TlsInspector.decode(filter.typedConfig.value), honouredTlsInspector, path);
        tlsInspector = isOff;
        break;
      case `${prefix}http_inspector.v3.HttpInspector`:
        httpInspector = isOff;
        break;
      case `${prefix}proxy_protocol.v3.ProxyProtocol`: {
        refusePredicate(filter, `listener_filters[${i}]`);
        const config = honoured(
          ProxyProtocol.decode(filter.typedConfig.value),
          honouredProxyProtocol,
          path,
        );
        if (config.rules.length > 0) refuse(`${path}.rules`, "is not supported");
        if (config.disallowedVersions.length > 0) {
          refuse(`${path}.disallowed_versions`, "is not supported");
        }
        proxyProtocol = { isRequired: !config.allowRequestsWithoutProxyProtocol };
        break;
      }
      case undefined:
      default:
        refuse(path, `'${filter.typedConfig?.typeUrl ?? filter.name}' is not supported`);
    }
  }
  return { restoresDestination, tlsInspector, httpInspector, proxyProtocol };
}

/** What it would be asked about is not known before this filter has run. */
function refusePredicate({ filterDisabled }: ListenerFilter, path: string): void {
  if (filterDisabled !== undefined) {
    refuse(`${path}.filter_disabled`, "is supported for inspectors alone");
  }
}
