/**
 * Runs listeners: sockets, the hand-over of captured connections to the listener of their original
 * destination, and changes of configuration while connections go on. What a connection goes through
 * is in `listener/`.
 */
import { assert } from "../base/assert.ts";
import type { Timer } from "../base/clock.ts";
import { formatSocketAddress, type SocketAddress } from "../base/socket-address.ts";
import type { Channel } from "../net/channel.ts";
import { type BoundListener, listen } from "../net/listen.ts";
import type { SecretSource } from "../net/secret-source.ts";
import { BoundedLog } from "../telemetry/bounded-log.ts";
import type { Logger } from "../telemetry/logger.ts";
import type { Any } from "../wire/gen/ts/google/protobuf/any.ts";
import type { Listener } from "../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import type { ListenerSet, ProxyContext } from "./context.ts";
import type { DrainPlan } from "./drain.ts";
import { writeQueueBytes } from "./engine/watermark.ts";
import { checkHttpFilter } from "./http.ts";
import type { PassedOn } from "./internal.ts";
import { isAdmitted } from "./listener/admission.ts";
import { AcceptedConnection } from "./listener/accepted-connection.ts";
import type { CompiledChain } from "./listener/compiled-chain.ts";
import {
  boundAddresses,
  closeChains,
  type CompiledListener,
  compileListener,
  preparationOf,
} from "./listener/compiled-listener.ts";
import { DetectionMemory } from "./listener/detection-memory.ts";
import { Draining } from "./listener/draining.ts";
import { EarlyConnections } from "./listener/early-connections.ts";
import { createListenerCounters, type ListenerCounters } from "./listener/listener-counters.ts";
import { InternalDoors } from "./listener/internal-doors.ts";
import { resetSlowest } from "./listener/slow-connections.ts";
import { YoungConnections } from "./listener/young-connections.ts";
import type { PreparedListener } from "./preparation.ts";
import { isUdpListener, UdpListeners } from "./udp.ts";

export interface ListenerSetOptions {
  readonly context: ProxyContext;
  readonly secrets: SecretSource;
}

/** Per socket; beyond it connections are refused and counted as `downstream_cx_overflow`. */
const connectionsMax = 16_384;
/** How long connections may stay after the chain that serves them was removed or changed. */
const chainDrainMs = 45_000;
const refusalLinesPerSecond = 10;

export function createListenerSet(options: ListenerSetOptions): ListenerSet {
  return new RunningListeners(options);
}

interface Running {
  readonly compiled: CompiledListener;
  readonly counters: ListenerCounters;
  readonly sockets: ReadonlyMap<string, BoundListener>;
}

interface Tracked {
  readonly connection: AcceptedConnection;
  readonly counters: ListenerCounters;
  /** Among the young. */
  readonly bucket: number;
}

class RunningListeners implements ListenerSet {
  readonly #context: ProxyContext;
  readonly #secrets: SecretSource;
  readonly #log: Logger;
  readonly #refusals: BoundedLog;
  readonly #running = new Map<string, Running>();
  /** Listeners by `address:port`, for connections handed over. */
  readonly #byAddress = new Map<string, Running>();
  readonly #connections = new Map<Channel, Tracked>();
  readonly #young = new YoungConnections();
  readonly #early = new EarlyConnections();
  readonly #memory: DetectionMemory;
  readonly #udp: UdpListeners;
  readonly #drains = new Set<Timer>();
  #draining: Draining | undefined;
  #lastAcceptMs = Number.NEGATIVE_INFINITY;

