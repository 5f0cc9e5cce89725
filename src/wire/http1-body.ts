/**
 * Finds the content of an HTTP/1.1 body in the bytes that follow a head: by length, in chunks
 * (RFC 9112 section 7.1) or up to the close. Sans I/O: it points into the caller's bytes and copies
 * nothing. Chunk extensions are checked, bounded and left behind; the next hop gets our own framing.
 */
import type { BodyKind, HeadError, HeadLimits } from "./http1-head.ts";
import { Http1Head } from "./http1-head.ts";
import { feedHead } from "./http1-parser.ts";
import { hexTable, tokenTable } from "./http1-tables.ts";

/** What `next()` found. */
export const bodyStep = {
  /** Everything given was read; the body goes on. */
  more: 0,
  /** Content stands in `[dataStart, dataEnd)`. */
  content: 1,
  /** The body ended before `position`. */
  end: 2,
  /** Not a body; the connection cannot be used any further. */
  error: 3,
} as const;

const sizeDigitsMax = 13;
/** Bytes of chunk extensions per body (CVE-2024-22019 was their having no limit). */
const extensionBytesMax = 4096;

type ChunkState =
  | "size"
  | "extension-name"
  | "extension-value"
  | "extension-quoted"
  | "extension-escaped"
  | "extension-after-quote"
  | "size-lf"
  | "data"
  | "data-cr"
  | "data-lf"
  | "trailers"
  | "ended";

export class BodyReader {
  kind: BodyKind = "none";
  /** Where reading goes on in the caller's bytes. */
  position = 0;
  dataStart = 0;
  dataEnd = 0;
  /** Content bytes seen. */
  contentBytes = 0;
  isEnded = true;
  #remaining = 0;
  #state: ChunkState = "size";
  #digits = 0;
  #extensionBytes = 0;
  /** Bytes of the current extension name or value. */
  #tokenBytes = 0;
  #trailers: Http1Head | undefined;
  readonly #limits: HeadLimits;

  constructor(limits: HeadLimits) {
    this.#limits = limits;
  }

  start(kind: BodyKind, length: number): void {
    this.kind = kind;
    this.contentBytes = 0;
    this.isEnded = kind === "none";
    this.#remaining = length;
    this.#state = "size";
    this.#digits = 0;
    this.#extensionBytes = 0;
    this.#trailers?.reset("trailers");
  }

  /** Trailer fields of a chunked body that has ended; undefined when there were none. */
  get trailers(): Http1Head | undefined {
    const trailers = this.#trailers;
    return trailers === undefined || trailers.count === 0 ? undefined : trailers;
  }

  /** What trailer fields have of memory, in bytes. */
  get trailerMemoryBytes(): number {
    return this.#trailers?.memoryBytes ?? 0;
  }

  /** Between two bodies: gives up what unusually large trailers have made it take. */
  trim(): void {
    this.#trailers?.trim();
  }

  /** Why the trailers were refused, if it was they. */
  get error(): HeadError | undefined {
    return this.#trailers?.error;
  }

  /** Reads on at `position`; returns a `bodyStep`. Call again until it says `more`, `end` or `error`. */
  next(chunk: Uint8Array, from: number): number {
    this.position = from;
    if (this.isEnded) return bodyStep.end;
    if (this.kind === "chunked") return this.#nextChunked(chunk);
    const available = chunk.length - from;
    if (available === 0) return bodyStep.more;
    const isCounted = this.kind === "length";
    const step = isCounted ? Math.min(available, this.#remaining) : available;
    if (isCounted) {
      this.#remaining -= step;
      this.isEnded = this.#remaining === 0;
    }
    return this.#content(step);
  }

  /** The peer has closed: whether the body was whole. */
  finish(): boolean {
    if (this.kind === "until-close") this.isEnded = true;
    return this.isEnded;
  }

  #content(step: number): number {
    this.dataStart = this.position;
    this.dataEnd = this.position + step;
    this.position = this.dataEnd;
    this.contentBytes += step;
    return bodyStep.content;
  }

  #nextChunked(chunk: Uint8Array): number {
    while (this.position < chunk.length) {
      if (this.#state === "data") {
        const step = Math.min(chunk.length - this.position, this.#remaining);
        this.#remaining -= step;
        if (this.#remaining === 0) this.#state = "data-cr";
        return this.#content(step);
      }
      if (this.#state === "trailers") return this.#nextTrailers(chunk);
      if (!this.#readByte(chunk[this.position] ?? 0)) {
        this.#state = "ended";
        return bodyStep.error;
      }
      this.position++;
    }
    return bodyStep.more;
  }

  /** One byte of framing; false when it must not stand here. */
  #readByte(byte: number): boolean {
    switch (this.#state) {
      case "size":
        return this.#readSize(byte);
      case "size-lf":
        if (byte !== 0x0a) return false;
        this.#state = this.#remaining === 0 ? "trailers" : "data";
        return true;
      case "data-cr":
        this.#state = "data-lf";
        return byte === 0x0d;
      case "data-lf":
        this.#state = "size";
        this.#digits = 0;
        this.#remaining = 0;
        return byte === 0x0a;
      case "extension-name":
      case "extension-value":
      case "extension-quoted":
      case "extension-escaped":
      case "extension-after-quote":
        return this.#readExtension(byte);
      case "data":
      case "trailers":
      case "ended":
        return false;
    }
  }

  #readSize(byte: number): boolean {
    const digit = hexTable[byte] ?? 255;
    if (digit !== 255) {
      this.#digits++;
      this.#remaining = this.#remaining * 16 + digit;
      return this.#digits <= sizeDigitsMax;
    }
    if (this.#digits === 0) return false;
    return this.#endOfExtension(byte);
  }

  /** After a size, or a whole extension: another extension or the end of the line. */
  #endOfExtension(byte: number): boolean {
    if (byte === 0x0d) {
      this.#state = "size-lf";
      return true;
    }
    this.#state = "extension-name";
    this.#tokenBytes = 0;
    return byte === 0x3b && ++this.#extensionBytes <= extensionBytesMax;
  }

  #readExtension(byte: number): boolean {
    if (++this.#extensionBytes > extensionBytesMax) return false;
    const isFirst = this.#tokenBytes++ === 0;
    const state = this.#state;
    if (state === "extension-name") {
      if (tokenTable[byte] !== 0) return true;
      if (isFirst) return false;
      if (byte !== 0x3d) return this.#endOfExtension(byte);
      this.#state = "extension-value";
      this.#tokenBytes = 0;
      return true;
    }
    if (state === "extension-value") {
      if (isFirst && byte === 0x22) {
        this.#state = "extension-quoted";
        return true;
      }
      return tokenTable[byte] !== 0 || (!isFirst && this.#endOfExtension(byte));
    }
    if (state === "extension-after-quote") return this.#endOfExtension(byte);
    if (state === "extension-escaped") this.#state = "extension-quoted";
    else if (byte === 0x22) this.#state = "extension-after-quote";
    else if (byte === 0x5c) this.#state = "extension-escaped";
    return byte === 0x09 || (byte >= 0x20 && byte !== 0x7f);
  }

  #nextTrailers(chunk: Uint8Array): number {
    this.#trailers ??= newTrailers();
    const trailers = this.#trailers;
    this.position += feedHead(trailers, chunk, this.position, this.#limits);
    if (trailers.error !== undefined) return bodyStep.error;
    if (!trailers.isComplete) return bodyStep.more;
    this.isEnded = true;
    this.#state = "ended";
    return bodyStep.end;
  }
}

function newTrailers(): Http1Head {
  const head = new Http1Head();
  head.reset("trailers");
  return head;
}
