/**
 * The server's side of an HTTP/2 connection (RFC 9113): reads frames, keeps the states of streams, and
 * says what a violation ends. Sans I/O: bytes and times come in through `receive()`, what is to be sent
 * leaves through the sender. Push and priorities are not offered; deadlines are the caller's.
 */
import { HpackDecoder, initialTableBytes } from "./hpack-decoder.ts";
import { type HeadLimits, Http1Head } from "./http1-head.ts";
import { type Flood, FloodGuard, type FloodLimits } from "./http2-floods.ts";
import { frameStep, FrameReader } from "./http2-frame-reader.ts";
import {
  errorCode,
  frameFlag,
  frameType,
  preface,
  setting,
  type Violation,
  violations,
  windowMax,
} from "./http2-frames.ts";
import { frameHttp2Request, frameHttp2Trailers } from "./http2-framing.ts";
import { HeaderBlock } from "./http2-header-block.ts";
import { applySettings } from "./http2-peer-settings.ts";
import { type FrameMemory, Http2Sender, type SendFrames } from "./http2-sender.ts";
import type { Http2Stream, StreamOwner } from "./http2-stream.ts";
import { Http2Streams, type StreamsHandler } from "./http2-streams.ts";

export interface Http2Settings {
  readonly maxConcurrentStreams: number;
  /** Bytes. */
  readonly streamWindow: number;
  readonly connectionWindow: number;
  readonly tableBytes: number;
  readonly limits: HeadLimits;
  readonly floods: FloodLimits;
}

export interface SessionPorts {
  readonly memory: FrameMemory;
  readonly send: SendFrames;
  readonly handler: SessionHandler;
}

/** What a session tells of the whole connection, and asks. */
export interface SessionHandler extends StreamsHandler {
  /** Who serves the next stream; undefined: it is refused, and may be asked for elsewhere. */
  serve(): StreamOwner | undefined;
  /** The last frame is gathered: send it, and close. */
  onError(code: number, why: Violation | Flood): void;
  onPingAck(): void;
}

export class Http2Session {
  readonly sender: Http2Sender;
  readonly streams: Http2Streams;
  /** Nothing is read any more. */
  isEnded = false;
  /** The peer has acknowledged our settings. */
  isSettled = false;
  readonly #settings: Http2Settings;
  readonly #handler: SessionHandler;
  readonly #guard: FloodGuard;
  readonly #reader: FrameReader = new FrameReader();
  readonly #decoder: HpackDecoder;
  readonly #block: HeaderBlock = new HeaderBlock();
  /** For blocks that nobody is to see. */
  #scratch: Http1Head | undefined;
  #prefaceBytes = 0;
  #isFirstFrame = true;
  /** Streams above it are not served any more. */
  #lastServedId: number = windowMax;

