/**
 * One stream of a client's HTTP/2 connection, joined to what serves requests. Used again for later
 * streams of its connection, once the client has the whole answer and the request's record is written.
 */
import { type HeadError, Http1Head } from "../../wire/http1-head.ts";
import { errorCode, type Violation } from "../../wire/http2-frames.ts";
import { Http2Stream, type StreamOwner } from "../../wire/http2-stream.ts";
import type { Channel, ChannelError } from "../../net/channel.ts";
import { assert } from "../../base/assert.ts";
import type { ConnectionHome } from "../connection-home.ts";
import type { ConnectionView } from "../engine/request.ts";
import { Deadline, type DeadlineOwner } from "../http/deadline-wheel.ts";
import type { Downstream, TunnelEnd } from "../http/downstream.ts";
import type { FailureKind } from "../http/failure.ts";
import { malformedReason, remoteReset, unread } from "../http/downstream-reason.ts";
import { HttpStream } from "../http/http-stream.ts";
import { hasUnderscores } from "../http/underscores.ts";
import type { ServerConnection } from "./server-connection.ts";
import { StreamChannel } from "./stream-channel.ts";
import { StreamSender } from "./stream-sender.ts";

/** For a client to read what was queued, where the configuration names no idle time. */
const flushTimeoutDefaultMs = 300_000;

export class ServerStream implements StreamOwner, Downstream, DeadlineOwner {
  readonly protocol = "HTTP/2";
  readonly channel: Channel;
  readonly view: ConnectionView;
  readonly sender: StreamSender;
  readonly head: Http1Head = new Http1Head();
  readonly wire: Http2Stream = new Http2Stream(this);
  readonly stream: HttpStream;
  headBeganMs = 0;
  /** Where the connection keeps it among those that serve a request; -1 for nowhere. */
  place = -1;
  readonly #connection: ServerConnection;
  #wire: Http2Stream | undefined;
  #trailers: Http1Head | undefined;
  /** The stream carries another protocol than HTTP. */
  #tunnel: StreamChannel | undefined;
  /** What came before it did: no more than the stream's window. */
  #early: Buffer = noBytes;
  #earlyBytes = 0;
  #hasEarlyEnd = false;
  #awaitsTunnel = false;
  #pauses = 0;
  /** While the request arrives: that it does. After the answer: that it is read. */
  readonly #deadline: Deadline = new Deadline(this);

