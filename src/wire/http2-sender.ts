/**
 * What leaves on an HTTP/2 connection: frames, header blocks, and content within the windows that the
 * peer gives (RFC 9113 section 5.2). Streams whose content waits take turns, a frame each. Sans I/O:
 * frames are gathered in memory that is lent for it, and leave together.
 */
import type { ByteWriter } from "./byte-writer.ts";
import type { FrameMemory } from "./http2-frame-memory.ts";
import { HpackEncoder } from "./hpack-encoder.ts";
import type { Http1Head } from "./http1-head.ts";
import type { FloodGuard } from "./http2-floods.ts";
import {
  errorCode,
  frameBytesMax,
  frameFlag,
  frameHeadBytes,
  frameType,
  initialWindow,
  preface,
  windowMax,
} from "./http2-frames.ts";
import type { Http2Stream } from "./http2-stream.ts";

/** Takes the first `length` bytes of memory that is used again afterwards; false when the peer is slow. */
export type SendFrames = (memory: Buffer, length: number) => boolean;

/** More than this is sent before more is gathered. */
const gatheredBytesMax = 64 * 1024;
/** More than this need not wait for the end of the turn: there is little to be saved any more. */
const promptBytes = 8 * 1024;
const prefaceBytes = Buffer.from(preface);

export class Http2Sender {
  readonly encoder: HpackEncoder = new HpackEncoder();
  readonly #memory: FrameMemory;
  /** What has not left yet; undefined for nothing. */
  #gathered: ByteWriter | undefined;
  readonly #sendFrames: SendFrames;
  readonly #guard: FloodGuard;
  /** The peer takes what is sent. */
  hasRoom = true;
  window: number = initialWindow;
  /** Content of all streams that waits for windows, or for a slow peer, with what follows it. */
  queuedBytes = 0;
  /** 0 once it is closed, and its content no longer counts among that of all. */
  #counts: 0 | 1 = 1;
  /** Streams with content and a window, in the order of their turns. */
  #ready: Http2Stream[] = [];
  #blockAt = 0;
  /** Nothing follows the content that is being sent. */
  #isLast = false;
  /** Whose DATA was gathered last, and where its frame stands. */
  #openStream: Http2Stream | undefined;
  #openAt = 0;
  #openEnd = 0;
  /** A stream has ended on our side. */
  onLocalEnd: (stream: Http2Stream) => void = () => {};

  constructor(memory: FrameMemory, send: SendFrames, guard: FloodGuard) {
    this.#memory = memory;
    this.#sendFrames = send;
    this.#guard = guard;
  }

  /** Sends what was gathered; false when the peer is slow. */
  flush(): boolean {
    const writer = this.#gathered;
    if (writer === undefined) return this.hasRoom;
    this.#gathered = undefined;
    this.#openStream = undefined;
    this.hasRoom = this.#sendFrames(writer.memory, writer.length);
    this.#memory.giveBack(writer);
    if (this.hasRoom) this.#guard.onRead();
    return this.hasRoom;
  }

  /** The same, at the end of the loop's turn at the latest: what is gathered until then leaves with it. */
  flushSoon(): boolean {
    const mayWait = this.#memory.isDeferring && (this.#gathered?.length ?? 0) < promptBytes;
    return mayWait ? this.hasRoom : this.flush();
  }

  /** The connection is gone. */
  close(): void {
    if (this.#gathered !== undefined) this.#memory.giveBack(this.#gathered);
    this.#gathered = undefined;
    this.#memory.queuedBytes -= this.queuedBytes * this.#counts;
    this.#counts = 0;
  }

  get #writer(): ByteWriter {
    return (this.#gathered ??= this.#memory.lend(this));
  }

  #frame(type: number, flags: number, streamId: number, length: number): void {
    const writer = this.#writer;
    writer.reserve(frameHeadBytes + length);
    const at = writer.length;
    const bytes = writer.memory;
    bytes[at] = length >>> 16;
    bytes[at + 1] = length >>> 8;
    bytes[at + 2] = length;
    bytes[at + 3] = type;
    bytes[at + 4] = flags;
    writer.length = at + 5;
    writer.uint32(streamId);
    this.#guard.onSent(type !== frameType.data && type !== frameType.headers);
  }

  /** What a client says first of all. */
  preface(): void {
    this.#writer.bytes(prefaceBytes, 0, prefaceBytes.length);
  }

  settings(entries: readonly (readonly [id: number, value: number])[]): void {
    this.#frame(frameType.settings, 0, 0, entries.length * 6);
    for (const [id, value] of entries) {
      this.#writer.byte(id >>> 8);
      this.#writer.byte(id);
      this.#writer.uint32(value);
    }
  }

  acknowledgeSettings(): void {
    this.#frame(frameType.settings, frameFlag.ack, 0, 0);
  }

  /** `payload[from, from + 8)`. */
  ping(payload: Uint8Array, from: number, isAck: boolean): void {
    this.#frame(frameType.ping, isAck ? frameFlag.ack : 0, 0, 8);
    this.#writer.bytes(payload, from, from + 8);
  }

