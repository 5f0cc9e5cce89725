/**
 * Finds HTTP/2 frames in the bytes of a connection (RFC 9113 section 4.1), wherever they are cut. Sans
 * I/O: a frame that stands whole in a chunk is pointed at there, one that does not is gathered; the
 * content of DATA frames is pointed at as it comes. One object, no object for a frame.
 */
import { frameBytesMax, frameFlag, frameHeadBytes, frameType } from "./http2-frames.ts";

/** What `next()` found. */
export const frameStep = {
  /** Everything given was read; a frame goes on, or the next one begins. */
  more: 0,
  /** A whole frame, not DATA: its payload is `bytes[start, end)`. */
  frame: 1,
  /** A DATA frame begins: its length, padding and all, is `length`. */
  dataBegin: 2,
  /** Content of the DATA frame: `bytes[start, end)`. */
  data: 3,
  /** The DATA frame is over. */
  dataEnd: 4,
  tooLarge: 5,
  /** More padding than the frame is long. */
  badPadding: 6,
} as const;

const noBytes = Buffer.alloc(0);

type State = "head" | "payload" | "pad-length" | "data" | "data-padding";

export class FrameReader {
  type = 0;
  flags = 0;
  streamId = 0;
  /** Of the payload. */
  length = 0;
  bytes: Buffer = noBytes;
  start = 0;
  end = 0;
  /** Where reading goes on in the caller's bytes. */
  position = 0;
  #state: State = "head";
  /** Of a head that is cut in pieces, which hardly one is. */
  #head: Buffer | undefined;
  #headBytes = 0;
  #payload: Buffer | undefined;
  #payloadBytes = 0;
  /** Of the DATA frame: content, then padding. */
  #contentLeft = 0;
  #paddingLeft = 0;

  /** Between two frames. */
  get isAtFrame(): boolean {
    return this.#state === "head" && this.#headBytes === 0;
  }

  /** Lets go of the last frame, and of memory for such as came in pieces. */
  trim(): void {
    this.bytes = noBytes;
    if (this.isAtFrame) this.#payload = undefined;
  }

  /** Reads on at `from`; returns a `frameStep`. */
  next(chunk: Buffer, from: number): number {
    this.position = from;
    switch (this.#state) {
      case "head":
        return this.#readHead(chunk);
      case "payload":
        return this.#readPayload(chunk);
      case "pad-length":
        return this.#readPadLength(chunk);
      case "data":
        return this.#readData(chunk);
      case "data-padding":
        return this.#skipPadding(chunk);
    }
  }

  #readHead(chunk: Buffer): number {
    let head = chunk;
    let at = this.position;
    if (at === chunk.length) return frameStep.more;
    const missing = frameHeadBytes - this.#headBytes;
    if (this.#headBytes > 0 || chunk.length - at < frameHeadBytes) {
      const step = Math.min(missing, chunk.length - at);
      this.#head ??= Buffer.alloc(frameHeadBytes);
      chunk.copy(this.#head, this.#headBytes, at, at + step);
      this.#headBytes += step;
      this.position = at + step;
      if (step < missing) return frameStep.more;
      head = this.#head;
      at = 0;
      this.#headBytes = 0;
    } else {
      this.position = at + frameHeadBytes;
    }
    this.length = ((head[at] ?? 0) << 16) | ((head[at + 1] ?? 0) << 8) | (head[at + 2] ?? 0);
    this.type = head[at + 3] ?? 0;
    this.flags = head[at + 4] ?? 0;
    // The highest bit is reserved and means nothing.
    this.streamId = head.readUInt32BE(at + 5) & 0x7fff_ffff;
    if (this.length > frameBytesMax) return frameStep.tooLarge;
    if (this.type !== frameType.data) {
      this.#state = "payload";
      return this.#readPayload(chunk);
    }
    const isPadded = (this.flags & frameFlag.padded) !== 0;
    if (isPadded && this.length === 0) return frameStep.badPadding;
    this.#contentLeft = this.length;
    this.#paddingLeft = 0;
    this.#state = isPadded ? "pad-length" : "data";
    return frameStep.dataBegin;
  }

  #readPayload(chunk: Buffer): number {
    const at = this.position;
    const available = chunk.length - at;
    if (this.#payloadBytes === 0 && available >= this.length) {
      this.bytes = chunk;
      this.start = at;
      this.end = at + this.length;
      this.position = this.end;
      this.#state = "head";
      return frameStep.frame;
    }
    this.#payload ??= Buffer.allocUnsafeSlow(frameBytesMax);
    const step = Math.min(this.length - this.#payloadBytes, available);
    chunk.copy(this.#payload, this.#payloadBytes, at, at + step);
    this.#payloadBytes += step;
    this.position = at + step;
    if (this.#payloadBytes < this.length) return frameStep.more;
    this.bytes = this.#payload;
    this.start = 0;
    this.end = this.length;
    this.#payloadBytes = 0;
    this.#state = "head";
    return frameStep.frame;
  }

  #readPadLength(chunk: Buffer): number {
    const at = this.position;
    if (at === chunk.length) return frameStep.more;
    const padding = chunk[at] ?? 0;
    this.position = at + 1;
    if (padding >= this.length) return frameStep.badPadding;
    this.#contentLeft = this.length - 1 - padding;
    this.#paddingLeft = padding;
    this.#state = "data";
    return this.#readData(chunk);
  }

  #readData(chunk: Buffer): number {
    if (this.#contentLeft === 0) {
      this.#state = "data-padding";
      return this.#skipPadding(chunk);
    }
    const at = this.position;
    const step = Math.min(this.#contentLeft, chunk.length - at);
    if (step === 0) return frameStep.more;
    this.bytes = chunk;
    this.start = at;
    this.end = at + step;
    this.position = this.end;
    this.#contentLeft -= step;
    return frameStep.data;
  }

  #skipPadding(chunk: Buffer): number {
    const step = Math.min(this.#paddingLeft, chunk.length - this.position);
    this.#paddingLeft -= step;
    this.position += step;
    if (this.#paddingLeft > 0) return frameStep.more;
    this.#state = "head";
    return frameStep.dataEnd;
  }
}
