/** A Listener resource, ready for connections. Opens nothing. */
import { assert } from "../../base/assert.ts";
import { createHash } from "node:crypto";

import { formatSocketAddress, isPipe, type SocketAddress } from "../../base/socket-address.ts";
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
import { FilterChain } from "../../wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import type { ProxyContext } from "../context.ts";
import { durationMs } from "../engine/duration.ts";
import {
  compileFilterChains,
  type ConnectionFacts,
  type FilterChainSelector,
} from "../engine/filter-chains.ts";
import { pipeAddress } from "../engine/pipe.ts";
import { refuse, RefusalList } from "../engine/refusal.ts";
import { joinPreparations, type Preparation } from "../preparation.ts";
import type { AdmissionOptions } from "./admission.ts";
import { type ChainOptions, type CompiledChain, compileChain } from "./compiled-chain.ts";
import { compileSocketOptions } from "./socket-options.ts";
import { compileListenerFilters, type ListenerStep, stepsAt } from "./listener-filters.ts";

export interface CompiledListener extends AdmissionOptions {
  readonly name: string;
  readonly statAddress: string;
  readonly addresses: readonly SocketAddress[];
  /** Connections come from inside the proxy, by its name. */
  readonly isInternal: boolean;
  readonly bindsToPort: boolean;
  /** Hands connections over to the listener at their original destination. */
  readonly usesOriginalDestination: boolean;
  /** Takes the destination before redirection as a connection's own, at least of some. */
  readonly restoresDestination: boolean;
  /** What is looked at before a chain is chosen, in this order. */
  readonly steps: readonly ListenerStep[];
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
  /** The same: permissions of a Unix socket's file, 0 where nothing is said. */
  readonly modes: readonly number[];
  readonly acceptsMax: number | undefined;
  readonly direction: RequestRecord["direction"];
  /** Told of every connection when it has ended; undefined where nobody listens. */
  readonly log: RequestSink | undefined;
  /** For the same logs, and those of what its chains serve. */
  readonly metadata: Readonly<Record<string, unknown>>;
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
  const address =
    first === undefined ? listener.name : formatSocketAddress(first).replace(/:(\d+)$/, "_$1");
  const statAddress = listener.statPrefix || address;
  const bufferBytesMax = listener.perConnectionBufferLimitBytes ?? bufferBytesMaxDefault;
  const refusals = new RefusalList();
  const steps = refusals.attempt(() =>
    compileListenerFilters(listener.listenerFilters, options.context.metrics),
  );
  const chainOptions: ChainOptions = {
    context: options.context,
    secrets: options.secrets,
    direction: directions[listener.trafficDirection] ?? "unspecified",
    bufferBytesMax,
    ignoresHealth: listener.drainType === DrainType.MODIFY_ONLY,
    listenerAddress: statAddress,
  };
  const compiled = refusals.attempt(() => compileChains(listener, chainOptions, options.before));
  const log = refusals.attempt(() => compileLog(listener, options.context));
  const socketOptions = refusals.attempt(() => compileSocketOptions(listener, addresses));
  refusals.throwIfAny();
  assert(
    socketOptions !== undefined &&
      steps !== undefined &&
      compiled !== undefined &&
      log !== undefined,
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
    steps,
    restoresDestination:
      usesOriginalDestination || steps.some(({ kind }) => kind === "original-destination"),
    inspectionTimeoutMs: durationMs(listener.listenerFiltersTimeout) ?? inspectionTimeoutMsDefault,
    continuesOnTimeout: listener.continueOnListenerFiltersTimeout,
    selector: compileFilterChains(listener),
    ...compiled,
    bufferBytesMax,
    backlog: listener.tcpBacklogSize ?? backlogDefault,
    keepAlive: compileKeepAlive(listener.tcpKeepalive, "tcp_keepalive"),
    socketOptions,
    modes: isInternal ? [] : addressProtosOf(listener).map((address) => address?.pipe?.mode ?? 0),
    acceptsMax: listener.maxConnectionsToAcceptPerSocketEvent || undefined,
    direction: chainOptions.direction,
    log: log.sink,
    metadata: listener.metadata?.filterMetadata ?? {},
    bypassesOverload: listener.bypassOverloadManager,
    ignoresConnectionLimit: listener.ignoreGlobalConnLimit,
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
  return a.steps === b.steps || stepsAt(a.steps, port) === stepsAt(b.steps, port);
}

function compileLog(
  { accessLog }: Listener,
  context: ProxyContext,
): { sink: RequestSink | undefined } {
  if (accessLog.length === 0) return { sink: undefined };
  return { sink: context.sinkFor(accessLog, "", { areListeners: true }) };
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
  const addresses = addressProtosOf(listener).map((address, i) =>
    addressOf(address, i === 0 ? "address" : `additional_addresses[${i - 1}].address`),
  );
  if (listener.useOriginalDst === true && addresses.some(({ address }) => isPipe(address))) {
    refuse("use_original_dst", "is not supported of a Unix socket");
  }
  return addresses;
}

function addressProtosOf(listener: Listener): readonly (Address | undefined)[] {
  return [listener.address, ...listener.additionalAddresses.map((one) => one.address)];
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
  if (address?.pipe !== undefined) return pipeAddress(address.pipe, path);
  const socket = address?.socketAddress;
  if (socket?.portValue === undefined) {
    return refuse(path, "only IP addresses with a port, and pipes, are supported");
  }
  if (socket.portValue > 65_535) return refuse(`${path}.socket_address.port_value`, "is no port");
  return { address: socket.address, port: socket.portValue };
}

/** By what tells sockets apart: where the new version has the same, they stay open. */
export function boundAddresses(compiled: CompiledListener): ReadonlyMap<string, SocketAddress> {
  if (!compiled.bindsToPort) return new Map();
  const { addresses, restoresDestination } = compiled;
  return new Map(
    addresses.map((address) => [`${formatSocketAddress(address)} ${restoresDestination}`, address]),
  );
}

/** Of its chains, among them those that it shares with the version before. */
export function preparationOf({ chainsByContent }: CompiledListener): Preparation | undefined {
  const terminals = [...chainsByContent.values()].map(({ terminal }) => terminal);
  return joinPreparations(terminals.map(({ preparation }) => preparation));
}

/** It will not serve: its chains end, but for those of the version that does. */
export function closeChains(
  compiled: CompiledListener,
  serving: CompiledListener | undefined,
): void {
  const used = new Set(serving?.chainsByContent.values());
  for (const chain of compiled.chainsByContent.values()) {
    if (used.has(chain)) continue;
    chain.tls?.close();
    chain.terminal.preparation?.end();
  }
}
