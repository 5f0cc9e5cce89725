/**
 * One HTTP/1.1 connection to an endpoint: at most one request at a time. It reads answers and tells
 * its user; when an answer ended cleanly it returns to its pool. Whatever leaves a doubt about where
 * the next answer starts (bytes nobody asked for, an answer before the request was sent) closes it.
 */
import type { Channel, ChannelError, ChannelHandler } from "../../net/channel.ts";
import { moment } from "../../telemetry/request-times.ts";
import { BodyReader, bodyStep } from "../../wire/http1-body.ts";
import { frameResponse } from "../../wire/http1-framing.ts";
import {
  type BodyKind,
  defaultHeadLimits,
  type HeadLimits,
  Http1Head,
} from "../../wire/http1-head.ts";
import { feedHead } from "../../wire/http1-parser.ts";
import type { Http1Writer } from "../../wire/http1-writer.ts";
import type { UpstreamCluster, UpstreamConnectionEnd } from "../context.ts";
import { newConnectionId } from "../stats/connection-record.ts";
import type { HeadShare } from "./answer-heads.ts";
import { isPassed } from "./back-pressure.ts";
import { endOf } from "./connection-ends.ts";
import { leaveRequest } from "./request-limits.ts";
import { prepareHead } from "./http1-plan.ts";
import { keepFramed } from "./kept-framing.ts";
import { Deadline, type DeadlineOwner } from "./deadline-wheel.ts";
import {
  type AttemptFields,
  type OutgoingRequest,
  type UpstreamTarget,
  writeRequestHead,
} from "./request-head-writer.ts";
import type { StreamRecord } from "./stream-record.ts";
import type { UpstreamExchange, UpstreamUser } from "./upstream-exchange.ts";
import type { EndpointPool } from "./upstream-pool.ts";

/** Interim answers (1xx) tolerated before one request's final answer. */
const interimMax = 16;

/** Requests are gathered here, those of one connection at a time. */
export interface RequestMemory {
  readonly writer: Http1Writer;
  owner: UpstreamConnection | undefined;
}

export class UpstreamConnection implements UpstreamExchange, ChannelHandler, DeadlineOwner {
  readonly pool: EndpointPool;
  readonly cluster: UpstreamCluster;
  /** It holds one of the cluster's connections (limits). */
  readonly isCounted: boolean;
  readonly head: Http1Head = new Http1Head();
  readonly body: BodyReader;
  readonly idleDeadline: Deadline = new Deadline(this);
  readonly id: number = newConnectionId();
  readonly #memory: RequestMemory;
  readonly #answerLimits: HeadLimits;
  readonly #heads: HeadShare | undefined;
  channel: Channel | undefined = undefined;
  user: UpstreamUser | undefined = undefined;
  isConnected = false;
  isClosed = false;
  isOverlong = false;
  /** A request is on it whose answer is not whole. */
  #isBusy = false;
  #hasPeerEnded = false;
  /** Requests it has carried, this one included. */
  requests = 0;
  /** Its pool's, when it was begun. */
  generation = 0;
  /** When it was begun, connected and, with TLS, secured; when it stood; by the wheel's time. */
  dialledMs: number = Number.NaN;
  tcpConnectedMs: number = Number.NaN;
  securedMs: number = Number.NaN;
  connectedMs = 0;
  /** When the first byte of the answer came. */
  answeredMs = 0;
  /** From here on the endpoint may close it: no request is begun on it any more. */
  usableUntilMs: number = Number.POSITIVE_INFINITY;
  /** The whole request has been written. */
  isRequestSent = false;
  #isHeadRead = false;
  #isChunked = false;
  /** The request is CONNECT: after a good answer nothing is HTTP any more. */
  #isConnect = false;
  #interims = 0;

