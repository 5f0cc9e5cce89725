/**
 * gRPC-Web's forms of gRPC's bytes (PROTOCOL-WEB.md): base64 that comes and leaves in pieces of any
 * length, and trailers as the last frame of a body. Sans I/O; nothing is kept but what does not fill
 * three bytes or four characters.
 */
import { grpcPrefixBytes } from "./grpc.ts";
import type { Http1Head } from "./http1-head.ts";

const characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
const padding = 0x3d;
const unknown = 255;
const values = new Uint8Array(256).fill(unknown);
for (let value = 0; value < 64; value++) values[characters.charCodeAt(value)] = value;

/** Reads base64 with its padding, of one text or of several one behind the other. */
export class Base64Reader {
  /** Characters of the group of four in hand, six bits each. */
  #bits = 0;
  #count = 0;
  #paddings = 0;

  /** False after `read()` where a group of four has begun and is not whole. */
  get isWhole(): boolean {
    return this.#count === 0;
  }

  /** The bytes that `chunk[from, to)` completes; undefined where it is not base64. */
  read(chunk: Uint8Array, from: number, to: number): Buffer | undefined {
    const bytes = Buffer.allocUnsafe((((to - from + this.#count) >> 2) + 1) * 3);
    let length = 0;
    for (let at = from; at < to; at++) {
      const character = chunk[at] ?? 0;
      if (character === padding) this.#paddings++;
      else {
        const value = values[character] ?? unknown;
        // Nothing but padding follows padding in a group.
        if (value === unknown || this.#paddings > 0) return undefined;
        this.#bits = (this.#bits << 6) | value;
      }
      if (++this.#count < 4) continue;
      const taken = this.#takeGroup(bytes, length);
      if (taken === 0) return undefined;
      length += taken;
    }
    return bytes.subarray(0, length);
  }

  /** How many bytes; 0 where its padding, or what it leaves unused, is not as it must be. */
  #takeGroup(bytes: Buffer, at: number): number {
    const paddings = this.#paddings;
    const bits = this.#bits << (6 * paddings);
    this.#bits = 0;
    this.#count = 0;
    this.#paddings = 0;
    if (paddings > 2 || (bits & ((1 << (8 * paddings)) - 1)) !== 0) return 0;
    bytes[at] = bits >>> 16;
    bytes[at + 1] = bits >>> 8;
    bytes[at + 2] = bits;
    return 3 - paddings;
  }
}

/** Writes gRPC's frames in base64 as they come, each with a padding of its own. */
export class GrpcFrameTextWriter {
  /** Bytes that wait for others to make three. */
  readonly #rest: Buffer = Buffer.alloc(2);
  #restBytes = 0;
  /** Bytes of the prefix in hand that have come, and the length that they say. */
  #prefixBytes = 0;
  #length = 0;
  /** Bytes of the frame behind its prefix that have not come. */
  #left = 0;

  write(chunk: Buffer, from: number, to: number): Buffer {
    let text = "";
    let begin = from;
    let at = from;
    while (at < to) {
      if (this.#left > 0) {
        const taken = Math.min(this.#left, to - at);
        this.#left -= taken;
        at += taken;
      } else this.#readPrefix(chunk[at++] ?? 0);
      if (this.#left > 0 || this.#prefixBytes > 0) continue;
      text += this.#encode(chunk, begin, at) + this.#pad();
      begin = at;
    }
    return Buffer.from(text + this.#encode(chunk, begin, to), "latin1");
  }

  /** What waits, where a frame has begun and is not whole. */
  end(): Buffer {
    return Buffer.from(this.#pad(), "latin1");
  }

  #readPrefix(byte: number): void {
    // The first byte says how its message is compressed.
    this.#length = this.#prefixBytes === 0 ? 0 : this.#length * 256 + byte;
    if (++this.#prefixBytes < grpcPrefixBytes) return;
    this.#prefixBytes = 0;
    this.#left = this.#length;
  }

  #encode(chunk: Buffer, from: number, to: number): string {
    const rest = this.#restBytes;
    const part = chunk.subarray(from, to);
    const bytes = rest === 0 ? part : Buffer.concat([this.#rest.subarray(0, rest), part]);
    const whole = bytes.length - (bytes.length % 3);
    bytes.copy(this.#rest, 0, whole);
    this.#restBytes = bytes.length - whole;
    return bytes.toString("base64", 0, whole);
  }

  #pad(): string {
    const text = this.#rest.toString("base64", 0, this.#restBytes);
    this.#restBytes = 0;
    return text;
  }
}

const trailersFlag = 0x80;

/** The frame that trailers are in gRPC-Web. */
export function grpcWebTrailers(trailers: Http1Head): Buffer {
  let text = "";
  for (let field = 0; field < trailers.count; field++) {
    if (trailers.dropped[field] !== 0) continue;
    text += `${trailers.nameAt(field)}:${trailers.valueAt(field)}\r\n`;
  }
  const frame = Buffer.alloc(grpcPrefixBytes + text.length);
  frame[0] = trailersFlag;
  frame.writeUInt32BE(text.length, 1);
  frame.write(text, grpcPrefixBytes, "latin1");
  return frame;
}