  constructor(connection: ServerConnection) {
    this.#connection = connection;
    this.channel = connection.channel;
    this.view = connection.view;
    this.sender = new StreamSender(connection.session.sender, () => this.#onOverflow());
    this.stream = new HttpStream(this, connection.services);
  }

  get trailers(): Http1Head {
    this.#trailers ??= new Http1Head();
    return this.#trailers;
  }

  get home(): ConnectionHome {
    return this.#connection.home;
  }

  get isReading(): boolean {
    return this.#connection.reading === this;
  }

  onOpened(wire: Http2Stream): void {
    this.#wire = wire;
    this.#pauses = 0;
    this.#tunnel = undefined;
    this.#awaitsTunnel = false;
    this.sender.attach(wire);
  }

  onHead(isEnd: boolean): void {
    const { services, headBeganMs } = this.#connection;
    const { settings, upstreams } = services;
    this.headBeganMs = headBeganMs;
    this.#connection.enter(this);
    // What follows a request for a tunnel is none of it.
    this.#awaitsTunnel = !isEnd && this.head.bodyKind === "none";
    this.#hasEarlyEnd = this.head.bodyKind === "none" && isEnd;
    if (this.#awaitsTunnel) wireOf(this.#wire).isPaused = true;
    else if (!isEnd && settings.requestTimeoutMs > 0) {
      upstreams.wheel.arm(this.#deadline, settings.requestTimeoutMs);
    }
    this.stream.begin(this.head, this.#checkHead());
  }

  #checkHead(): FailureKind | undefined {
    const { settings } = this.#connection.services;
    const { head } = this;
    const isRefused =
      settings.underscores !== "allow" && hasUnderscores(head, settings.underscores);
    return isRefused ? "underscore" : undefined;
  }

  onData(chunk: Buffer, from: number, to: number): void {
    if (this.#tunnel !== undefined) return this.#tunnel.handler.onData(chunk.subarray(from, to));
    if (this.#awaitsTunnel) return this.#keepEarly(chunk, from, to);
    this.#connection.enter(this);
    this.stream.onBody(chunk, from, to);
  }

  onEnd(trailers: Http1Head | undefined): void {
    if (this.#tunnel !== undefined) return this.#tunnel.handler.onEnd();
    if (this.#awaitsTunnel) {
      this.#hasEarlyEnd = true;
      return;
    }
    // When the answer lies ready, the deadline is that of its client to read it.
    if (!this.stream.isActive) return;
    this.#deadline.disarm();
    this.#connection.enter(this);
    this.stream.onBodyEnd(trailers);
  }

  onRoom(): void {
    if (this.#tunnel !== undefined) return this.#tunnel.handler.onDrain();
    this.stream.onDownstreamDrain();
    if (this.#deadline.isArmed && !this.stream.isActive) this.#armFlush();
  }

  onMalformed(error: HeadError): void {
    this.#connection.enter(undefined);
    const reason = malformedReason(error);
    if (this.stream.isActive) return this.stream.onDownstreamClose(reason);
    // Nothing of it can be trusted: its record shows a request without a head.
    this.head.reset("request");
    this.headBeganMs = this.#connection.services.upstreams.wheel.nowMs;
    this.stream.begin(this.head, reason);
  }

  onReset(_code?: number, why?: Violation): void {
    if (why === undefined) this.#connection.counters.resetsReceived.add();
    const tunnel = this.#detach();
    this.#connection.enter(undefined);
    if (tunnel === undefined) this.stream.onDownstreamClose(remoteReset);
    else tunnel.close(resetByClient);
    this.#recycle();
  }

  onClosed(): void {
    this.#detach()?.close(undefined);
    this.#recycle();
  }

  /** The connection is gone. */
  onConnectionClose(): void {
    const tunnel = this.#detach();
    if (tunnel === undefined) this.stream.onDownstreamClose();
    else tunnel.close(undefined);
    this.#connection.services.upstreams.wheel.release(this.#deadline);
    this.stream.release();
  }

  /** Returns the tunnel that went through the stream. */
  #detach(): StreamChannel | undefined {
    const tunnel = this.#tunnel;
    this.#wire = undefined;
    this.#tunnel = undefined;
    this.#awaitsTunnel = false;
    this.#early = noBytes;
    this.#earlyBytes = 0;
    this.sender.attach(undefined);
    this.#deadline.disarm();
    return tunnel;
  }

  #recycle(): void {
    if (this.#wire === undefined && !this.stream.isActive) this.#connection.onStreamOver(this);
  }

  isLastRequest(): boolean {
    // The connection says farewell by itself; this answer need not.
    this.#connection.onAnswer();
    return false;
  }

  pause(): void {
    if (this.#pauses++ === 0 && this.#wire !== undefined) this.#wire.isPaused = true;
  }

  resume(): void {
    if (this.#pauses === 0 || --this.#pauses > 0 || this.#wire === undefined) return;
    if (this.#awaitsTunnel) return;
    this.#connection.session.streams.window.release(this.#wire);
    this.#connection.flushSoon();
  }

  continueReading(): void {
    // Other streams never waited for this one.
  }

  onStreamEnd(): void {
    if (this.#wire === undefined) return this.#recycle();
    this.#armFlush();
  }

  /** The answer lies ready: its client has so long to read the next part of it. */
  #armFlush(): void {
    const { settings, upstreams } = this.#connection.services;
    const idleMs = settings.streamIdleTimeoutMs;
    upstreams.wheel.arm(this.#deadline, idleMs > 0 ? idleMs : flushTimeoutDefaultMs);
  }

  breakOff(): void {
    this.#breakOff(errorCode.internal);
  }

  #breakOff(code: number): void {
    const wire = this.#wire;
    if (wire === undefined) return;
    const tunnel = this.#detach();
    this.#connection.breakOff(wire, code);
    tunnel?.close(undefined);
    this.#recycle();
  }

  /** Too much waits on the connection for its client: this answer is none it will read. */
  #onOverflow(): void {
    this.#connection.counters.contentOverflows.add();
    this.#connection.session.streams.countReset();
    this.#breakOff(errorCode.enhanceYourCalm);
    this.stream.onDownstreamClose(unread);
  }

  onDeadline(): void {
    if (this.stream.isActive) return this.stream.onRequestTimeout();
    this.#connection.counters.flushTimeouts.add();
    this.#breakOff(errorCode.cancel);
  }

  /** In one piece, or a client could have us keep an object for each byte. */
  #keepEarly(chunk: Buffer, from: number, to: number): void {
    const before = this.#earlyBytes;
    this.#earlyBytes += to - from;
    if (this.#earlyBytes > this.#early.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(this.#earlyBytes * 2, earlyBytesMin));
      this.#early.copy(larger, 0, 0, before);
      this.#early = larger;
    }
    chunk.copy(this.#early, before, from, to);
  }

  get mayTunnel(): boolean {
    return this.#connection.allowsConnect;
  }

  becomeTunnel(): TunnelEnd {
    const wire = wireOf(this.#wire);
    const channel = new StreamChannel(this.#connection, wire);
    const early = this.#early.subarray(0, this.#earlyBytes);
    const hasEnded = this.#hasEarlyEnd;
    this.#tunnel = channel;
    this.#early = noBytes;
    this.#earlyBytes = 0;
    this.#awaitsTunnel = false;
    this.#deadline.disarm();
    if (this.#pauses === 0) channel.resume();
    return { channel, early, hasEnded };
  }

  onTunnelClosed(): void {
    // The stream has told its connection already that it is over.
  }
}

const noBytes = Buffer.alloc(0);
const earlyBytesMin = 1024;

const resetByClient: ChannelError = {
  code: "ECONNRESET",
  message: "the client broke off the stream",
};

function wireOf(wire: Http2Stream | undefined): Http2Stream {
  assert(wire !== undefined, "a request without its stream");
  return wire;
}