  constructor(settings: Http2Settings, { memory, send, handler }: SessionPorts) {
    this.#settings = settings;
    this.#handler = handler;
    this.#guard = new FloodGuard(settings.floods);
    this.#decoder = new HpackDecoder(settings.limits, settings.tableBytes);
    this.sender = new Http2Sender(memory, send, this.#guard);
    this.streams = new Http2Streams(settings, {
      sender: this.sender,
      guard: this.#guard,
      handler,
      end: (code, why) => this.#end(code, why),
    });
  }

  /** Our settings, which are the first that is sent. */
  start(): void {
    const { maxConcurrentStreams, streamWindow, tableBytes, limits } = this.#settings;
    const entries: [id: number, value: number][] = [
      [setting.maxConcurrentStreams, maxConcurrentStreams],
      [setting.initialWindow, streamWindow],
      [setting.maxHeadBytes, limits.headBytesMax],
    ];
    if (tableBytes !== initialTableBytes) entries.unshift([setting.headerTableBytes, tableBytes]);
    this.sender.settings(entries);
    this.streams.window.start();
  }

  /** A header block has begun and is not whole. */
  get isInHead(): boolean {
    return this.#block.streamId !== 0;
  }

  receive(chunk: Buffer, nowMs: number): void {
    this.streams.nowMs = nowMs;
    let at = this.#readPreface(chunk);
    // Not up to the chunk's end: a frame without content, or the end of one, takes no bytes.
    while (!this.isEnded) {
      const step = this.#reader.next(chunk, at);
      if (step === frameStep.more) break;
      at = this.#reader.position;
      this.#take(step);
    }
    if (this.isEnded) return;
    this.sender.pump();
    this.#endIf(this.#guard.outbound);
  }

  #readPreface(chunk: Buffer): number {
    let at = 0;
    while (this.#prefaceBytes < preface.length && at < chunk.length) {
      if (chunk[at] !== preface.charCodeAt(this.#prefaceBytes)) {
        this.#fail("preface");
        return at;
      }
      this.#prefaceBytes++;
      at++;
    }
    return at;
  }

  #take(step: number): void {
    switch (step) {
      case frameStep.tooLarge:
        return this.#fail("frame-too-large");
      case frameStep.badPadding:
        return this.#fail("padding");
      case frameStep.dataBegin:
        return this.#isInOrder() ? this.streams.beginData(this.#reader) : undefined;
      case frameStep.data:
        return this.streams.onContent(this.#reader);
      case frameStep.dataEnd:
        return this.streams.endData(this.#reader);
      case frameStep.frame:
        return this.#isInOrder() ? this.#onFrame() : undefined;
      default:
    }
  }

  /** SETTINGS come first, and nothing comes between the frames of a header block. */
  #isInOrder(): boolean {
    const { type, streamId, flags } = this.#reader;
    if (this.#isFirstFrame) {
      this.#isFirstFrame = false;
      const isSettings = type === frameType.settings && (flags & frameFlag.ack) === 0;
      if (!isSettings) this.#fail("first-frame");
      return isSettings;
    }
    const isContinuation = type === frameType.continuation;
    if (this.isInHead) {
      const isNext = isContinuation && streamId === this.#block.streamId;
      if (!isNext) this.#fail("interrupted-block");
      return isNext;
    }
    if (isContinuation) this.#fail("lost-continuation");
    return !isContinuation;
  }

  #onFrame(): void {
    switch (this.#reader.type) {
      case frameType.headers:
        return this.#onHeaders();
      case frameType.continuation:
        return this.#onBlockPart(this.#block.add(this.#reader, this.#guard));
      case frameType.priority:
        return this.#onPriority();
      case frameType.reset:
        return this.#onReset();
      case frameType.settings:
        return this.#onSettings();
      case frameType.pushPromise:
        return this.#fail("push");
      case frameType.ping:
        return this.#onPing();
      case frameType.goAway:
        if (this.#reader.streamId !== 0) return this.#fail("stream-not-zero");
        return this.#reader.length < 8 ? this.#fail("frame-length") : undefined;
      case frameType.windowUpdate:
        return this.#onWindowUpdate();
      default:
      // RFC 9113 section 5.5: what is not known is passed over.
    }
  }

  #onHeaders(): void {
    const { streamId } = this.#reader;
    if (streamId === 0) return this.#fail("stream-zero");
    if (!this.streams.open.has(streamId)) {
      const isNew = streamId > this.streams.lastId;
      if (isNew && streamId % 2 === 0) return this.#fail("stream-id");
      const closed = isNew ? "by-us" : this.streams.closed.find(streamId);
      if (closed !== "by-us") return this.#fail(closed === "ended" ? "closed-stream" : "stream-id");
    }
    this.#onBlockPart(this.#block.begin(this.#reader, this.#guard));
  }

  #onBlockPart(found: Violation | Flood | "whole" | "part"): void {
    if (found === "part") return;
    if (found !== "whole") {
      const code = isViolation(found) ? violations[found].code : errorCode.enhanceYourCalm;
      return this.#end(code, found);
    }
    const { streamId } = this.#block;
    this.#block.streamId = 0;
    const stream = this.streams.open.get(streamId);
    if (stream !== undefined) return this.#onTrailers(stream);
    if (streamId <= this.streams.lastId || streamId > this.#lastServedId) return this.#skipBlock();
    this.streams.lastId = streamId;
    this.#guard.streams++;
    const isFull = this.streams.open.size >= this.#settings.maxConcurrentStreams;
    const owner = isFull ? undefined : this.#handler.serve();
    if (owner !== undefined) return this.#begin(streamId, owner);
    this.#skipBlock();
    if (!this.isEnded) this.streams.refuse(streamId);
  }

  #begin(streamId: number, owner: StreamOwner): void {
    const block = this.#block;
    const stream = this.streams.begin(streamId, owner, block.isEndOfStream);
    const { head } = owner;
    head.reset("request");
    if (!this.#decode(head)) return;
    if (block.isOwnParent) return this.streams.fail(stream, "self-dependency");
    const error = frameHttp2Request(head, block.isEndOfStream);
    if (error !== undefined) return this.streams.onMalformed(stream, error);
    if (head.bodyKind === "length") stream.contentLeft = head.bodyLength;
    owner.onRequest(block.isEndOfStream);
  }