  goAway(lastStreamId: number, code: number): void {
    this.#frame(frameType.goAway, 0, 0, 8);
    this.#writer.uint32(lastStreamId);
    this.#writer.uint32(code);
  }

  reset(streamId: number, code: number): void {
    this.#frame(frameType.reset, 0, streamId, 4);
    this.#writer.uint32(code);
  }

  windowUpdate(streamId: number, bytes: number): void {
    this.#frame(frameType.windowUpdate, 0, streamId, 4);
    this.#writer.uint32(bytes);
  }

  /** Then fields are written with the encoder to what is returned, and then `endHead()`. */
  beginHead(streamId: number): ByteWriter {
    this.#frame(frameType.headers, frameFlag.endHeaders, streamId, 0);
    const writer = this.#writer;
    this.#blockAt = writer.length;
    this.encoder.beginBlock(writer);
    return writer;
  }

  endHead(stream: Http2Stream, isEnd: boolean): void {
    const writer = this.#writer;
    const blockAt = this.#blockAt;
    const length = writer.length - blockAt;
    const bytes = writer.memory;
    const at = blockAt - frameHeadBytes;
    const first = Math.min(length, frameBytesMax);
    bytes[at] = first >>> 16;
    bytes[at + 1] = first >>> 8;
    bytes[at + 2] = first;
    const end = isEnd ? frameFlag.endStream : 0;
    bytes[at + 4] = end | (length > first ? 0 : frameFlag.endHeaders);
    if (length > first) this.#continueBlock(stream.id, blockAt + first);
    if (isEnd) this.#endLocal(stream);
  }