  constructor({ context, secrets }: ListenerSetOptions) {
    this.#context = context;
    this.#secrets = secrets;
    this.#log = context.log.area("listener");
    this.#openInside(context);
    this.#udp = new UdpListeners(context);
    this.#memory = new DetectionMemory(context.clock, context.metrics);
    this.#refusals = new BoundedLog({
      clock: context.clock,
      log: this.#log,
      linesPerSecond: refusalLinesPerSecond,
    });
  }

  #openInside({ internal }: ProxyContext): void {
    if (internal === undefined) return;
    const { find } = new InternalDoors({
      find: (name) => {
        const running = this.#running.get(name);
        return running && { ...running, onOverflow: () => running.counters.onOverflow() };
      },
      accept: (name, channel, passed) => this.#accept(name, channel, passed),
      onClosed: (channel) => this.#forget(channel),
    });
    internal.find = find;
  }

  prepare(listener: Listener): PreparedListener {
    if (isUdpListener(listener)) return this.#udp.prepare(listener);
    const before = this.#running.get(listener.name)?.compiled;
    const compiled = this.#compile(listener);
    const opened = new Map<string, BoundListener>();
    let isDiscarded = false;
    const discard = (): void => {
      isDiscarded = true;
      for (const socket of opened.values()) void socket.close();
      opened.clear();
    };
    return {
      open: () => {
        const missing = this.#unbound(compiled, opened);
        if (missing.size === 0) return undefined;
        this.#early.expect(listener.name);
        return this.#open(compiled, missing, opened).then(() => {
          if (isDiscarded) discard();
        });
      },
      begin: preparationOf(compiled)?.begin,
      start: () => {
        // It may share chains with a version that was replaced, and retired, in the meantime.
        const isCurrent = this.#running.get(listener.name)?.compiled === before;
        if (isCurrent) return this.#start(compiled, opened);
        this.#closeUnused(compiled);
        return this.#start(this.#compile(listener), opened);
      },
      discard: () => {
        discard();
        this.#early.drop(listener.name);
        this.#closeUnused(compiled);
      },
    };
  }

  #compile(listener: Listener): CompiledListener {
    return compileListener(listener, {
      context: this.#context,
      secrets: this.#secrets,
      before: this.#running.get(listener.name)?.compiled,
    });
  }

  checkFilter(config: Any): void {
    checkHttpFilter(config, this.#context);
  }

  remove(name: string): void {
    this.#udp.remove(name);
    const running = this.#running.get(name);
    if (running === undefined) return;
    this.#running.delete(name);
    this.#index();
    for (const socket of running.sockets.values()) void socket.close();
    this.#retire([...running.compiled.chainsByContent.values()]);
    this.#log.info("listener removed", { listener: name });
  }

  bound(): readonly { readonly name: string; readonly address: SocketAddress }[] {
    const streams = [...this.#running].flatMap(([name, { sockets }]) =>
      [...sockets.values()].map(({ address }) => ({ name, address })),
    );
    return [...streams, ...this.#udp.bound()];
  }

  drain(plan: DrainPlan): Promise<void> {
    this.#draining?.close();
    this.#draining = new Draining({
      clock: this.#context.clock,
      plan,
      closeSockets: () => this.#closeSockets(plan.isInboundOnly === true),
      closeIdle: (sinceMs) => this.#closeIdle(sinceMs),
      openConnections: () => this.#connections.size,
      lastAcceptMs: () => this.#lastAcceptMs,
      cut: () => {
        for (const { connection } of this.#connections.values()) connection.destroy();
      },
    });
    return this.#draining.ended;
  }

  #closeSockets(isInboundOnly: boolean): void {
    for (const { sockets, compiled } of this.#running.values()) {
      if (isInboundOnly && compiled.direction !== "inbound") continue;
      for (const socket of sockets.values()) void socket.close();
    }
  }

  #closeIdle(sinceMs: number): void {
    const terminals = new Set<CompiledChain["terminal"]>();
    for (const { connection } of this.#connections.values()) {
      if (connection.chain !== undefined) terminals.add(connection.chain.terminal);
      else if (connection.startedMs <= sinceMs) connection.destroy();
    }
    for (const terminal of terminals) terminal.closeIdle(sinceMs);
  }

  resetSlowest(fromBytes: number, countMax: number): void {
    resetSlowest(this.#connections.keys(), { fromBytes, countMax }, this.#context);
  }

  async close(): Promise<void> {
    this.#refusals.close();
    this.#udp.close();
    this.#early.dropAll();
    this.#draining?.close();
    for (const timer of this.#drains) timer.cancel();
    for (const { connection } of this.#connections.values()) connection.destroy();
    const sockets = [...this.#running.values()].flatMap((one) => [...one.sockets.values()]);
    for (const { compiled } of this.#running.values()) {
      for (const chain of compiled.chainsByContent.values()) chain.tls?.close();
    }
    this.#running.clear();
    this.#byAddress.clear();
    await Promise.all(sockets.map((socket) => socket.close()));
  }

  #start(compiled: CompiledListener, opened: ReadonlyMap<string, BoundListener>): void {
    const before = this.#running.get(compiled.name);
    const counters =
      before?.compiled.statAddress === compiled.statAddress
        ? before.counters
        : createListenerCounters(this.#context.metrics, compiled.statAddress);
    const sockets = new Map<string, BoundListener>();
    for (const key of boundAddresses(compiled).keys()) {
      const socket = before?.sockets.get(key) ?? opened.get(key);
      assert(socket !== undefined, "a listener starts when its addresses are bound");
      sockets.set(key, socket);
    }
    this.#running.set(compiled.name, { compiled, counters, sockets });
    preparationOf(compiled)?.begin(() => undefined);
    this.#index();
    for (const socket of opened.values()) socket.serve?.();
    for (const [key, socket] of before?.sockets ?? []) {
      if (!sockets.has(key)) void socket.close();
    }
    const kept = new Set(compiled.chainsByContent.values());
    const gone = [...(before?.compiled.chainsByContent.values() ?? [])];
    this.#retire(gone.filter((chain) => !kept.has(chain)));
    for (const socket of opened.values()) {
      const address = formatSocketAddress(socket.address);
      this.#log.info("listening", { listener: compiled.name, address });
    }
    this.#early.release(compiled.name, (channel) => this.#accept(compiled.name, channel));
  }

  /** Addresses that neither the version that serves has bound, nor we. */
  #unbound(
    compiled: CompiledListener,
    opened: ReadonlyMap<string, BoundListener>,
  ): ReadonlyMap<string, SocketAddress> {
    const bound = this.#running.get(compiled.name)?.sockets;
    const wanted = [...boundAddresses(compiled)];
    return new Map(wanted.filter(([key]) => bound?.has(key) !== true && !opened.has(key)));
  }

  async #open(
    compiled: CompiledListener,
    addresses: ReadonlyMap<string, SocketAddress>,
    opened: Map<string, BoundListener>,
  ): Promise<void> {
    for (const [key, address] of addresses) {
      opened.set(key, await this.#bind(compiled, address));
    }
  }

  #bind(compiled: CompiledListener, address: SocketAddress): Promise<BoundListener> {
    const { name, socketOptions, modes, addresses, acceptsMax } = compiled;
    const at = addresses.indexOf(address);
    return (this.#context.listen ?? listen)({
      name,
      on: { kind: "address", ...address },
      connectionsMax,
      backlog: compiled.backlog,
      keepAlive: compiled.keepAlive,
      socketOptions: socketOptions[at] ?? [],
      mode: modes[at] ?? 0,
      acceptsMax,
      readsOriginalDestination: compiled.restoresDestination,
      writeQueueBytesMax: writeQueueBytes(compiled.bufferBytesMax),
      log: this.#log,
      onChannel: (channel) => this.#accept(name, channel),
      onClosed: (channel) => this.#forget(channel),
      onOverflow: () => this.#running.get(name)?.counters.onOverflow(),
    });
  }

  /** `passed`: from inside the proxy, for a connection that was accepted before. */
  #accept(name: string, channel: Channel, passed?: PassedOn): void {
    const receiver = this.#running.get(name);
    if (receiver === undefined) {
      if (!this.#early.hold(name, channel)) channel.destroy();
      return;
    }
    const { overload } = this.#context;
    const nowMs = this.#context.clock.monotonicMs();
    if (overload !== undefined && passed === undefined) {
      const open = this.#connections.size;
      const counts = { open, young: this.#young.count(nowMs) };
      if (!isAdmitted(overload, receiver.compiled, counts)) {
        receiver.counters.onOverloaded();
        this.#refusals.warn("a connection was refused: memory runs short", { open });
        channel.destroy("reset");
        return;
      }
    }
    const { originalDestination: destination } = channel;
    const running = this.#receiverFor(receiver, destination);
    const connection = new AcceptedConnection(channel, running.compiled, {
      clock: this.#context.clock,
      log: this.#log,
      refusals: this.#refusals,
      counters: running.counters,
      memory: this.#memory,
      isRestored: receiver.compiled.usesOriginalDestination,
      passed,
      current: () => {
        const now = this.#running.get(name);
        return now === undefined ? undefined : this.#receiverFor(now, destination).compiled;
      },
    });
    running.counters.onOpened();
    this.#lastAcceptMs = connection.startedMs;
    const bucket = this.#young.add(nowMs);
    this.#connections.set(channel, { connection, counters: running.counters, bucket });
    connection.start();
  }

  #forget(channel: Channel): void {
    const tracked = this.#connections.get(channel);
    if (tracked !== undefined) {
      const { startedMs } = tracked.connection;
      tracked.counters.onClosed(this.#context.clock.monotonicMs() - startedMs);
      this.#young.remove(tracked.bucket);
      tracked.connection.onClosed();
    }
    this.#connections.delete(channel);
    this.#draining?.onClosed();
  }

  /** Envoy's order: the exact address, then the wildcard of its family, then the receiver itself. */
  #receiverFor(receiver: Running, { address, port }: SocketAddress): Running {
    if (!receiver.compiled.usesOriginalDestination) return receiver;
    const wildcard = address.includes(":") ? "::" : "0.0.0.0";
    return (
      this.#byAddress.get(formatSocketAddress({ address, port })) ??
      this.#byAddress.get(formatSocketAddress({ address: wildcard, port })) ??
      receiver
    );
  }

  #index(): void {
    this.#byAddress.clear();
    for (const running of this.#running.values()) {
      for (const address of running.compiled.addresses) {
        this.#byAddress.set(formatSocketAddress(address), running);
      }
    }
  }

  /**
   * Chains that serve nothing new. What is in flight goes on; the next request of a connection is
   * decided by the chain it belongs to now. What stays nevertheless (streams of bytes, requests
   * without an end) is cut off.
   */
  #retire(chains: readonly CompiledChain[]): void {
    if (chains.length === 0) return;
    const gone = new Set(chains);
    for (const chain of chains) {
      chain.terminal.retire();
      chain.tls?.close();
    }
    const timer = this.#context.clock.schedule(chainDrainMs, () => {
      this.#drains.delete(timer);
      for (const chain of chains) chain.terminal.moveIdle();
      for (const { connection } of this.#connections.values()) {
        if (connection.chain !== undefined && gone.has(connection.chain)) connection.destroy();
      }
    });
    this.#drains.add(timer);
  }

  #closeUnused(compiled: CompiledListener): void {
    closeChains(compiled, this.#running.get(compiled.name)?.compiled);
  }
}
