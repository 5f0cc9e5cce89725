/**
 * One end of an HTTP/2 connection (RFC 9113): reads frames, keeps the states of streams, and says what
 * a violation ends. Sans I/O: bytes and times come in through `receive()`, what is to be sent leaves
 * through the sender. What header blocks mean is its side's business. Push and priorities are not
 * offered; deadlines are the caller's.
 */
import { HpackDecoder } from "./hpack-decoder.ts";
import type { HeadLimits } from "./http1-head.ts";
import { ClientSide } from "./http2-client-side.ts";
import { type Flood, FloodGuard, type FloodLimits } from "./http2-floods.ts";
import type { FrameMemory } from "./http2-frame-memory.ts";
import { frameStep, FrameReader } from "./http2-frame-reader.ts";
import {
  errorCode,
  frameFlag,
  frameType,
  type Violation,
  violations,
  windowMax,
} from "./http2-frames.ts";
import { HeaderBlock } from "./http2-header-block.ts";
import { applySettings } from "./http2-peer-settings.ts";
import { Http2Sender, type SendFrames } from "./http2-sender.ts";
import { ServerSide } from "./http2-server-side.ts";
import { BlockReader, type SessionSide } from "./http2-side.ts";
import type { StreamOwner } from "./http2-stream.ts";
import { Http2Streams, type StreamsHandler } from "./http2-streams.ts";

export interface Http2Settings {
  readonly maxConcurrentStreams: number;
  /** Bytes. */
  readonly streamWindow: number;
  readonly connectionWindow: number;
  readonly tableBytes: number;
  readonly limits: HeadLimits;
  readonly floods: FloodLimits;
  /** CONNECT, and with `:protocol` (RFC 8441); a server's. Refused unless told. */
  readonly allowsConnect?: boolean;
}

/** Whose end it is: a server unless told. */
export type SessionPorts = { readonly memory: FrameMemory; readonly send: SendFrames } & (
  | { readonly side?: "server"; readonly handler: ServerHandler }
  | { readonly side: "client"; readonly handler: ClientHandler }
);

/** What a session tells of the whole connection, and asks. */
export interface SessionHandler extends StreamsHandler {
  /** The last frame is gathered: send it, and close. */
  onError(code: number, why: Violation | Flood): void;
  onPingAck(): void;
}

export interface ServerHandler extends SessionHandler {
  /** Who serves the next stream; undefined: it is refused, and may be asked for elsewhere. */
  serve(): StreamOwner | undefined;
}

export interface ClientHandler extends SessionHandler {
  /** How many streams the server takes may have changed. */
  onPeerSettings(): void;
  /** No stream may be begun any more; those that are not served are told next. */
  onGoAway(code: number): void;
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
  readonly #blocks: BlockReader;
  readonly #block: HeaderBlock = new HeaderBlock();
  readonly #side: SessionSide;
  #prefaceBytes = 0;
  #isFirstFrame = true;
  /** Of the other end's streams; none above it is served. */
  #lastServedId: number = windowMax;

  constructor(settings: Http2Settings, ports: SessionPorts) {
    const { handler } = ports;
    this.#settings = settings;
    this.#handler = handler;
    const guard = new FloodGuard(settings.floods);
    this.#guard = guard;
    const end = (code: number, why: Violation | Flood): void => this.#end(code, why);
    const blocks = new BlockReader(new HpackDecoder(settings.limits, settings.tableBytes), end);
    this.#blocks = blocks;
    const sender = new Http2Sender(ports.memory, ports.send, guard);
    this.sender = sender;
    const isClient = ports.side === "client";
    const streams = new Http2Streams(settings, { isClient, sender, guard, handler, end });
    this.streams = streams;
    const parts = { sender, guard, streams, blocks, session: this };
    this.#side =
      ports.side === "client"
        ? new ClientSide(settings, ports.handler, parts)
        : new ServerSide(settings, ports.handler, parts);
  }

  /** Streams of the other end above it are not served any more. */
  get lastServedId(): number {
    return this.#lastServedId;
  }

  /** Our settings, which are the first that is sent. */
  start(): void {
    this.#side.start();
  }

  /** A header block has begun and is not whole. */
  get isInHead(): boolean {
    return this.#block.streamId !== 0;
  }

  /** Nothing has come for a while: keeps no memory but for what the next frames may refer to. */
  trim(): void {
    if (this.isInHead) return;
    this.#reader.trim();
    this.#block.trim();
    this.#blocks.trim();
    this.sender.encoder.trim();
    this.streams.open.trim();
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
    const preface = this.#side.peerPreface;
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
        return this.#onGoAway();
      case frameType.windowUpdate:
        return this.#onWindowUpdate();
      default:
      // RFC 9113 section 5.5: what is not known is passed over.
    }
  }

  #onHeaders(): void {
    const { streamId } = this.#reader;
    if (streamId === 0) return this.#fail("stream-zero");
    const refusal = this.streams.open.has(streamId) ? undefined : this.#side.refusal(streamId);
    if (refusal !== undefined) return this.#fail(refusal);
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
    this.#side.take(streamId, this.#block);
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
    // RST_STREAM is not sent of a stream that may still begin (RFC 9113 section 6.4).
    else this.#fail(length === 5 ? "idle-stream" : "frame-length");
  }

  #onReset(): void {
    const { streamId, length, bytes, start } = this.#reader;
    if (length !== 4) return this.#fail("frame-length");
    if (streamId === 0) return this.#fail("stream-zero");
    if (this.streams.isIdle(streamId)) return this.#fail("idle-stream");
    this.streams.onReset(streamId, bytes.readUInt32BE(start));
  }

  #onSettings(): void {
    const { streamId, flags, length, bytes, start, end } = this.#reader;
    if (streamId !== 0) return this.#fail("stream-not-zero");
    if ((flags & frameFlag.ack) !== 0) {
      if (length > 0) return this.#fail("frame-length");
      if (!this.isSettled) this.#blocks.decoder.onTableBytesMax(this.#settings.tableBytes);
      this.isSettled = true;
      return;
    }
    const violation = applySettings(bytes, { start, end }, this.streams);
    if (violation !== undefined) return this.#fail(violation);
    this.sender.acknowledgeSettings();
    this.#side.onPeerSettings();
  }

  #onPing(): void {
    const { streamId, flags, length, bytes, start } = this.#reader;
    if (streamId !== 0) return this.#fail("stream-not-zero");
    if (length !== 8) return this.#fail("frame-length");
    if ((flags & frameFlag.ack) !== 0) return this.#handler.onPingAck();
    this.sender.ping(bytes, start, true);
  }

  #onGoAway(): void {
    const { streamId, length, bytes, start } = this.#reader;
    if (streamId !== 0) return this.#fail("stream-not-zero");
    if (length < 8) return this.#fail("frame-length");
    this.#side.onGoAway(bytes.readUInt32BE(start) & windowMax, bytes.readUInt32BE(start + 4));
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
    if (this.streams.isIdle(streamId)) return this.#fail("idle-stream");
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
    this.sender.goAway(this.#side.lastPeerId, code);
    this.#handler.onError(code, why);
  }
}

function isViolation(why: Violation | Flood): why is Violation {
  return why in violations;
}
