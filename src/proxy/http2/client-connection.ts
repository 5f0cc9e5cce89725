/**
 * One HTTP/2 connection to an endpoint: joins its bytes to a session and the session's streams to the
 * attempts that use them, and keeps the connection's deadlines: idle, age, PING. It takes no new
 * streams once its server, its age or its number of requests says so, and closes with its last one.
 */
import type { Channel, ChannelError, ChannelHandler } from "../../net/channel.ts";
import { moment } from "../../telemetry/request-times.ts";
import type { Flood } from "../../wire/http2-floods.ts";
import type { Violation } from "../../wire/http2-frames.ts";
import type { FrameMemory } from "../../wire/http2-frame-memory.ts";
import { type ClientHandler, Http2Session } from "../../wire/http2-session.ts";
import type { Http2Stream } from "../../wire/http2-stream.ts";
import type { UpstreamCluster, UpstreamConnectionEnd, UpstreamHttp2 } from "../context.ts";
import type { AnswerHeads, HeadShare } from "../http/answer-heads.ts";
import { endOf } from "../http/connection-ends.ts";
import { Deadline, type DeadlineOwner, type DeadlineWheel } from "../http/deadline-wheel.ts";
import type { StreamRecord } from "../http/stream-record.ts";
import type { PoolFailure, UpstreamUser } from "../http/upstream-exchange.ts";
import { newConnectionId } from "../stats/connection-record.ts";
import { ClientStream } from "./client-stream.ts";

/** Stream objects kept for later requests; more than so many at once are made anew. */
const keptStreamsMax = 100;
/** The identifiers of streams end; a connection that comes near is left for another. */
const lastStreamIdMax = 2 ** 30;
const pingPayload = Buffer.from("keepaliv");

/** Whoever keeps connections to an endpoint. */
export interface ConnectionKeeper {
  readonly wheel: DeadlineWheel;
  readonly frames: FrameMemory;
  readonly heads: AnswerHeads;
  /** It stands, or takes more streams than before. */
  onCapacity(connection: ClientConnection): void;
  /** Its server has said that it takes no more streams than there are. */
  onFull(connection: ClientConnection): void;
  /** A request has a stream there, or has it no more. */
  onStream(change: 1 | -1): void;
  /** It takes no streams any more. */
  onDraining(connection: ClientConnection): void;
  /** One has not said in time what its server allows. */
  onUntold(failure: PoolFailure, error?: ChannelError): void;
  onClosed(connection: ClientConnection, error: ChannelError | undefined): void;
}

export class ClientConnection implements ChannelHandler, ClientHandler, DeadlineOwner {
  readonly cluster: UpstreamCluster;
  /** It holds one of the cluster's connections (limits). */
  readonly isCounted: boolean;
  readonly session: Http2Session;
  readonly id: number = newConnectionId();
  channel: Channel | undefined = undefined;
  isConnected = false;
  /** When it was begun, connected and, with TLS, secured; by the wheel's time. */
  dialledMs: number = Number.NaN;
  tcpConnectedMs: number = Number.NaN;
  securedMs: number = Number.NaN;
  /** Requests it has carried. */
  requests = 0;
  /** The stream whose part of the chunk is being read. */
  #reading: ClientStream | undefined;
  readonly #keeper: ConnectionKeeper;
  readonly #http2: UpstreamHttp2;
  readonly #idleDeadline: Deadline = new Deadline(this);
  readonly #ageDeadline: Deadline = new Deadline(this);
  readonly #pingDeadline: Deadline = new Deadline(this);
  #settingsDeadline: Deadline | undefined;
  readonly #free: ClientStream[] = [];
  /** Those of requests, in no order: what comes and goes costs nothing here, as it would in a map. */
  readonly #streams: ClientStream[] = [];
  #isReceiving = false;
  #isPingSent = false;
  #isDraining = false;
  #isFaulty = false;
  #hasPeerEnded = false;
  #isClosed = false;

  constructor(
    keeper: ConnectionKeeper,
    cluster: UpstreamCluster,
    ...[http2, isCounted]: [http2: UpstreamHttp2, isCounted: boolean]
  ) {
    this.#keeper = keeper;
    this.cluster = cluster;
    this.#http2 = http2;
    this.isCounted = isCounted;
    const send = (memory: Buffer, length: number): boolean =>
      this.channel?.writeShared(memory, length) !== false;
    const memory = keeper.frames;
    this.session = new Http2Session(http2.settings, {
      side: "client",
      memory,
      send,
      handler: this,
    });
  }

  get nowMs(): number {
    return this.#keeper.wheel.nowMs;
  }

  get wheel(): DeadlineWheel {
    return this.#keeper.wheel;
  }

  /** For one of its streams; undefined where heads are small. */
  openHeads(): HeadShare | undefined {
    return this.#keeper.heads.shareFor(this.#http2.settings.limits);
  }