  /** What of a block does not fit into HEADERS. */
  #continueBlock(streamId: number, from: number): void {
    const writer = this.#writer;
    const rest = Buffer.from(writer.memory.subarray(from, writer.length));
    writer.length = from;
    for (let at = 0; at < rest.length; at += frameBytesMax) {
      const end = Math.min(rest.length, at + frameBytesMax);
      const flags = end === rest.length ? frameFlag.endHeaders : 0;
      this.#frame(frameType.continuation, flags, streamId, end - at);
      writer.bytes(rest, at, end);
    }
  }

  /** Sends `chunk[from, to)`, or keeps a copy until the peer has room. `isEnd`: nothing follows. */
  data(
    stream: Http2Stream,
    chunk: Uint8Array,
    from: number,
    ...[to, isEnd]: [number, boolean]
  ): void {
    if (isEnd) this.lastContent(stream, chunk, from, to);
    else this.content(stream, chunk, from, to);
  }

  /** As `data()`; more follows. */
  content(stream: Http2Stream, chunk: Uint8Array, from: number, to: number): void {
    this.#isLast = false;
    this.#send(stream, chunk, from, to);
  }

  /** As `data()`; nothing follows. */
  lastContent(stream: Http2Stream, chunk: Uint8Array, from: number, to: number): void {
    this.#isLast = true;
    this.#send(stream, chunk, from, to);
    this.#isLast = false;
  }

  #send(stream: Http2Stream, chunk: Uint8Array, from: number, to: number): void {
    const isEnd = this.#isLast;
    let at = from;
    if (stream.queuedBytes === 0 && this.hasRoom && this.#ready.length === 0) {
      while (at < to) {
        const step = this.#stepOf(stream, to - at);
        if (step <= 0 || !this.hasRoom) break;
        this.#dataFrame(stream, step, isEnd && at + step === to);
        this.#writer.bytes(chunk, at, at + step);
        at += step;
        this.#flushIfMuch();
      }
    }
    if (at < to) {
      stream.enqueue(chunk, at, to);
      this.#wait(to - at);
      stream.isEndQueued = isEnd;
      this.#makeReady(stream);
    } else if (isEnd) this.#endLocal(stream);
  }

  /** So much more content waits, or less. */
  #wait(bytes: number): void {
    this.queuedBytes += bytes;
    this.#memory.queuedBytes += bytes * this.#counts;
  }

  /** The same, on all connections that share the memory. */
  get queuedBytesOfAll(): number {
    return this.#memory.queuedBytes;
  }

  /** What may be sent now, in one frame, of so many bytes. */
  #stepOf({ sendWindow }: Http2Stream, bytes: number): number {
    let step = bytes < frameBytesMax ? bytes : frameBytesMax;
    if (sendWindow < step) step = sendWindow;
    return this.window < step ? this.window : step;
  }

  #flushIfMuch(): void {
    if (this.#gathered !== undefined && this.#gathered.length > gatheredBytesMax) this.flush();
  }

  /** Nothing follows but these. */
  end(stream: Http2Stream, trailers: Http1Head | undefined): void {
    if (stream.queuedBytes > 0) {
      stream.isEndQueued = true;
      if (trailers === undefined) return;
      stream.queuedTrailers = trailers.textFields();
      stream.queuedTrailerBytes = trailers.length;
      this.#wait(trailers.length);
      return;
    }
    if (trailers === undefined || !trailers.hasFields) return this.#sendEmptyEnd(stream);
    const writer = this.beginHead(stream.id);
    const { count, dropped } = trailers;
    for (let field = 0; field < count; field++) {
      if (dropped[field] === 0) this.encoder.fieldOf(writer, trailers, field);
    }
    this.endHead(stream, true);
  }

  /** Behind content that had to wait: its trailers were copied, for their head serves others by now. */
  #sendQueuedEnd(stream: Http2Stream): void {
    const trailers = stream.queuedTrailers;
    if (trailers === undefined || trailers.length === 0) return this.#sendEmptyEnd(stream);
    const writer = this.beginHead(stream.id);
    for (const [name, value] of trailers) this.encoder.field(writer, name, value);
    this.endHead(stream, true);
  }

  #sendEmptyEnd(stream: Http2Stream): void {
    this.#dataFrame(stream, 0, true);
    this.#endLocal(stream);
  }

  #endLocal(stream: Http2Stream): void {
    stream.isLocalEnded = true;
    this.onLocalEnd(stream);
  }

  /** The head of a frame whose content is written next. */
  #dataFrame(stream: Http2Stream, length: number, isEnd: boolean): void {
    stream.sendWindow -= length;
    this.window -= length;
    // Also where it joins another: the peer may answer each part with a window.
    this.#guard.dataFramesSent++;
    if (this.#joinsFrame(stream, length, isEnd)) return;
    this.#frame(frameType.data, isEnd ? frameFlag.endStream : 0, stream.id, length);
    const end = this.#writer.length;
    this.#openStream = isEnd ? undefined : stream;
    this.#openAt = end - frameHeadBytes;
    this.#openEnd = end + length;
  }

  /** Small messages of one stream that leave together are one frame: each costs every hop after us. */
  #joinsFrame(stream: Http2Stream, length: number, isEnd: boolean): boolean {
    const writer = this.#gathered;
    if (this.#openStream !== stream || writer?.length !== this.#openEnd) return false;
    const whole = this.#openEnd - this.#openAt - frameHeadBytes + length;
    if (whole > frameBytesMax) return false;
    const { memory } = writer;
    const at = this.#openAt;
    memory[at] = whole >>> 16;
    memory[at + 1] = whole >>> 8;
    memory[at + 2] = whole;
    if (isEnd) memory[at + 4] = frameFlag.endStream;
    this.#openStream = isEnd ? undefined : stream;
    this.#openEnd += length;
    return true;
  }

  /** The peer gives a stream more; false when it is more than there can be. */
  addStreamWindow(stream: Http2Stream, bytes: number): boolean {
    stream.sendWindow += bytes;
    if (stream.sendWindow > windowMax) return false;
    this.#makeReady(stream);
    return true;
  }

  #makeReady(stream: Http2Stream): void {
    if (stream.isReady || stream.queuedBytes === 0 || stream.sendWindow <= 0) return;
    stream.isReady = true;
    this.#ready.push(stream);
  }

  /** The stream is gone. */
  forget(stream: Http2Stream): void {
    if (stream.queuedBytes > 0) stream.queue.length = 0;
    this.#wait(-stream.queuedBytes);
    stream.queuedBytes = 0;
    this.#forgetTrailers(stream);
    if (!stream.isReady) return;
    stream.isReady = false;
    this.#ready = this.#ready.filter((one) => one !== stream);
  }

  /** They wait no longer. */
  #forgetTrailers(stream: Http2Stream): void {
    this.#wait(-stream.queuedTrailerBytes);
    stream.queuedTrailerBytes = 0;
  }

  /** Sends what windows and the peer's reading allow, a frame of each stream at a time. */
  pump(): void {
    while (this.hasRoom && this.window > 0) {
      const stream = this.#ready.shift();
      if (stream === undefined) break;
      stream.isReady = false;
      // SETTINGS may have made its window smaller since it was found ready, even less than nothing.
      if (stream.sendWindow > 0) this.#sendQueued(stream);
      this.#makeReady(stream);
      this.#flushIfMuch();
    }
  }

  #sendQueued(stream: Http2Stream): void {
    const piece = stream.queue[0];
    if (piece === undefined) return;
    const step = this.#stepOf(stream, piece.length);
    const isLast = step === stream.queuedBytes;
    const isEnd = isLast && stream.isEndQueued && stream.queuedTrailers === undefined;
    this.#dataFrame(stream, step, isEnd);
    this.#writer.bytes(piece, 0, step);
    stream.queuedBytes -= step;
    this.#wait(-step);
    if (step === piece.length) stream.queue.shift();
    else stream.queue[0] = piece.subarray(step);
    if (!isLast) return;
    if (isEnd) return this.#endLocal(stream);
    if (stream.isEndQueued) {
      this.#forgetTrailers(stream);
      return this.#sendQueuedEnd(stream);
    }
    if (!stream.isWaiting) return;
    stream.isWaiting = false;
    stream.owner.onRoom();
  }

  /** Ends a stream before its time. */
  breakOff(stream: Http2Stream, code: number = errorCode.internal): void {
    this.forget(stream);
    this.reset(stream.id, code);
    stream.isLocalEnded = true;
  }
}
