/**
 * One connection from accept to the filter that takes it over: inspect, choose, shake hands. Later it
 * tells that filter where the connection belongs, when the configuration has changed.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Channel, ChannelError } from "../../net/channel.ts";
import { startServerHandshake } from "../../net/server-handshake.ts";
import type { Logger } from "../../telemetry/logger.ts";
import { inspectHttp } from "../../wire/http-inspect.ts";
import type { ConnectionHome, FirstWords, HomeRefusal } from "../connection-home.ts";
import type { ConnectionFacts } from "../engine/filter-chains.ts";
import { isLoopback, parseIp } from "../engine/ip.ts";
import type { ConnectionView } from "../engine/request.ts";
import type { PassedOn } from "../internal.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { TcpRecord } from "../tcp/tcp-record.ts";
import type { CompiledChain } from "./compiled-chain.ts";
import { type ClientHeader, withMetadata } from "./client-header.ts";
import { chainFor, type CompiledListener, inspectsAlike } from "./compiled-listener.ts";
import { CountedChannel } from "./counted-channel.ts";
import { ConnectionLog } from "./connection-log.ts";
import { type ConnectionEnds, viewOf } from "./connection-view.ts";
import { closeLater } from "./delayed-close.ts";
import type { DecidedBy, DetectionMemory } from "./detection-memory.ts";
import { Inspection, type Inspected, type InspectionStep } from "./inspection.ts";
import type { ListenerCounters } from "./listener-counters.ts";
import type { Denial } from "./network-filters.ts";

export interface AcceptServices {
  readonly clock: Clock;
  readonly log: Logger;
  /** Log of refused connections, which others can provoke: bounded. */
  readonly refusals: { warn: Logger["warn"] };
  readonly counters: ListenerCounters;
  readonly memory: DetectionMemory;
  /** The listener that accepted it has restored where the client meant to connect. */
  readonly isRestored: boolean;
  /** What a connection from inside the proxy tells of itself. */
  readonly passed?: PassedOn | undefined;
  /** The listener that takes connections like this one now; undefined when there is none. */
  readonly current: () => CompiledListener | undefined;
}

interface Home {
  readonly listener: CompiledListener;
  readonly chain: CompiledChain;
}

/**
 * For what a client has begun to say, where the listener waits for ever: it does so for servers that
 * speak first, whose clients say nothing.
 */
const begunTimeoutMs = 15_000;

export class AcceptedConnection implements ConnectionHome {
  /** The chain that serves it, once chosen. */
  chain: CompiledChain | undefined;
  onFirstWords: FirstWords | undefined;
  onAnswer: (() => void) | undefined;
  /** The listener logs its connections. */
  readonly onRecord: ((record: RequestRecord) => void) | undefined;
  /** When it was accepted; monotonic. */
  readonly startedMs: number;
  readonly #services: AcceptServices;
  #listener: CompiledListener;
  readonly #inspection: Inspection;
  #channel: Channel;
  /** What its chain was chosen by. */
  #facts: ConnectionFacts | undefined;
  #view: ConnectionView | undefined;
  #timer: Timer | undefined;
  #hasEnded = false;
  /** The bytes so far are the beginning of a ClientHello. */
  #isHello = false;
  #decidedBy: DecidedBy = "first_bytes";
  readonly #log: ConnectionLog | undefined;
  #ends: ConnectionEnds | undefined;
  #client: ClientHeader | undefined;
  #sni: string | undefined;

  constructor(channel: Channel, listener: CompiledListener, services: AcceptServices) {
    this.#channel = channel;
    this.#listener = listener;
    this.#services = services;
    this.startedMs = services.clock.monotonicMs();
    this.#inspection = new Inspection(listener.steps, channel, services.isRestored);
    this.#log = listener.log && new ConnectionLog(listener.log, services.clock);
    this.onRecord = this.#log?.adopt;
  }