  /** Streams that can be begun now. */
  get capacity(): number {
    if (!this.isConnected || this.#isDraining || this.#isClosed) return 0;
    // What closes is told at the end of the turn; until then it must be given nothing.
    if (this.session.isEnded || this.channel?.isClosed !== false) return 0;
    const { streams } = this.session;
    const max = Math.min(this.#http2.settings.maxConcurrentStreams, streams.peer.maxStreams);
    return max - streams.open.size;
  }

  /** Its server has said how it is set. */
  get isTold(): boolean {
    return this.session.streams.peer.isTold;
  }

  /** And that streams may become other protocols (RFC 8441). */
  get allowsConnect(): boolean {
    return this.session.streams.peer.allowsConnect;
  }

  get isIdle(): boolean {
    return this.#streams.length === 0;
  }

  /** It stands. */
  start(channel: Channel): void {
    const { wheel } = this.#keeper;
    this.channel = channel;
    this.isConnected = true;
    if (channel.tls !== undefined) this.securedMs = wheel.nowMs;
    const { counters } = this.cluster;
    channel.meter = counters.meter;
    counters.onConnected(wheel.nowMs - this.dialledMs);
    this.#http2.counters.connections.add();
    this.session.start();
    this.session.sender.flushSoon();
    const { pingMs } = this.#http2.settings;
    if (pingMs > 0) wheel.arm(this.#pingDeadline, pingMs);
    const { maxConnectionDurationMs = 0 } = this.cluster;
    if (maxConnectionDurationMs > 0) wheel.arm(this.#ageDeadline, maxConnectionDurationMs);
    this.#watch();
    this.#keeper.onCapacity(this);
  }

  /** Somebody waits to be told what the server allows: not for ever. */
  expectSettings(): void {
    this.#settingsDeadline ??= new Deadline(this);
    // Who comes after it has passed waits as long.
    if (this.#settingsDeadline.isArmed) return;
    this.#keeper.wheel.arm(this.#settingsDeadline, this.cluster.connectTimeoutMs);
  }

  /** Begins a stream; the caller has looked at `capacity` and counts the request. */
  attach(user: UpstreamUser): void {
    const stream = this.#free.pop() ?? new ClientStream(this);
    stream.place = this.#streams.length;
    this.#streams.push(stream);
    this.#keeper.onStream(1);
    this.#idleDeadline.disarm();
    const isReused = this.requests > 0;
    this.requests++;
    const { maxRequestsPerConnection: max } = this.cluster;
    const isLast = max > 0 && this.requests >= max;
    if (isLast || this.session.streams.lastId >= lastStreamIdMax) this.drain();
    stream.attach(user, isReused);
  }

  /** What the record of a request says of the connection that carries it. */
  describe(record: StreamRecord): void {
    const { times } = record;
    const { channel } = this;
    record.upstreamConnectionId = this.id;
    record.upstreamProtocol = "HTTP/2";
    if (channel !== undefined) {
      record.upstreamLocalAddress = channel.local;
      record.upstreamRemoteAddress = channel.remote;
      record.upstreamTls = channel.tls;
      if (channel.tls !== undefined) {
        record.upstreamPeerUriSans = channel.tls.peerUriSans;
        record.upstreamLocalUriSans = channel.tls.localUriSans;
      }
    }
    times.set(moment.connectBegin, this.dialledMs);
    times.set(moment.connectEnd, this.tcpConnectedMs);
    times.set(moment.handshakeEnd, this.securedMs);
  }

  /** The chunk's next part is this stream's: what came for another leaves before. */
  enter(stream: ClientStream | undefined): void {
    const before = this.#reading;
    if (before === stream) return;
    this.#reading = stream;
    before?.flushAnswer();
  }

  /** Sends what was gathered, together with what else is gathered soon; false when the peer is slow. */
  flushSoon(): boolean {
    const { sender } = this.session;
    return this.#isReceiving ? sender.hasRoom : sender.flushSoon();
  }

  breakOff(stream: Http2Stream, code: number): void {
    this.#http2.counters.resetsSent.add();
    this.cluster.counters.count("upstream_rq_tx_reset");
    this.session.streams.breakOff(stream, code);
    this.flushSoon();
  }

  /** The stream is over; its user has not been told. */
  leave(stream: ClientStream): boolean {
    const { place } = stream;
    if (place < 0) return false;
    stream.place = -1;
    const last = this.#streams.pop();
    if (last !== undefined && last !== stream) {
      last.place = place;
      this.#streams[place] = last;
    }
    this.cluster.limits.releaseRequest();
    this.#keeper.onStream(-1);
    return true;
  }

  /** The stream is nobody's. */
  onStreamOver(stream: ClientStream): void {
    if (this.#isClosed) return;
    this.#watch();
    if (this.capacity > 0) this.#keeper.onCapacity(this);
    // Not before: who had it may be about to write down what its answer said.
    if (this.#free.length < keptStreamsMax && !stream.isLarge) this.#free.push(stream);
  }

  #watch(): void {
    if (this.#streams.length > 0 || this.#isClosed) return;
    if (this.#isDraining) return this.close();
    // Each request would leave behind a connection that nobody can use.
    if (this.#takesNone) return this.drain();
    const { idleTimeoutMs } = this.cluster;
    if (idleTimeoutMs > 0) this.#keeper.wheel.arm(this.#idleDeadline, idleTimeoutMs);
  }

  /** No stream is begun on it any more. */
  drain(): void {
    if (this.#isDraining) return;
    this.#isDraining = true;
    this.#keeper.onDraining(this);
    if (this.isConnected && !this.#isReceiving) this.#watch();
  }

  close(): void {
    this.session.sender.flush();
    this.channel?.destroy();
  }

  onData(chunk: Buffer): void {
    const { wheel } = this.#keeper;
    wheel.touch();
    if (this.session.isEnded) return;
    this.#isReceiving = true;
    this.session.receive(chunk, wheel.nowMs);
    this.enter(undefined);
    this.#isReceiving = false;
    this.session.sender.flushSoon();
    if (this.#isDraining) this.#watch();
  }

  onMalformed(): boolean {
    return this.#http2.settings.resetsMalformed;
  }

  onStreamError(why: Violation): void {
    this.#http2.counters.onError(why);
    this.#http2.counters.resetsSent.add();
    this.cluster.counters.count("upstream_rq_tx_reset");
  }

  onStreamReset(): void {
    this.#http2.counters.resetsReceived.add();
    this.cluster.counters.count("upstream_rq_rx_reset");
  }

  onError(_code: number, why: Violation | Flood): void {
    this.#http2.counters.onError(why);
    this.#isFaulty = true;
    this.close();
  }

  onPeerSettings(): void {
    this.#settingsDeadline?.disarm();
    if (this.capacity > 0) this.#keeper.onCapacity(this);
    else this.#keeper.onFull(this);
    if (this.#takesNone) this.#watch();
  }

  /** As its server says, for now. */
  get #takesNone(): boolean {
    return this.session.streams.peer.maxStreams === 0;
  }

  onGoAway(): void {
    this.drain();
  }

  onPingAck(): void {
    this.#isPingSent = false;
    const { pingMs } = this.#http2.settings;
    if (pingMs > 0) this.#keeper.wheel.arm(this.#pingDeadline, pingMs);
  }

  /** An endpoint that has closed its side says nothing any more. */
  onEnd(): void {
    this.#keeper.wheel.touch();
    this.#hasPeerEnded = true;
    this.channel?.destroy();
  }

  onDrain(): void {
    this.#keeper.wheel.touch();
    this.session.streams.onDrain();
    this.session.sender.flush();
  }

  onClose(error: ChannelError | undefined): void {
    const { wheel } = this.#keeper;
    wheel.touch();
    this.#isClosed = true;
    this.session.isEnded = true;
    this.session.sender.close();
    wheel.release(this.#idleDeadline, this.#ageDeadline, this.#pingDeadline);
    if (this.#settingsDeadline !== undefined) wheel.release(this.#settingsDeadline);
    this.#keeper.onClosed(this, error);
    for (const stream of this.#streams.slice()) {
      // One may have gone with another that went before it.
      if (stream.place >= 0) stream.onConnectionClose(this.#isFaulty, error);
    }
    this.#free.length = 0;
  }

  /** What its cluster counts of it. */
  endedAfter(nowMs: number, error: ChannelError | undefined): UpstreamConnectionEnd {
    const isBusy = this.#streams.length > 0;
    const lengthMs = nowMs - this.dialledMs;
    return endOf({ lengthMs, hasPeerEnded: this.#hasPeerEnded, error, isBusy });
  }

  onDeadline(deadline: Deadline): void {
    if (deadline === this.#pingDeadline) return this.#onPingDeadline();
    if (deadline === this.#ageDeadline) return this.drain();
    if (deadline === this.#settingsDeadline) return this.#keeper.onUntold("connect-timeout");
    if (this.#streams.length === 0) this.close();
  }

  #onPingDeadline(): void {
    const { pingMs, pingTimeoutMs } = this.#http2.settings;
    if (this.#isPingSent) {
      this.#http2.counters.keepaliveTimeouts.add();
      this.channel?.destroy();
      return;
    }
    this.#isPingSent = true;
    this.session.sender.ping(pingPayload, 0, false);
    this.session.sender.flushSoon();
    this.#keeper.wheel.arm(this.#pingDeadline, pingTimeoutMs > 0 ? pingTimeoutMs : pingMs);
  }
}
