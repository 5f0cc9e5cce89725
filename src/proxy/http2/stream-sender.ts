/** Sends the answer of one HTTP/2 stream: HEADERS, DATA, trailers. */
import { type Http1Head, slotWidth } from "../../wire/http1-head.ts";
import { known } from "../../wire/http1-tables.ts";
import type { Http2Sender } from "../../wire/http2-sender.ts";
import type { Http2Stream } from "../../wire/http2-stream.ts";
import type { ResponseSender } from "../http/downstream.ts";
import type { MessageHeaders } from "../http/message-headers.ts";

/**
 * Content that may wait on one connection. Each stream has what came in one piece before its endpoint was
 * told to wait; a client that reads may have asked for hundreds in one turn, so a connection beyond its share
 * loses answers only where all together have too much.
 */
const queuedBytesMax = 8 * 1024 * 1024;
const queuedBytesOfAllMax = 16 * 1024 * 1024;

/** Whether so many bytes would have to wait, and may not. */
export function isOverfull(
  { queuedBytes, queuedBytesOfAll, hasRoom, window }: Http2Sender,
  { sendWindow }: Http2Stream,
  bytes: number,
): boolean {
  if (queuedBytes <= queuedBytesMax || queuedBytesOfAll <= queuedBytesOfAllMax) return false;
  return !hasRoom || window < bytes || sendWindow < bytes;
}

export class StreamSender implements ResponseSender {
  readonly closesAfterBody = false;
  readonly #frames: Http2Sender;
  #stream: Http2Stream | undefined;
  /** Content that the answer's head promised and that has not been sent; -1 where it promised nothing. */
  #contentLeft = -1;
  readonly #onOverflow: () => void;
  /** There was no place for a part of the answer. */
  #hasOverflowed = false;

  /** `onOverflow`: the answer cannot become whole; told when what is in hand has been read. */
  constructor(frames: Http2Sender, onOverflow: () => void) {
    this.#frames = frames;
    this.#onOverflow = onOverflow;
  }

  attach(stream: Http2Stream | undefined): void {
    this.#stream = stream;
    this.#hasOverflowed = false;
  }

  reset(): void {
    this.#contentLeft = -1;
  }

  interim(): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    const writer = this.#frames.beginHead(stream.id);
    this.#frames.encoder.status(writer, 100);
    this.#frames.endHead(stream, false);
    this.flush();
  }

  beginBody(head: Http1Head): void {
    // Of HTTP/2 trailers may follow, whatever the length is: the end is not before it has come.
    this.#contentLeft = head.bodyKind === "length" && !head.isHttp2 ? head.bodyLength : -1;
    head.dropId(known.transferEncoding);
  }

  head(
    status: number,
    headers: MessageHeaders,
    ...[, isEnd]: [connection: unknown, isEnd: boolean]
  ): void {
    const stream = this.#stream;
    if (stream === undefined) return;
    const { encoder } = this.#frames;
    const writer = this.#frames.beginHead(stream.id);
    stream.isAnswered = true;
    // HTTP/2 has no 101: what was asked for by CONNECT begins with success (RFC 8441 section 5).
    const isSwitch = status === 101;
    encoder.status(writer, isSwitch ? 200 : status);
    const { head } = headers;
    if (isSwitch) head?.dropId(known.contentLength);
    if (head !== undefined) {
      const { count, dropped } = head;
      for (let field = 0; field < count; field++) {
        if (dropped[field] === 0 && !isOfConnection(head, field)) {
          encoder.fieldOf(writer, head, field);
        }
      }
    }
    for (let at = 0; at < headers.ownCount; at++) {
      // An answer of ours that is nothing but its head says so by ending.
      if (isEnd && head === undefined && headers.ownName(at) === "content-length") continue;
      // As on HTTP/1.1: what would break a line is not sent.
      encoder.field(writer, headers.ownName(at), headers.ownValue(at));
    }
    this.#frames.endHead(stream, isEnd);
  }

  ownBody(text: string): void {
    const bytes = Buffer.from(text, "latin1");
    if (this.#stream !== undefined) this.#frames.lastContent(this.#stream, bytes, 0, bytes.length);
  }

  body(chunk: Buffer, from: number, to: number): void {
    const stream = this.#stream;
    if (stream === undefined || from === to) return;
    this.#hasOverflowed ||= isOverfull(this.#frames, stream, to - from);
    if (this.#hasOverflowed) return;
    if (this.#contentLeft >= 0) this.#contentLeft -= to - from;
    if (this.#contentLeft === 0) this.#frames.lastContent(stream, chunk, from, to);
    else this.#frames.content(stream, chunk, from, to);
  }

  end(trailers: Http1Head | undefined): void {
    const stream = this.#stream;
    if (stream === undefined || stream.isLocalEnded || stream.isEndQueued) return;
    // They wait where content does, and an endpoint may make them as long as heads.
    this.#hasOverflowed ||=
      trailers !== undefined && isOverfull(this.#frames, stream, stream.queuedBytes);
    if (!this.#hasOverflowed) this.#frames.end(stream, trailers);
  }

  flush(): boolean {
    if (this.#hasOverflowed) this.#onOverflow();
    const hasRoom = this.#frames.flushSoon();
    const stream = this.#stream;
    if (stream === undefined) return true;
    if (hasRoom && stream.queuedBytes === 0) return true;
    stream.isWaiting = true;
    return false;
  }
}

/** Fields of one HTTP/1.1 connection (RFC 9113 section 8.2.2); a name that is none stands nowhere else. */
export function isOfConnection(head: Http1Head, field: number): boolean {
  switch (head.ids[field] ?? known.other) {
    case known.connection:
    case known.keepAlive:
    case known.proxyConnection:
    case known.transferEncoding:
    case known.upgrade:
      return true;
    default:
      return (head.slots[field * slotWidth + 1] ?? 0) === (head.slots[field * slotWidth] ?? 0);
  }
}
