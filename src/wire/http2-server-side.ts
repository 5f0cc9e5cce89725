/** The server's side of an HTTP/2 connection: header blocks are requests, and begin streams. */
import { initialTableBytes } from "./hpack-decoder.ts";
import type { HeadError } from "./http1-head.ts";
import { preface, setting, type Violation } from "./http2-frames.ts";
import { frameHttp2Request } from "./http2-framing.ts";
import type { HeaderBlock } from "./http2-header-block.ts";
import type { Http2Settings, ServerHandler } from "./http2-session.ts";
import type { SessionSide, SideParts } from "./http2-side.ts";
import type { Http2Stream } from "./http2-stream.ts";

export class ServerSide implements SessionSide {
  readonly peerPreface: string = preface;
  readonly #settings: Http2Settings;
  readonly #handler: ServerHandler;
  readonly #parts: SideParts;

  constructor(settings: Http2Settings, handler: ServerHandler, parts: SideParts) {
    this.#settings = settings;
    this.#handler = handler;
    this.#parts = parts;
  }

  get lastPeerId(): number {
    return this.#parts.streams.lastId;
  }

  start(): void {
    const { maxConcurrentStreams, streamWindow, tableBytes, limits, allowsConnect } =
      this.#settings;
    const entries: [id: number, value: number][] = [
      [setting.maxConcurrentStreams, maxConcurrentStreams],
      [setting.initialWindow, streamWindow],
      [setting.maxHeadBytes, limits.headBytesMax],
    ];
    if (allowsConnect === true) entries.push([setting.enableConnectProtocol, 1]);
    if (tableBytes !== initialTableBytes) entries.unshift([setting.headerTableBytes, tableBytes]);
    this.#parts.sender.settings(entries);
    this.#parts.streams.window.start();
  }

  refusal(streamId: number): Violation | undefined {
    const { streams } = this.#parts;
    const isNew = streamId > streams.lastId;
    if (isNew && streamId % 2 === 0) return "stream-id";
    const closed = isNew ? "by-us" : streams.closed.find(streamId);
    if (closed === "by-us") return undefined;
    return closed === "ended" ? "closed-stream" : "stream-id";
  }

  take(streamId: number, block: HeaderBlock): void {
    const { streams, blocks, guard, session } = this.#parts;
    const stream = streams.open.get(streamId);
    if (stream !== undefined) return blocks.readTrailers(block, stream, streams);
    if (streamId > session.lastServedId) streams.passedId = Math.max(streams.passedId, streamId);
    if (streamId <= streams.lastId || streamId > session.lastServedId) return blocks.skip(block);
    streams.lastId = streamId;
    guard.streams++;
    const isFull = streams.open.size >= this.#settings.maxConcurrentStreams;
    const owner = isFull ? undefined : this.#handler.serve();
    if (owner !== undefined)
      return this.#begin(streams.begin(streamId, owner, block.isEndOfStream), block);
    blocks.skip(block);
    if (!session.isEnded) streams.refuse(streamId);
  }

  #begin(stream: Http2Stream, block: HeaderBlock): void {
    const { streams, blocks } = this.#parts;
    const { isEndOfStream } = block;
    const { owner } = stream;
    const { head } = owner;
    const kind = isEndOfStream ? 1 : 0;
    if (!blocks.memo.recall(block, kind, head)) {
      const { changes } = blocks.decoder;
      head.reset("request");
      if (!blocks.read(block, head)) return;
      const error = frameHttp2Request(head, isEndOfStream, this.#settings.allowsConnect);
      if (error !== undefined) return this.#refuse(stream, block, error);
      blocks.memo.note(block, kind, changes, head);
    }
    if (block.isOwnParent) return streams.fail(stream, "self-dependency");
    if (!streams.keepHead(stream, head.length))
      return streams.onMalformed(stream, "head-too-large");
    if (head.bodyKind === "length") stream.contentLeft = head.bodyLength;
    owner.onHead(isEndOfStream);
  }

  /** What it depends on is wrong before what it says. */
  #refuse(stream: Http2Stream, block: HeaderBlock, error: HeadError): void {
    const { streams } = this.#parts;
    if (block.isOwnParent) streams.fail(stream, "self-dependency");
    else streams.onMalformed(stream, error);
  }

  onPeerSettings(): void {
    // They concern what is sent, and were applied there.
  }

  onGoAway(): void {
    // A client that begins no streams any more need not be answered.
  }
}
