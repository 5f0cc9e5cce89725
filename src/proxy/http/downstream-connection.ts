/**
 * One client's HTTP/1.1 connection: reads requests one after another, holds what arrives early
 * (pipelining) within a bound, and closes so that the last answer is not lost. What a request means
 * is the stream's business.
 */
import type { Channel, ChannelError, ChannelHandler } from "../../net/channel.ts";
import { BodyReader, bodyStep } from "../../wire/http1-body.ts";
import { Http1Head } from "../../wire/http1-head.ts";
import { feedHead } from "../../wire/http1-parser.ts";
import type { ConnectionHome } from "../connection-home.ts";
import type { ConnectionView } from "../engine/request.ts";
import { type AcceptedHttp, type ConnectionOwner, isHttp2Beginning } from "./accepted-http.ts";
import { Deadline, type DeadlineOwner } from "./deadline-wheel.ts";
import type { FailureKind } from "./failure.ts";
import { ClientSender } from "./client-sender.ts";
import type { Downstream, TunnelEnd } from "./downstream.ts";
import type { ClientEnd } from "./downstream-series.ts";
import { checkHead } from "./head-check.ts";
import { headTimeoutMs } from "./head-timeout.ts";
import type { HttpServices } from "./http-services.ts";
import { prepareHead } from "./http1-plan.ts";
import { HttpStream } from "./http-stream.ts";
import { isLastAnswer } from "./last-answer.ts";
import { tellIfNotHttp } from "./not-http.ts";

/** Bytes of later requests held while one is answered; the client is paused beyond it. */
const heldBytesMax = 64 * 1024;

/**
 * `waiting`: the request is complete, its answer is not. `closing`: what arrives is thrown away.
 * `moved`: somebody else serves the channel.
 */
type State = "head" | "body" | "waiting" | "closing" | "tunnel" | "moved";

export class DownstreamConnection implements Downstream, ChannelHandler, DeadlineOwner {
  readonly channel: Channel;
  readonly view: ConnectionView;
  readonly services: HttpServices;
  readonly sender: ClientSender;
  readonly protocol = "HTTP/1.1";
  readonly stream: HttpStream;
  /** A chunk is being read: what streams write upstream leaves at its end. */
  isReading = false;
  #state: State = "head";
  readonly #head: Http1Head = new Http1Head();
  readonly #body: BodyReader;
  /** Idle, headers, whole request, linger: never two at once. */
  readonly #deadline: Deadline = new Deadline(this);
  readonly #connectionDeadline: Deadline = new Deadline(this);
  readonly #owner: ConnectionOwner;
  readonly home: ConnectionHome;
  /** Why the next request is not served: its configuration is gone, and the one of now has no place. */
  #homeless: FailureKind | undefined;
  #held: Buffer | undefined;
  #requests = 0;
  #pauses = 0;
  #isHeldPaused = false;
  #isExpired = false;
  #hasPeerEnded = false;
  /** A request had not ended when the connection did. */
  #isBusy = false;
  #discardedBytes = 0;
  /** The wheel's time at which it began to wait for a request. */
  #idleSinceMs = 0;