  /** Of the block that is whole; false when the connection has ended for it. */
  #decode(head: Http1Head): boolean {
    const { bytes, from, to } = this.#block;
    const isSound = this.#decoder.decode(bytes, from, to, head);
    if (!isSound) this.#fail("header-block");
    return isSound;
  }

  /** The table must go on as the peer's does, whoever the block was for. */
  #skipBlock(): void {
    this.#scratch ??= new Http1Head();
    this.#scratch.reset("trailers");
    this.#decode(this.#scratch);
  }

  #onTrailers(stream: Http2Stream): void {
    const { trailers } = stream.owner;
    trailers.reset("trailers");
    if (!this.#decode(trailers)) return;
    if (stream.isRemoteEnded) return this.streams.fail(stream, "half-closed-stream");
    if (!this.#block.isEndOfStream) return this.streams.fail(stream, "trailers-without-end");
    const error = frameHttp2Trailers(trailers);
    if (error !== undefined) return this.streams.onMalformed(stream, error);
    this.streams.endRemote(stream, trailers.count === 0 ? undefined : trailers);
  }

  #onPriority(): void {
    const { streamId, length, bytes, start } = this.#reader;
    if (streamId === 0) return this.#fail("stream-zero");
    if (this.#endIf(this.#guard.onPriority())) return;
    const isSound = length === 5 && (bytes.readUInt32BE(start) & windowMax) !== streamId;
    if (isSound) return;
    const why = length === 5 ? "self-dependency" : "priority-length";
    const stream = this.streams.open.get(streamId);
    if (stream !== undefined) this.streams.fail(stream, why);
    else this.sender.reset(streamId, violations[why].code);
  }

  #onReset(): void {
    const { streamId, length, bytes, start } = this.#reader;
    if (length !== 4) return this.#fail("frame-length");
    if (streamId === 0) return this.#fail("stream-zero");
    if (streamId > this.streams.lastId) return this.#fail("idle-stream");
    this.streams.onReset(streamId, bytes.readUInt32BE(start));
  }

  #onSettings(): void {
    const { streamId, flags, length, bytes, start, end } = this.#reader;
    if (streamId !== 0) return this.#fail("stream-not-zero");
    if ((flags & frameFlag.ack) !== 0) {
      if (length > 0) return this.#fail("frame-length");
      if (!this.isSettled) this.#decoder.onTableBytesMax(this.#settings.tableBytes);
      this.isSettled = true;
      return;
    }
    const violation = applySettings(bytes, { start, end }, this.streams);
    if (violation !== undefined) return this.#fail(violation);
    this.sender.acknowledgeSettings();
  }

  #onPing(): void {
    const { streamId, flags, length, bytes, start } = this.#reader;
    if (streamId !== 0) return this.#fail("stream-not-zero");
    if (length !== 8) return this.#fail("frame-length");
    if ((flags & frameFlag.ack) !== 0) return this.#handler.onPingAck();
    this.sender.ping(bytes, start, true);
  }

  #onWindowUpdate(): void {
    const { streamId, length, bytes, start } = this.#reader;
    if (length !== 4) return this.#fail("frame-length");
    const more = bytes.readUInt32BE(start) & windowMax;
    if (this.#endIf(this.#guard.onWindowUpdate())) return;
    if (streamId === 0) {
      if (more === 0) return this.#fail("connection-window-zero");
      this.sender.window += more;
      if (this.sender.window > windowMax) this.#fail("connection-window-overflow");
      return;
    }
    if (streamId > this.streams.lastId) return this.#fail("idle-stream");
    const stream = this.streams.open.get(streamId);
    if (stream === undefined) return;
    if (more === 0) return this.streams.fail(stream, "stream-window-zero");
    if (!this.sender.addStreamWindow(stream, more)) {
      this.streams.fail(stream, "stream-window-overflow");
    }
  }

  /** Streams begun from now on are not served; what was said stays said. */
  goAway(lastStreamId: number, code: number = errorCode.none): void {
    this.#lastServedId = Math.min(this.#lastServedId, lastStreamId);
    this.sender.goAway(this.#lastServedId, code);
  }

  #fail(why: Violation): void {
    this.#end(violations[why].code, why);
  }

  #endIf(flood: Flood | undefined): boolean {
    if (flood !== undefined) this.#end(errorCode.enhanceYourCalm, flood);
    return flood !== undefined;
  }

  #end(code: number, why: Violation | Flood): void {
    if (this.isEnded) return;
    this.isEnded = true;
    this.sender.goAway(this.streams.lastId, code);
    this.#handler.onError(code, why);
  }
}

function isViolation(why: Violation | Flood): why is Violation {
  return why in violations;
}
