/**
 * The streams of an HTTP/2 connection: which are open, what content comes on them, and how each ends.
 * The server's side begins none itself, and is done with one when its answer has left.
 */
import type { HeadError, Http1Head } from "./http1-head.ts";
import { ClosedStreams } from "./http2-closed-streams.ts";
import type { Flood, FloodGuard } from "./http2-floods.ts";
import type { FrameReader } from "./http2-frame-reader.ts";
import { errorCode, frameFlag, initialWindow, type Violation, violations } from "./http2-frames.ts";
import { type PeerSettings, unsaidStreamsMax } from "./http2-peer-settings.ts";
import { ReceiveWindow } from "./http2-receive-window.ts";
import type { Http2Sender } from "./http2-sender.ts";
import { Http2Stream, type StreamOwner } from "./http2-stream.ts";
import { StreamTable } from "./http2-stream-table.ts";

/** What streams tell of and ask their connection. */
export interface StreamsHandler {
  /** A request, or what followed it, is malformed. True: it alone is reset; false: all ends. */
  onMalformed(error: HeadError): boolean;
  /** A stream was reset for what its peer did. */
  onStreamError(why: Violation): void;
}

export interface StreamsPorts {
  /** Streams are begun here. */
  readonly isClient: boolean;
  readonly sender: Http2Sender;
  readonly guard: FloodGuard;
  readonly handler: StreamsHandler;
  /** Ends the connection. */
  readonly end: (code: number, why: Violation | Flood) => void;
}

/**
 * What the heads of all open streams may come to, of requests or large ones of answers: an entry of the
 * table is a byte to its sender.
 */
const headBytesMax = 8 * 1024 * 1024;

export interface Windows {
  readonly streamWindow: number;
  readonly connectionWindow: number;
}

export class Http2Streams {
  readonly open: StreamTable = new StreamTable();
  readonly closed: ClosedStreams = new ClosedStreams();
  readonly sender: Http2Sender;
  readonly window: ReceiveWindow;
  /** The peer's, for what is sent to it. */
  readonly peer: PeerSettings = {
    initialWindow,
    maxStreams: unsaidStreamsMax,
    isTold: false,
    allowsConnect: false,
  };
  /** The highest stream that was begun. */
  lastId = 0;
  /** The highest that came after our farewell, and is passed over with all that belongs to it. */
  passedId = 0;
  nowMs = 0;
  readonly #streamWindow: number;
  readonly #ports: StreamsPorts;
  /** The stream of the DATA frame being read, if there is one to take it. */
  #dataStream: Http2Stream | undefined;
  #hasContent = false;
  /** Of all open streams. */
  #headBytes = 0;

  constructor(windows: Windows, ports: StreamsPorts) {
    this.#ports = ports;
    this.sender = ports.sender;
    this.#streamWindow = windows.streamWindow;
    const { streamWindow: stream, connectionWindow: connection } = windows;
    const isShared = ports.isClient;
    this.window = new ReceiveWindow(ports.sender, { stream, connection, isShared });
    ports.sender.onLocalEnd = (one) => this.#closeIfOver(one);
  }

  begin(streamId: number, owner: StreamOwner, isEnd: boolean): Http2Stream {
    const stream = owner.wire ?? new Http2Stream(owner);
    stream.begin(streamId, this.#streamWindow, this.peer.initialWindow);
    stream.isRemoteEnded = isEnd;
    this.open.add(stream);
    owner.onOpened(stream);
    return stream;
  }

  /** Keeps account of the head that the peer has sent last; false when there is too much of them. */
  keepHead(stream: Http2Stream, bytes: number): boolean {
    this.#headBytes += bytes - stream.headBytes;
    stream.headBytes = bytes;
    return this.#headBytes <= headBytesMax;
  }

  /** A stream of ours; what is sent on it comes next. */
  beginOwn(owner: StreamOwner, isHead: boolean): Http2Stream {
    this.lastId += this.lastId === 0 ? 1 : 2;
    this.#ports.guard.streams++;
    const stream = this.begin(this.lastId, owner, false);
    stream.isHead = isHead;
    return stream;
  }

  /** A stream that nobody serves: the peer may ask elsewhere, or later. */
  refuse(streamId: number): void {
    this.closed.add(streamId, true);
    this.sender.reset(streamId, errorCode.refusedStream);
    this.#endIf(this.#ports.guard.onReset(this.nowMs));
  }

  onMalformed(stream: Http2Stream, error: HeadError): void {
    const isLimit = error === "head-too-large" || error === "too-many-fields";
    const why = isLimit ? "head-limit" : "malformed";
    stream.owner.onMalformed(error);
    if (isLimit || this.#ports.handler.onMalformed(error)) this.fail(stream, why);
    else this.#ports.end(violations[why].code, why);
  }

  /** The peer has said all it will. */
  endRemote(stream: Http2Stream, trailers: Http1Head | undefined): void {
    if (stream.contentLeft > 0) return this.#onWrongLength(stream);
    stream.isRemoteEnded = true;
    stream.owner.onEnd(trailers);
    this.#closeIfOver(stream);
  }

  /** The head was sound, and others are not concerned. */
  #onWrongLength(stream: Http2Stream): void {
    stream.owner.onMalformed("content-length");
    this.fail(stream, "content-length");
  }

  /** Never begun, by either side: servers begin none. */
  isIdle(streamId: number): boolean {
    return (streamId > this.lastId && streamId > this.passedId) || streamId % 2 === 0;
  }

  beginData({ streamId, length }: FrameReader): void {
    if (streamId === 0) return this.#failAll("stream-zero");
    if (this.isIdle(streamId)) return this.#failAll("idle-stream");
    if (!this.window.take(length)) return this.#failAll("connection-window");
    const stream = this.open.get(streamId);
    this.#dataStream = undefined;
    this.#hasContent = false;
    if (stream === undefined) {
      if (this.closed.find(streamId) === "ended") return this.#failAll("closed-stream");
      return this.window.returnToConnection(length);
    }
    stream.receiveWindow -= length;
    if (stream.isRemoteEnded || stream.receiveWindow < 0) {
      this.window.returnToConnection(length);
      return this.fail(stream, stream.isRemoteEnded ? "half-closed-stream" : "stream-window");
    }
    if (this.#ports.isClient && !stream.isAnswered) {
      this.window.returnToConnection(length);
      return this.onMalformed(stream, "syntax");
    }
    this.#dataStream = stream;
  }

  onContent({ bytes, start, end, length }: FrameReader): void {
    this.#hasContent = true;
    const stream = this.#dataStream;
    if (stream === undefined) return;
    // It may have closed since the frame began: its owner may serve another by now.
    if (stream.isClosed) return this.#passOver(length);
    if (stream.contentLeft >= 0) {
      stream.contentLeft -= end - start;
      if (stream.contentLeft < 0) {
        this.#passOver(length);
        return this.#onWrongLength(stream);
      }
    }
    stream.owner.onData(bytes, start, end);
    if (stream.isClosed) this.#passOver(length);
  }

  /** Nobody takes the rest of the DATA frame, which is so long. */
  #passOver(length: number): void {
    this.#dataStream = undefined;
    this.window.returnToConnection(length);
  }