  /** Where it goes, as far as is known. */
  get #destination(): SocketAddress {
    return this.#inspection.destination;
  }

  start(): void {
    if (!this.#inspection.isNeeded) {
      this.#settle("declared");
      return;
    }
    const { inspectionTimeoutMs, continuesOnTimeout } = this.#listener;
    const learnt = this.#learns ? this.#services.memory.of(this.#destination) : undefined;
    if (learnt === "server-first") {
      this.#settle("memory");
      return;
    }
    // Clients of a server that speaks HTTP may open connections before they need them.
    if (inspectionTimeoutMs > 0 && learnt !== "http") {
      this.#timer = this.#services.clock.schedule(inspectionTimeoutMs, () => {
        this.#services.counters.onInspectionTimeout();
        if (!continuesOnTimeout) this.#channel.destroy();
        else if (this.#isHello) this.#timer = this.#boundBegun();
        else this.#settle("bound");
      });
    }
    this.#channel.handler = {
      onData: (chunk) => this.#step(this.#inspection.receive(chunk)),
      onEnd: () => {
        this.#hasEnded = true;
        this.#step(this.#inspection.settle());
      },
      onDrain: () => {},
      onClose: () => this.#timer?.cancel(),
    };
  }

  /** The connection is gone. */
  onClosed(): void {
    this.#log?.end(() => {
      const { destination, isRestored } = this.#inspection;
      const ends = this.#ends ?? { source: this.#channel.remote, destination, isRestored };
      const view = this.#view ?? viewOf(this.#channel, this.#sni, ends);
      return new TcpRecord(this.#channel, view, this.#listener.direction);
    });
  }

  destroy(): void {
    this.#timer?.cancel();
    this.#channel.destroy();
  }

  /**
   * Silence may be a server's that speaks first: only where the listener goes on without the client's first
   * bytes. Not towards the workload: a peer's ClientHello must not be taken for anything else.
   */
  get #learns(): boolean {
    const { direction, continuesOnTimeout, inspectionTimeoutMs, steps } = this.#listener;
    const isPatient = continuesOnTimeout && inspectionTimeoutMs > 0;
    const readsHeaders = steps.some(({ header }) => header !== undefined);
    return direction === "outbound" && isPatient && !readsHeaders;
  }

  #settle(by: DecidedBy): void {
    this.#decidedBy = by;
    if (this.#listener.direction === "outbound") this.onFirstWords = this.#wordsFor(by);
    this.#step(this.#inspection.settle());
  }

  #wordsFor(by: DecidedBy): FirstWords | undefined {
    const { memory } = this.#services;
    const destination = this.#destination;
    if (by !== "declared") {
      return this.#learns
        ? (speaker, words) => memory.onFirstWords(destination, speaker, words)
        : undefined;
    }
    return (speaker, words) => {
      const found = speaker === "client" ? inspectHttp(words) : undefined;
      if (found?.kind === "http") memory.note(destination, found.protocol);
      return undefined;
    };
  }

  #step(step: InspectionStep): void {
    if (step.kind === "more") {
      if (step.of !== "anything") this.#timer ??= this.#boundBegun();
      this.#isHello = step.of === "hello";
      return;
    }
    this.#timer?.cancel();
    if (step.kind === "refused") {
      this.#refuse("the PROXY header of a connection was refused", step.reason);
      return;
    }
    this.#choose(step.inspected);
  }

  #boundBegun(): Timer {
    return this.#services.clock.schedule(begunTimeoutMs, () => {
      this.#services.counters.onInspectionTimeout();
      // Half a ClientHello is no other protocol: what would take it as one waits on.
      if (!this.#isHello) this.#step(this.#inspection.settle());
      else this.#refuse("a TLS handshake with a client failed", "half a ClientHello after 15 s");
    });
  }

  #choose(inspected: Inspected): void {
    this.#client = inspected.client;
    const source = this.#client?.addresses?.source ?? this.#channel.remote;
    const destination = this.#destination;
    const sourceIp = parseIp(source.address);
    const facts: ConnectionFacts = {
      destinationAddress: destination.address,
      destinationPort: destination.port,
      sni: inspected.hello?.sni,
      transportProtocol: inspected.isTls ? "tls" : "raw_buffer",
      applicationProtocols: inspected.applicationProtocols,
      directSourceAddress: this.#channel.remote.address,
      sourceAddress: source.address,
      sourcePort: source.port,
      isLocalSource:
        source.address === destination.address || (sourceIp !== undefined && isLoopback(sourceIp)),
    };
    this.#facts = facts;
    const direct = source === this.#channel.remote ? undefined : this.#channel.remote;
    const { isRestored } = this.#inspection;
    this.#ends = { source, direct, destination, isRestored };
    this.#sni = inspected.hello?.sni;
    this.#tellProtocol(inspected);
    this.chain = chainFor(this.#listener, facts);
    if (this.chain === undefined) {
      this.#services.counters.onNoFilterChain();
      if (this.#log !== undefined) {
        this.#log.responseFlags = "NR";
        this.#log.responseCodeDetails = "filter_chain_not_found";
      }
      const seen = inspected.isTls ? `TLS for ${inspected.hello?.sni ?? "no name"}` : "plaintext";
      this.#refuse("no filter chain takes this connection", seen);
      return;
    }
    this.#secure(this.chain, inspected, this.#ends);
  }

  #tellProtocol({ isTls, applicationProtocols }: Inspected): void {
    const { memory } = this.#services;
    const isHttp = !isTls && applicationProtocols.length > 0;
    const protocol = isTls ? "tls" : isHttp ? "http" : "tcp";
    memory.count(this.#decidedBy, protocol);
    if (this.#decidedBy !== "first_bytes" || this.#listener.direction !== "outbound") return;
    const destination = this.#destination;
    const { port } = destination;
    // A client may ask by HTTP where something else is served, whose clients must not wait for it.
    if (isHttp && this.#learns) {
      this.onAnswer = () => {
        this.onAnswer = undefined;
        memory.learn(destination, "http");
      };
    }
    const isHttpWanted = this.#listener.steps.some(
      ({ kind, isOff }) => kind === "http" && !isOff(port),
    );
    if (!isHttp && isHttpWanted) memory.note(destination, protocol);
  }

  #secure(chain: CompiledChain, inspected: Inspected, ends: ConnectionEnds): void {
    const { tls } = chain;
    if (tls === undefined) {
      const view = viewOf(this.#channel, inspected.hello?.sni, ends);
      this.#start(view, inspected.first);
      return;
    }
    const { clock, log } = this.#services;
    startServerHandshake({
      channel: this.#channel,
      tls,
      first: inspected.first,
      offeredAlpn: inspected.hello?.alpn,
      requestedSni: inspected.hello?.sni,
      timeoutMs: chain.handshakeTimeoutMs,
      clock,
      log,
      onSecure: (channel) => {
        this.#channel = channel;
        const view = viewOf(channel, channel.tls?.sni, ends);
        this.#start(view, undefined);
      },
      onFailure: (error) => this.#onHandshakeFailed(error),
    });
  }

  #start(view: ConnectionView, first: Buffer | undefined): void {
    const channel = this.#channel;
    this.#view = view;
    const tlvs = this.#client?.tlvs;
    if (this.#ends !== undefined && tlvs !== undefined) view.ends = { ...this.#ends, tlvs };
    // The configuration may have changed while it shook hands.
    const home = this.#home();
    if (home === undefined) {
      this.#refuse("no filter chain takes this connection any more", "the listener has changed");
      return;
    }
    const { chain } = home;
    this.#moveTo(home);
    const denial = this.#deniedBy(chain, view);
    if (denial !== undefined) return this.#deny(chain, view, denial);
    const rest = first !== undefined && first.length > 0 ? first : undefined;
    chain.terminal.accept(this.#counted(chain, rest), view, rest, this);
    // The FIN was ours to see; whoever took over must hear of it too.
    if (this.#hasEnded && !channel.isClosed) channel.handler.onEnd();
  }

  #deny({ terminal }: CompiledChain, view: ConnectionView, { details, delayMs }: Denial): void {
    if (this.#log !== undefined) this.#log.terminationDetails = details;
    const channel = this.#channel;
    closeLater(channel, { delayMs, clock: this.#services.clock }, () => {
      if (terminal.deny === undefined) channel.destroy();
      else terminal.deny(channel, view, { details, onRecord: this.onRecord });
    });
  }

  /** Connections of HTTP have no record of their own, for their requests have. */
  #counted({ terminal }: CompiledChain, first: Buffer | undefined): Channel {
    if (this.#log === undefined || terminal.deny !== undefined) return this.#channel;
    const counted = new CountedChannel(this.#channel);
    if (first !== undefined) counted.received(first);
    this.#log.counted = counted;
    return (this.#channel = counted);
  }

  onNotHttp(words: Uint8Array): void {
    if (this.#listener.direction !== "outbound" || this.#decidedBy !== "declared") return;
    // Of a handshake, in any version (RFC 8446 section 5.1).
    const isTlsRecord = words[0] === 22 && words[1] === 3;
    this.#services.memory.note(this.#destination, isTlsRecord ? "tls" : "tcp");
  }

  refusal(): HomeRefusal | undefined {
    return this.#home() === undefined ? "gone" : undefined;
  }

  move(first: Buffer): HomeRefusal | undefined {
    const view = this.#view;
    const home = this.#home();
    if (home === undefined || view === undefined) return "gone";
    const { chain } = home;
    if (this.#deniedBy(chain, view) !== undefined) return "denied";
    this.#moveTo(home);
    chain.terminal.accept(this.#channel, view, first.length > 0 ? first : undefined, this);
    return undefined;
  }

  /** By the first network filter that refuses. */
  #deniedBy(chain: CompiledChain, view: ConnectionView): Denial | undefined {
    const { passed } = this.#services;
    // Nothing is left of what filters of another version have said.
    view.metadata = withMetadata(passed?.metadata, this.#client);
    view.state = passed?.state;
    for (const filter of chain.filters) {
      const denial = filter(view, this.#channel);
      if (denial !== undefined) return denial;
    }
    return undefined;
  }

  /** Nothing of an older configuration is kept for as long as the connection lives. */
  #moveTo({ listener, chain }: Home): void {
    this.#listener = listener;
    this.chain = chain;
    if (this.#view === undefined) return;
    this.#view.filterChain = chain.facts;
    this.#view.listenerMetadata = listener.metadata;
  }

  /**
   * What the connection would get if it came now. Its first bytes are gone, and so is its handshake:
   * neither can be judged anew by other rules.
   */
  #home(): Home | undefined {
    const listener = this.#services.current();
    if (listener === undefined || this.#facts === undefined) return undefined;
    if (!inspectsAlike(this.#listener, listener, this.#facts.destinationPort)) return undefined;
    const chain = chainFor(listener, this.#facts);
    if (chain === undefined || chain.transport !== this.chain?.transport) return undefined;
    return { listener, chain };
  }

  #onHandshakeFailed(error: ChannelError): void {
    if (this.#log !== undefined) this.#log.transportFailureReason = error.message;
    this.#services.refusals.warn("a TLS handshake with a client failed", {
      listener: this.#listener.name,
      chain: this.chain?.name,
      code: error.code,
      reason: error.message,
    });
  }

  #refuse(message: string, reason: string): void {
    const { remote } = this.#channel;
    this.#services.refusals.warn(message, {
      listener: this.#listener.name,
      peer: remote.address,
      destination: this.#destination.address,
      port: this.#destination.port,
      reason,
    });
    this.#channel.destroy();
  }
}
