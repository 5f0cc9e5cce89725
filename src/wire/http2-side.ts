/**
 * What the two ends of an HTTP/2 connection do not have in common: which header blocks may come, what
 * they begin, and what is said first. A session has one side; frames and their order are the session's.
 */
import type { HpackDecoder } from "./hpack-decoder.ts";
import { Http1Head } from "./http1-head.ts";
import type { Flood, FloodGuard } from "./http2-floods.ts";
import { BlockMemo } from "./http2-block-memo.ts";
import { errorCode, type Violation, violations } from "./http2-frames.ts";
import { frameHttp2Trailers } from "./http2-framing.ts";
import type { HeaderBlock } from "./http2-header-block.ts";
import type { Http2Sender } from "./http2-sender.ts";
import type { Http2Stream } from "./http2-stream.ts";
import type { Http2Streams } from "./http2-streams.ts";

export interface SessionSide {
  /** What the other end says before its first frame. */
  readonly peerPreface: string;
  /** The last stream of the other end that is served; what is said as such in farewells. */
  readonly lastPeerId: number;
  /** Our settings, which are the first that is sent. */
  start(): void;
  /** HEADERS come for a stream that is not open; the violation when they may not. */
  refusal(streamId: number): Violation | undefined;
  /** The block of this stream is whole. */
  take(streamId: number, block: HeaderBlock): void;
  /** The peer's settings were applied. */
  onPeerSettings(): void;
  /** The peer says farewell: it has not served, and will not serve, streams above `lastId`. */
  onGoAway(lastId: number, code: number): void;
}

/** What a side has to do with. */
export interface SideParts {
  readonly sender: Http2Sender;
  readonly guard: FloodGuard;
  readonly streams: Http2Streams;
  readonly blocks: BlockReader;
  readonly session: { readonly isEnded: boolean; readonly lastServedId: number };
}

/** Reads whole blocks into heads. */
export class BlockReader {
  readonly decoder: HpackDecoder;
  readonly #end: (code: number, why: Violation | Flood) => void;
  /** Of the blocks that messages begin with. */
  readonly memo: BlockMemo;
  /** For blocks that nobody is to see. */
  #scratch: Http1Head | undefined;

  constructor(decoder: HpackDecoder, end: (code: number, why: Violation | Flood) => void) {
    this.decoder = decoder;
    this.memo = new BlockMemo(decoder);
    this.#end = end;
  }

  trim(): void {
    this.#scratch = undefined;
    this.decoder.trim();
    this.memo.trim();
  }

  /** False when the connection has ended for it. */
  read({ bytes, from, to }: HeaderBlock, head: Http1Head): boolean {
    const isSound = this.decoder.decode(bytes, from, to, head);
    if (isSound) return true;
    if (this.decoder.isBomb) this.#end(errorCode.enhanceYourCalm, "head-limit");
    else this.#end(violations["header-block"].code, "header-block");
    return false;
  }

  /** The table must go on as the peer's does, whoever the block was for. */
  skip(block: HeaderBlock): void {
    this.#scratch ??= new Http1Head();
    this.#scratch.reset("trailers");
    this.read(block, this.#scratch);
    this.#scratch.trim();
  }

  /** The block behind the content of a stream. */
  readTrailers(block: HeaderBlock, stream: Http2Stream, streams: Http2Streams): void {
    const { trailers } = stream.owner;
    trailers.reset("trailers");
    if (!this.read(block, trailers)) return;
    if (stream.isRemoteEnded) return streams.fail(stream, "half-closed-stream");
    if (!block.isEndOfStream) return streams.fail(stream, "trailers-without-end");
    const error = frameHttp2Trailers(trailers);
    if (error !== undefined) return streams.onMalformed(stream, error);
    streams.endRemote(stream, trailers.count === 0 ? undefined : trailers);
  }
}