  constructor(accepted: AcceptedHttp, services: HttpServices, owner: ConnectionOwner) {
    const { channel, view, home } = accepted;
    this.channel = channel;
    this.view = view;
    this.home = home;
    this.services = services;
    this.#owner = owner;
    const { http1, limits } = services.settings;
    this.#body = new BodyReader(limits);
    prepareHead(this.#head, http1);
    this.sender = new ClientSender(channel, services.downstreamWriter, http1.names.written);
    this.stream = new HttpStream(this, services);
    this.#head.reset("request");
    services.upstreams.wheel.touch();
    this.#armIdle();
    const { maxConnectionDurationMs } = services.settings;
    if (maxConnectionDurationMs > 0) {
      services.upstreams.wheel.arm(this.#connectionDeadline, maxConnectionDurationMs);
    }
  }

  /** When the first byte of the request in hand came, by the wheel's time. */
  headBeganMs = 0;

  /** Between requests, with nothing of the next one received. */
  get isIdle(): boolean {
    return this.#state === "head" && this.#head.length === 0 && !this.stream.isActive;
  }

  /** Whether the connection closes after the request in hand. */
  isLastRequest(): boolean {
    return (
      this.#isExpired ||
      !this.#head.isKeepAlive ||
      isLastAnswer(this.services, this.#requests) ||
      (this.services.isRetired && this.home.refusal() !== undefined)
    );
  }

  onData(chunk: Buffer): void {
    this.services.upstreams.wheel.touch();
    if (this.#state === "waiting") this.#hold(chunk);
    else if (this.#state === "closing") this.#discard(chunk.length);
    else this.#read(chunk);
  }

  /** Some of it, lest a reset overtakes the answer; who sends without end costs nothing more. */
  #discard(bytes: number): void {
    this.#discardedBytes += bytes;
    if (this.#discardedBytes > heldBytesMax) this.channel.pause();
  }

  #read(chunk: Buffer): void {
    if (this.services.isRetired && this.#state === "head" && this.#move(chunk)) return;
    let at = 0;
    this.isReading = true;
    while (at < chunk.length && this.#state !== "closing") {
      if (this.#state === "head") at = this.#readHead(chunk, at);
      else if (this.#state === "body") at = this.#readBody(chunk, at);
      else {
        this.#hold(at === 0 ? chunk : chunk.subarray(at));
        break;
      }
    }
    this.isReading = false;
    this.stream.flushRequest();
  }

  #readHead(chunk: Buffer, from: number): number {
    const head = this.#head;
    const { settings, upstreams } = this.services;
    const isFirst = head.length === 0;
    if (isFirst) this.headBeganMs = upstreams.wheel.nowMs;
    const taken = feedHead(head, chunk, from, settings.limits);
    if (head.isComplete || head.error !== undefined) {
      if (head.error === "version" && this.#becomeHttp2(chunk, from + taken)) return chunk.length;
      this.#begin();
    } else if (isFirst) {
      upstreams.wheel.arm(this.#deadline, headTimeoutMs(settings));
    }
    return from + taken;
  }

  /** A client that knows beforehand (RFC 9113 section 3.3). */
  #becomeHttp2(chunk: Buffer, at: number): boolean {
    if (this.#requests > 0 || !isHttp2Beginning(this.#head)) return false;
    const { bytes, length } = this.#head;
    const first = Buffer.concat([bytes.subarray(0, length), chunk.subarray(at)]);
    const { channel, view } = this;
    if (!this.#owner.takeHttp2({ channel, view, home: this.home }, first)) return false;
    this.#state = "moved";
    this.#leave();
    return true;
  }

  #begin(): void {
    const head = this.#head;
    const { settings, upstreams } = this.services;
    this.#countRequest();
    const failure = checkHead(head, settings, this.#homeless);
    if (failure !== undefined) {
      this.services.counters.limits.onRefusedHead(head);
      if (this.#requests === 1) tellIfNotHttp(this.home, head);
      // Where a refused request ends is not known, so nothing after it is read.
      head.bodyKind = "none";
      this.#state = "closing";
      this.#deadline.disarm();
      this.stream.begin(head, failure);
      return;
    }
    this.#body.start(head.bodyKind, head.bodyLength);
    const isWhole = head.bodyKind === "none";
    this.#state = isWhole ? "waiting" : "body";
    if (!isWhole && settings.requestTimeoutMs > 0) {
      upstreams.wheel.arm(this.#deadline, settings.requestTimeoutMs);
    } else {
      this.#deadline.disarm();
    }
    this.stream.begin(head, undefined);
  }

  #countRequest(): void {
    if (this.#requests++ === 0) this.services.counters.downstream.onProtocol("http1");
  }

  #readBody(chunk: Buffer, from: number): number {
    const { stream } = this;
    const step = this.#body.next(chunk, from);
    const { position } = this.#body;
    switch (step) {
      case bodyStep.content:
        stream.onBody(chunk, this.#body.dataStart, this.#body.dataEnd);
        if (this.#state === "body" && this.#body.kind === "length" && this.#body.isEnded) {
          this.#endBody();
        }
        return position;
      case bodyStep.end:
        this.#endBody();
        return position;
      case bodyStep.error:
        this.#state = "closing";
        stream.mustClose = true;
        stream.onBodyError();
        if (!stream.isActive) this.#close();
        return chunk.length;
      default:
        return chunk.length;
    }
  }

  #endBody(): void {
    this.#deadline.disarm();
    this.#state = "waiting";
    this.stream.onBodyEnd(this.#body.trailers);
  }

  /** Keeps bytes of the next request, copied: they belong to their reader. */
  #hold(chunk: Buffer): void {
    this.#held = this.#held === undefined ? Buffer.from(chunk) : Buffer.concat([this.#held, chunk]);
    if (this.#held.length <= heldBytesMax || this.#isHeldPaused) return;
    this.#isHeldPaused = true;
    this.pause();
  }

  /** Reads on, after an answer, what arrived before it was finished. */
  continueReading(): void {
    if (this.isReading || this.#state !== "head") return;
    const held = this.#held;
    if (held === undefined) return;
    this.#held = undefined;
    if (this.#isHeldPaused) {
      this.#isHeldPaused = false;
      this.resume();
    }
    this.#read(held);
  }

  /** Calls nest: as many `resume()` as `pause()`. */
  pause(): void {
    if (this.#pauses++ === 0) this.channel.pause();
  }

  resume(): void {
    if (this.#pauses > 0 && --this.#pauses === 0) this.channel.resume();
  }

  onStreamEnd(): void {
    if (this.#state === "tunnel") return;
    if (this.stream.mustClose || !this.stream.isRequestComplete || this.#state === "closing") {
      this.#close();
      return;
    }
    this.#state = "head";
    this.#head.reset("request");
    this.#armIdle();
  }

  #armIdle(): void {
    const { settings, upstreams } = this.services;
    this.#idleSinceMs = upstreams.wheel.nowMs;
    if (settings.idleTimeoutMs > 0) upstreams.wheel.arm(this.#deadline, settings.idleTimeoutMs);
  }

  /** Half-closes and waits: a reset could overtake the answer on its way. */
  #close(): void {
    this.#state = "closing";
    this.#held = undefined;
    this.channel.end();
    this.services.upstreams.wheel.arm(this.#deadline, this.services.settings.delayedCloseMs);
  }

  readonly mayTunnel = true;
  becomeTunnel(): TunnelEnd {
    const held = this.#held;
    this.#held = undefined;
    this.#state = "tunnel";
    this.#deadline.disarm();
    if (this.#isHeldPaused) {
      this.#isHeldPaused = false;
      this.resume();
    }
    return { channel: this.channel, early: held, hasEnded: false };
  }

  /**
   * To whoever serves this connection by the configuration of now, with what has come of the next
   * request; nothing has been decided for it yet. False when there is nobody: then it is refused.
   */
  #move(chunk: Buffer): boolean {
    const head = this.#head;
    const first = Buffer.concat([head.bytes.subarray(0, head.length), chunk]);
    const refusal = this.home.move(first);
    if (refusal !== undefined) {
      this.#homeless = refusal === "gone" ? "chain-gone" : "access-denied";
      return false;
    }
    this.#state = "moved";
    this.#leave();
    return true;
  }

  moveIdle(): void {
    if (this.isIdle) this.#move(Buffer.alloc(0));
  }

  /** Ends the connection if it is idle, and has been since then. */
  closeIdle(sinceMs: number): void {
    if (this.isIdle && this.#idleSinceMs <= sinceMs) this.#close();
  }

  breakOff(): void {
    this.channel.destroy();
  }

  /** The connection, as a tunnel, is closed. */
  onTunnelClosed(): void {
    this.#leave();
  }

  /** Nobody holds this connection from here on. */
  #leave(): void {
    this.services.upstreams.wheel.release(this.#deadline, this.#connectionDeadline);
    this.stream.release();
    this.#owner.onClosed(this);
  }

  /** Once it is over. */
  get end(): ClientEnd {
    const how = this.#state === "moved" ? "moved" : this.#hasPeerEnded ? "remote" : "local";
    return { how, protocol: this.#requests > 0 ? "http1" : undefined, isBusy: this.#isBusy };
  }

  onEnd(): void {
    this.services.upstreams.wheel.touch();
    this.#hasPeerEnded = true;
    if (this.#state === "closing") return this.channel.destroy();
    this.#isBusy = this.stream.isActive;
    // As Envoy does: a client that has closed its side is gone, also for its answer.
    this.stream.onDownstreamClose();
    this.#state = "closing";
    this.channel.end();
  }

  onDrain(): void {
    this.sender.onDrain();
    this.stream.onDownstreamDrain();
  }

  onClose(error: ChannelError | undefined): void {
    this.services.upstreams.wheel.touch();
    if (error !== undefined) this.#hasPeerEnded = true;
    this.#isBusy ||= this.stream.isActive;
    this.#state = "closing";
    this.stream.onDownstreamClose();
    this.#leave();
  }

  onDeadline(deadline: Deadline): void {
    const { limits } = this.services.counters;
    if (deadline === this.#connectionDeadline) {
      this.#isExpired = true;
      limits.oldConnections.add();
      if (this.isIdle) this.#close();
      return;
    }
    switch (this.#state) {
      case "closing":
        this.services.counters.downstream.count("downstream_cx_delayed_close_timeout");
        return this.channel.destroy();
      case "head":
        if (this.#head.length === 0) {
          limits.idleConnections.add();
          return this.#close();
        }
        limits.slowHeads.add();
        this.#state = "closing";
        this.#head.bodyKind = "none";
        this.#countRequest();
        this.stream.begin(this.#head, "headers-timeout");
        return;
      case "body":
        this.#state = "closing";
        this.stream.onRequestTimeout();
        return;
      case "waiting":
      case "tunnel":
      case "moved":
        return;
    }
  }
}