  constructor(pool: EndpointPool, cluster: UpstreamCluster, isCounted: boolean) {
    this.isCounted = isCounted;
    this.pool = pool;
    this.#memory = pool.memory;
    this.cluster = cluster;
    this.#answerLimits = cluster.headLimits ?? defaultHeadLimits;
    this.#heads = pool.heads.shareFor(this.#answerLimits);
    this.body = new BodyReader(this.#answerLimits);
    if (cluster.http1 !== undefined) prepareHead(this.head, cluster.http1);
  }

  get isReused(): boolean {
    return this.requests > 1;
  }

  get carrier(): Channel | undefined {
    return this.channel;
  }

  get queuedBytes(): number {
    return this.channel?.queuedBytes ?? 0;
  }

  get answerTrailers(): Http1Head | undefined {
    return this.body.trailers;
  }

  get hasAnswered(): boolean {
    return this.#isHeadRead || this.head.length > 0;
  }

  attach(user: UpstreamUser): void {
    this.user = user;
    this.pool.endpoint.stats?.onRequest(1);
    this.#isBusy = true;
    this.requests++;
    this.isRequestSent = false;
    this.#isHeadRead = false;
    this.#interims = 0;
    this.head.reset("response");
    const { maxStreamDurationMs = 0 } = this.cluster;
    const isLimited = maxStreamDurationMs > 0 && user.isTunnel !== true;
    if (isLimited) this.pool.wheel.arm(this.idleDeadline, maxStreamDurationMs);
    else this.idleDeadline.disarm();
    user.onAttached(this);
  }

  describe(record: StreamRecord): void {
    const { times } = record;
    const { channel } = this;
    record.upstreamConnectionId = this.id;
    record.upstreamProtocol = "HTTP/1.1";
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

  #claim(): Http1Writer {
    const memory = this.#memory;
    if (memory.owner !== this) {
      memory.owner?.flush();
      memory.owner = this;
    }
    return memory.writer;
  }

  sendHead(
    request: OutgoingRequest,
    target: Readonly<UpstreamTarget>,
    attempt: AttemptFields,
    bodyKind: BodyKind,
  ): void {
    this.#isChunked = keepFramed(request.headers, bodyKind);
    this.#isConnect = request.method === "CONNECT";
    const { http1 } = this.cluster;
    const spelled = http1 === undefined ? attempt : { ...attempt, otherNames: http1.names.written };
    writeRequestHead(this.#claim(), request, target, spelled);
  }

  sendBody(chunk: Buffer, from: number, to: number): boolean {
    if (this.#isChunked) this.#claim().chunk(chunk, from, to);
    else if (isPassed(from, to)) {
      this.flush();
      return this.channel?.writeShared(chunk, to) !== false;
    } else this.#claim().bytes(chunk, from, to);
    return true;
  }

  sendEnd(trailers: Http1Head | undefined): void {
    if (this.#isChunked) this.#claim().lastChunk(trailers);
    this.isRequestSent = true;
  }

  flush(): boolean {
    if (this.#memory.owner !== this) return true;
    const { writer } = this.#memory;
    const { memory, length } = writer;
    if (length === 0) return true;
    writer.discard();
    return this.channel?.writeShared(memory, length) !== false;
  }

  /** What was gathered is for nobody. */
  #discard(): void {
    if (this.#memory.owner === this) this.#memory.writer.discard();
  }

  pause(): void {
    this.channel?.pause();
  }

  resume(): void {
    if (this.channel?.isClosed === false) this.channel.resume();
  }

  handTo(user: UpstreamUser): void {
    this.user = user;
  }

  /** Nobody can tell what this connection will say next. */
  abandon(): void {
    if (this.user === undefined) return;
    this.#discard();
    this.user = undefined;
    leaveRequest(this.cluster, this.pool.endpoint);
    this.channel?.destroy();
  }

  /**
   * Hands the open connection to a tunnel. It counts against the cluster's limits until
   * `onTunnelClosed()`.
   */
  surrender(): Channel | undefined {
    this.user = undefined;
    return this.channel;
  }

  /** The tunnel's end towards the endpoint is closed. */
  onTunnelClosed(error: ChannelError | undefined, hasPeerEnded: boolean): void {
    leaveRequest(this.cluster, this.pool.endpoint);
    this.#heads?.release();
    this.isClosed = true;
    this.#hasPeerEnded ||= hasPeerEnded;
    this.#isBusy = false;
    this.pool.wheel.release(this.idleDeadline);
    this.pool.wheel.touch();
    this.pool.onConnectionClosed(this, error);
  }

  onData(chunk: Buffer): void {
    this.pool.wheel.touch();
    const { user } = this;
    if (user === undefined) {
      this.channel?.destroy();
      return;
    }
    this.#read(user, chunk);
  }

  #read(user: UpstreamUser, chunk: Buffer): void {
    let at = 0;
    if (!this.hasAnswered) this.answeredMs = this.pool.wheel.nowMs;
    while (!this.#isHeadRead) {
      at += feedHead(this.head, chunk, at, this.#answerLimits);
      if (this.head.error !== undefined || !this.#mayHold()) return this.#fail(user);
      if (!this.head.isComplete) return;
      if (!this.#takeHead(user, chunk, at)) return;
    }
    for (;;) {
      const step = this.body.next(chunk, at);
      at = this.body.position;
      if (step === bodyStep.content) {
        user.onResponseData(chunk, this.body.dataStart, this.body.dataEnd);
        if (this.user !== user) return;
        continue;
      }
      if (step === bodyStep.error) return this.#fail(user);
      if (step === bodyStep.end) return this.#finish(user, at < chunk.length);
      if (!this.#mayHold()) return this.#fail(user);
      user.onResponseFlush();
      return;
    }
  }

  /** The answer's head and trailers, as far as they are here. */
  #mayHold(): boolean {
    const heads = this.#heads;
    if (heads === undefined) return true;
    return heads.hold(this.head.memoryBytes + this.body.trailerMemoryBytes);
  }

  /** Nobody reads the last answer any more. */
  #forgetHeads(): void {
    if (this.#heads === undefined) return;
    this.#heads.release();
    this.head.trim();
    this.body.trim();
  }

  /** A complete head; false when the connection is no longer this user's. */
  #takeHead(user: UpstreamUser, chunk: Buffer, at: number): boolean {
    const { head } = this;
    const error = frameResponse(head, user.isHeadRequest);
    if (error !== undefined) {
      this.#fail(user);
      return false;
    }
    const isTunnel = this.#isConnect && head.status >= 200 && head.status < 300;
    if (head.status === 101 || isTunnel) {
      if (user.isUpgradeRequest || isTunnel) user.onUpgraded(this, chunk.subarray(at));
      else this.#fail(user);
      return false;
    }
    if (head.status < 200) {
      if (++this.#interims > interimMax) {
        this.#fail(user);
        return false;
      }
      user.onInterim(head.status);
      head.reset("response");
      return true;
    }
    this.#isHeadRead = true;
    this.body.start(head.bodyKind, head.bodyLength);
    user.onResponseHead(this);
    return this.user === user;
  }

  #fail(user: UpstreamUser): void {
    this.abandon();
    user.onUpstreamReset("protocol", undefined);
  }

  #finish(user: UpstreamUser, hasSurplus: boolean): void {
    const isClean =
      this.head.isKeepAlive &&
      this.isRequestSent &&
      !hasSurplus &&
      this.channel?.isClosed === false;
    this.#isBusy = false;
    user.onResponseEnd();
    if (this.user !== user) return;
    this.user = undefined;
    this.idleDeadline.disarm();
    leaveRequest(this.cluster, this.pool.endpoint);
    this.#forgetHeads();
    if (isClean) this.pool.release(this);
    else this.channel?.destroy();
    user.onReleased();
  }

  onEnd(): void {
    this.pool.wheel.touch();
    this.#hasPeerEnded = true;
    const { user } = this;
    if (user === undefined || !this.hasAnswered) {
      this.channel?.destroy();
      return;
    }
    if (this.#isHeadRead && this.body.finish()) this.#finish(user, true);
    else this.#fail(user);
  }

  onDrain(): void {
    this.user?.onUpstreamDrain();
  }

  onClose(error: ChannelError | undefined): void {
    this.pool.wheel.touch();
    this.#heads?.release();
    this.isClosed = true;
    this.pool.wheel.release(this.idleDeadline);
    this.pool.onConnectionClosed(this, error);
    const { user } = this;
    if (user === undefined) return;
    if (this.#isHeadRead && error === undefined && this.body.finish()) {
      this.#finish(user, true);
      return;
    }
    this.#discard();
    this.user = undefined;
    leaveRequest(this.cluster, this.pool.endpoint);
    user.onUpstreamReset("termination", error);
  }

  /** What its cluster counts of it. */
  endedAfter(nowMs: number, error: ChannelError | undefined): UpstreamConnectionEnd {
    const lengthMs = nowMs - this.dialledMs;
    return endOf({ lengthMs, hasPeerEnded: this.#hasPeerEnded, error, isBusy: this.#isBusy });
  }

  /** Idle for too long, or busy with one request for longer than its cluster lets one last. */
  onDeadline(): void {
    const { user } = this;
    // A tunnel is busy, and nobody's request any more.
    this.isOverlong = this.#isBusy;
    if (this.#isBusy) this.cluster.counters.count("upstream_rq_max_duration_reached");
    if (user === undefined) {
      this.channel?.destroy();
      return;
    }
    this.abandon();
    user.onUpstreamReset("overlong", undefined);
  }
}
