/**
 * One stream of an HTTP/2 connection to an endpoint: the exchange that one attempt of a request has
 * with it. Used again for later streams of its connection.
 */
import type { Channel, ChannelError } from "../../net/channel.ts";
import { type BodyKind, type HeadError, Http1Head, plainHeadBytes } from "../../wire/http1-head.ts";
import { errorCode, type Violation } from "../../wire/http2-frames.ts";
import type { Http2Stream, StreamOwner } from "../../wire/http2-stream.ts";
import type { HeadShare } from "../http/answer-heads.ts";
import { Deadline, type DeadlineOwner } from "../http/deadline-wheel.ts";
import type {
  AttemptFields,
  OutgoingRequest,
  UpstreamTarget,
} from "../http/request-head-writer.ts";
import type { StreamRecord } from "../http/stream-record.ts";
import type {
  UpgradedExchange,
  UpstreamExchange,
  UpstreamReset,
  UpstreamUser,
} from "../http/upstream-exchange.ts";
import type { ClientConnection } from "./client-connection.ts";
import { ConnectChannel } from "./connect-channel.ts";
import { writeFields } from "./fields.ts";

export class ClientStream
  implements StreamOwner, UpstreamExchange, UpgradedExchange, DeadlineOwner
{
  readonly head: Http1Head = new Http1Head();
  isReused = false;
  hasAnswered = false;
  isOverlong = false;
  answeredMs = 0;
  /** Where the connection keeps it among those of requests; -1 for nowhere. */
  place = -1;
  readonly #connection: ClientConnection;
  readonly #heads: HeadShare | undefined;
  #user: UpstreamUser | undefined;
  #wire: Http2Stream | undefined;
  #trailers: Http1Head | undefined;
  #hasTrailers = false;
  #isMalformed = false;
  /** The request asks for a tunnel: it has no end, and a good answer has none either. */
  #asksFor: "nothing" | "upgrade" | "connect" = "nothing";

  /** Of one stream after another; made where the cluster has a limit. */
  #duration: Deadline | undefined;

  constructor(connection: ClientConnection) {
    this.#connection = connection;
    this.#heads = connection.openHeads();
  }

  get carrier(): Channel | undefined {
    return this.#connection.channel;
  }

  get queuedBytes(): number {
    return this.#wire?.queuedBytes ?? 0;
  }

  attach(user: UpstreamUser, isReused: boolean): void {
    this.#user = user;
    this.isReused = isReused;
    this.hasAnswered = false;
    this.isOverlong = false;
    this.#hasTrailers = false;
    this.#isMalformed = false;
    this.#asksFor = "nothing";
    this.head.reset("response");
    this.#connection.session.streams.beginOwn(this, user.isHeadRequest);
    const { cluster, wheel } = this.#connection;
    const { maxStreamDurationMs = 0 } = cluster;
    if (maxStreamDurationMs > 0 && user.isTunnel !== true) {
      wheel.arm((this.#duration ??= new Deadline(this)), maxStreamDurationMs);
    }
    user.onAttached(this);
  }

  /** It lasts longer than its cluster lets one last. */
  onDeadline(): void {
    const stream = this.#wire;
    if (stream === undefined) return;
    this.isOverlong = true;
    this.#connection.cluster.counters.count("upstream_rq_max_duration_reached");
    this.#connection.breakOff(stream, errorCode.cancel);
    this.#reset("overlong", undefined);
  }

  describe(record: StreamRecord): void {
    this.#connection.describe(record);
  }

  /** While a block is read: where its fields go. */
  get trailers(): Http1Head {
    this.#trailers ??= new Http1Head();
    return this.#trailers;
  }

  get answerTrailers(): Http1Head | undefined {
    return this.#hasTrailers ? this.#trailers : undefined;
  }

  sendHead(
    request: OutgoingRequest,
    target: Readonly<UpstreamTarget>,
    attempt: AttemptFields,
    bodyKind: BodyKind,
  ): void {
    const stream = this.#wire;
    if (stream === undefined) return;
    const { sender } = this.#connection.session;
    const { encoder } = sender;
    const writer = sender.beginHead(stream.id);
    // HTTP/2 switches nothing: a stream becomes the other protocol (RFC 8441).
    const protocol = attempt.isUpgrade ? request.headers.get("upgrade") : undefined;
    const isConnect = protocol === undefined && request.method === "CONNECT";
    if (protocol !== undefined) this.#asksFor = "upgrade";
    else if (isConnect && this.#user?.isTunnel !== true) this.#asksFor = "connect";
    encoder.field(writer, ":method", protocol === undefined ? request.method : "CONNECT");
    if (protocol !== undefined) {
      encoder.field(writer, ":protocol", protocol);
      request.headers.remove("content-length");
    }
    // A tunnel leads to an authority, and to nothing of it (RFC 9113 section 8.5).
    const { path } = target;
    if (path !== "") encoder.field(writer, ":scheme", request.scheme);
    encoder.field(writer, ":authority", target.authority);
    if (path !== "") encoder.field(writer, ":path", path);
    // Ours alone, or it would say what a client made up, or both.
    if (attempt.count > 0) request.headers.remove("x-envoy-attempt-count");
    writeFields(encoder, writer, request.headers);
    if (attempt.expectedMs > 0) {
      encoder.field(writer, "x-envoy-expected-rq-timeout-ms", String(attempt.expectedMs));
    }
    if (attempt.count > 0) encoder.field(writer, "x-envoy-attempt-count", String(attempt.count));
    sender.endHead(stream, bodyKind === "none" && this.#asksFor === "nothing");
  }

  sendBody(chunk: Buffer, from: number, to: number): boolean {
    const stream = this.#wire;
    if (stream === undefined || from === to) return true;
    this.#connection.session.sender.content(stream, chunk, from, to);
    return true;
  }

  sendEnd(trailers: Http1Head | undefined): void {
    const stream = this.#wire;
    if (stream === undefined || stream.isLocalEnded || stream.isEndQueued) return;
    if (this.#asksFor !== "nothing") return;
    this.#connection.session.sender.end(stream, trailers);
  }

  flush(): boolean {
    const hasRoom = this.#connection.flushSoon();
    const stream = this.#wire;
    if (stream === undefined || (hasRoom && stream.queuedBytes === 0)) return true;
    stream.isWaiting = true;
    return false;
  }

  pause(): void {
    if (this.#wire !== undefined) this.#wire.isPaused = true;
  }

  resume(): void {
    const stream = this.#wire;
    if (stream === undefined || !stream.isPaused) return;
    this.#connection.session.streams.window.release(stream);
    this.#connection.flushSoon();
  }

  handTo(user: UpstreamUser): void {
    this.#user = user;
  }

  abandon(): void {
    const stream = this.#wire;
    if (stream === undefined) return;
    this.#connection.breakOff(stream, errorCode.cancel);
    this.#end();
  }

  onOpened(stream: Http2Stream): void {
    this.#wire = stream;
  }

  onInterim(status: number): void {
    if (!this.#mayHold()) return;
    this.#begin();
    this.#user?.onInterim(status);
  }

  onHead(): void {
    if (!this.#mayHold()) return;
    this.#begin();
    // What an answer to CONNECT says of its length means nothing (RFC 9110 section 9.3.6).
    const user = this.#user;
    const isOpened = this.#isTunnelOpened();
    if ((isOpened || user?.isTunnel === true) && this.#wire !== undefined) {
      this.#wire.contentLeft = -1;
    }
    this.#connection.enter(this);
    if (isOpened) user?.onUpgraded(this, noBytes);
    else user?.onResponseHead(this);
  }

  /** The head that is here; where there is no place for it, the stream is broken off. */
  #mayHold(): boolean {
    const stream = this.#wire;
    if (this.#heads === undefined || stream === undefined) return true;
    if (this.#heads.hold(this.head.memoryBytes)) return true;
    this.#connection.session.streams.onMalformed(stream, "head-too-large");
    return false;
  }

  /** Its answers have made it take more memory than is worth keeping for the next. */
  get isLarge(): boolean {
    const trailerBytes = this.#trailers?.memoryBytes ?? 0;
    return this.head.memoryBytes > plainHeadBytes || trailerBytes > plainHeadBytes;
  }

  /** As Envoy: another protocol begins with 200, and nothing else. */
  #isTunnelOpened(): boolean {
    const { status } = this.head;
    const asked = this.#asksFor;
    if (asked === "nothing") return false;
    const isOpened = asked === "upgrade" ? status === 200 : status >= 200 && status < 300;
    if (isOpened) this.#asksFor = "nothing";
    return isOpened;
  }

  surrender(): Channel {
    const channel = new ConnectChannel(this);
    this.#user = channel;
    return channel;
  }

  onTunnelClosed(): void {
    // The stream has told its connection already that it is over.
  }

  #begin(): void {
    if (this.hasAnswered) return;
    this.hasAnswered = true;
    this.answeredMs = this.#connection.nowMs;
  }

  onData(chunk: Buffer, from: number, to: number): void {
    this.#connection.enter(this);
    this.#user?.onResponseData(chunk, from, to);
  }

  /** Content that came in one chunk. */
  flushAnswer(): void {
    this.#user?.onResponseFlush();
  }

  onEnd(trailers: Http1Head | undefined): void {
    const stream = this.#wire;
    this.#hasTrailers = trailers !== undefined;
    const user = this.#user;
    user?.onResponseEnd();
    // An answer before the whole request: nobody waits for the rest.
    if (stream === undefined || stream.isLocalEnded || this.#wire !== stream) return;
    if (user?.isTunnel === true) return;
    this.#connection.breakOff(stream, errorCode.none);
    this.#end();
    user?.onReleased();
  }

  onClosed(): void {
    const user = this.#user;
    this.#end();
    user?.onReleased();
  }

  onRoom(): void {
    this.#user?.onUpstreamDrain();
  }

  onMalformed(_error: HeadError): void {
    this.#isMalformed = true;
  }

  onReset(code: number, why?: Violation): void {
    const isOurs = this.#isMalformed || why !== undefined;
    if (!isOurs) this.#connection.onStreamReset();
    this.#reset(isOurs ? "protocol" : resetBy(code), undefined);
  }

  /** The connection is gone; `isFaulty`: for what the endpoint said. */
  onConnectionClose(isFaulty: boolean, error: ChannelError | undefined): void {
    this.#reset(isFaulty ? "protocol" : "termination", error);
  }

  #reset(kind: UpstreamReset, error: ChannelError | undefined): void {
    const user = this.#user;
    this.#forget();
    // Once only, or two requests would have it at the same time.
    if (!this.#connection.leave(this)) return;
    user?.onUpstreamReset(kind, error);
    this.#connection.onStreamOver(this);
  }

  #forget(): void {
    this.#wire = undefined;
    this.#user = undefined;
    this.#heads?.release();
    if (this.#duration !== undefined) this.#connection.wheel.release(this.#duration);
  }

  #end(): void {
    this.#forget();
    this.#connection.leave(this);
    this.#connection.onStreamOver(this);
  }
}

const noBytes = Buffer.alloc(0);

function resetBy(code: number): UpstreamReset {
  return code === errorCode.refusedStream ? "refused" : "remote";
}
