/** The client's side of an HTTP/2 connection: streams are begun here, and header blocks are answers. */
import { initialTableBytes } from "./hpack-decoder.ts";
import { plainHeadLimits } from "./http1-head.ts";
import { setting, type Violation } from "./http2-frames.ts";
import type { HeaderBlock } from "./http2-header-block.ts";
import { frameHttp2Response } from "./http2-response-framing.ts";
import type { ClientHandler, Http2Settings } from "./http2-session.ts";
import type { SessionSide, SideParts } from "./http2-side.ts";
import type { Http2Stream } from "./http2-stream.ts";

/** Interim answers (1xx) tolerated before one request's final answer. */
const interimsMax = 16;

export class ClientSide implements SessionSide {
  readonly peerPreface = "";
  /** Servers begin no streams: push is off. */
  readonly lastPeerId = 0;
  readonly #settings: Http2Settings;
  readonly #handler: ClientHandler;
  readonly #parts: SideParts;

  constructor(settings: Http2Settings, handler: ClientHandler, parts: SideParts) {
    this.#settings = settings;
    this.#handler = handler;
    this.#parts = parts;
  }

  start(): void {
    const { streamWindow, tableBytes, limits } = this.#settings;
    const { sender, streams } = this.#parts;
    const entries: [id: number, value: number][] = [
      [setting.enablePush, 0],
      [setting.initialWindow, streamWindow],
      [setting.maxHeadBytes, limits.headBytesMax],
    ];
    if (tableBytes !== initialTableBytes) entries.unshift([setting.headerTableBytes, tableBytes]);
    sender.preface();
    sender.settings(entries);
    streams.window.start();
  }

  refusal(streamId: number): Violation | undefined {
    const { streams } = this.#parts;
    if (streamId % 2 === 0 || streamId > streams.lastId) return "stream-id";
    // What was closed too long ago to be remembered may still be on its way.
    return streams.closed.find(streamId) === "ended" ? "closed-stream" : undefined;
  }

  take(streamId: number, block: HeaderBlock): void {
    const { streams, blocks } = this.#parts;
    const stream = streams.open.get(streamId);
    if (stream === undefined) return blocks.skip(block);
    if (stream.isAnswered) return blocks.readTrailers(block, stream, streams);
    this.#onAnswer(block, stream);
  }

  #onAnswer(block: HeaderBlock, stream: Http2Stream): void {
    const { streams, blocks } = this.#parts;
    const { owner } = stream;
    const { head } = owner;
    const { isEndOfStream } = block;
    const kind = (isEndOfStream ? 1 : 0) + (stream.isHead ? 2 : 0);
    if (!blocks.memo.recall(block, kind, head)) {
      const { changes } = blocks.decoder;
      head.reset("response");
      if (!blocks.read(block, head)) return;
      const error = frameHttp2Response(head, { isEnd: isEndOfStream, isToHead: stream.isHead });
      if (error !== undefined) return streams.onMalformed(stream, error);
      blocks.memo.note(block, kind, changes, head);
    }
    // Endpoints answer as many streams as there are: what is usual of each is bounded by their number.
    const { length } = head;
    if (!streams.keepHead(stream, length > plainHeadLimits.headBytesMax ? length : 0)) {
      return streams.onMalformed(stream, "head-too-large");
    }
    if (head.status < 200) {
      if (++stream.interims > interimsMax) return streams.onMalformed(stream, "syntax");
      return owner.onInterim?.(head.status);
    }
    stream.isAnswered = true;
    if (head.bodyKind === "length") stream.contentLeft = head.bodyLength;
    else if (head.bodyKind === "none") stream.contentLeft = 0;
    owner.onHead(isEndOfStream);
    if (isEndOfStream && !stream.isClosed) streams.endRemote(stream, undefined);
  }

  onPeerSettings(): void {
    this.#handler.onPeerSettings();
  }

  onGoAway(lastId: number, code: number): void {
    this.#handler.onGoAway(code);
    this.#parts.streams.leaveAbove(lastId);
  }
}