  endData({ flags, length }: FrameReader): void {
    const isEnd = (flags & frameFlag.endStream) !== 0;
    if (!isEnd && this.#endIf(this.#ports.guard.onContent(!this.#hasContent))) return;
    const stream = this.#dataStream;
    this.#dataStream = undefined;
    if (stream === undefined) return;
    if (stream.isClosed) return this.window.returnToConnection(length);
    this.window.onFrame(stream, length);
    if (isEnd) this.endRemote(stream, undefined);
  }

  /** The peer breaks a stream off. */
  onReset(streamId: number, code: number): void {
    const stream = this.open.get(streamId);
    if (stream === undefined) return;
    this.#remove(stream, false);
    stream.owner.onReset(code);
    // Who has had an answer may have had enough of it: that costs what an answer costs.
    if (!stream.isAnswered) this.#endIf(this.#ports.guard.onReset(this.nowMs));
  }

  /** Breaks off a stream, for its owner's reasons. */
  breakOff(stream: Http2Stream, code: number): void {
    if (stream.isClosed) return;
    this.sender.reset(stream.id, code);
    this.#remove(stream, true);
  }

  /** One was broken off for what the peer did not do; too many end the connection when more comes. */
  countReset(): void {
    this.#ports.guard.onReset(this.nowMs);
  }

  fail(stream: Http2Stream, why: Violation): void {
    const { code } = violations[why];
    this.sender.reset(stream.id, code);
    this.#remove(stream, true);
    this.#ports.handler.onStreamError(why);
    stream.owner.onReset(code, why);
    this.#endIf(this.#ports.guard.onReset(this.nowMs));
  }

  /** The peer will not serve streams above `lastId`, and has done nothing for them. */
  leaveAbove(lastId: number): void {
    for (const stream of this.open.values()) {
      // One may have gone with another that went before it.
      if (stream.id <= lastId || stream.isClosed) continue;
      this.#remove(stream, true);
      stream.owner.onReset(errorCode.refusedStream);
    }
  }

  /** The peer reads again: sends on. */
  onDrain(): void {
    this.sender.hasRoom = true;
    this.sender.pump();
    for (const stream of this.open.values()) {
      if (!stream.isWaiting || stream.queuedBytes > 0) continue;
      stream.isWaiting = false;
      stream.owner.onRoom();
    }
  }

  #closeIfOver(stream: Http2Stream): void {
    if (!stream.isLocalEnded || stream.isClosed) return;
    if (this.#ports.isClient && !stream.isRemoteEnded) return;
    // The answer is whole, and no more of the request is wanted (RFC 9113 section 8.1).
    const isEarly = !stream.isRemoteEnded;
    if (isEarly) this.sender.reset(stream.id, errorCode.none);
    this.#remove(stream, isEarly);
    stream.owner.onClosed();
  }

  #remove(stream: Http2Stream, byUs: boolean): void {
    stream.isClosed = true;
    this.#headBytes -= stream.headBytes;
    stream.headBytes = 0;
    this.open.delete(stream.id);
    this.closed.add(stream.id, byUs);
    this.sender.forget(stream);
    this.window.forget(stream);
  }

  #failAll(why: Violation): void {
    this.#ports.end(violations[why].code, why);
  }

  #endIf(flood: Flood | undefined): boolean {
    if (flood !== undefined) this.#ports.end(errorCode.enhanceYourCalm, flood);
    return flood !== undefined;
  }
}
