/**
 * Builds outgoing HTTP/1.1 bytes: heads, chunk framing, content, gathered so that what is ready
 * together leaves in one write. Sans I/O. Memory comes from slabs that are never reused, because a
 * channel may keep what it was given until the kernel takes it.
 */
import type { Http1Head } from "./http1-head.ts";
import { slotWidth } from "./http1-head.ts";

const slabBytes = 64 * 1024;
const cr = 0x0d;
const lf = 0x0a;

export class Http1Writer {
  #slab: Buffer = Buffer.allocUnsafeSlow(slabBytes);
  #start = 0;
  #at = 0;

  /** Bytes written since the last `take()`. */
  get length(): number {
    return this.#at - this.#start;
  }

  /** What was written; the caller owns it. */
  take(): Buffer {
    const bytes = this.#slab.subarray(this.#start, this.#at);
    this.#start = this.#at;
    return bytes;
  }

  /** Forgets what was written since the last `take()`. */
  discard(): void {
    this.#at = this.#start;
  }

  /** Text of one byte per unit; the caller has checked it for line ends. */
  text(value: string): void {
    const { length } = value;
    this.#reserve(length);
    const slab = this.#slab;
    const at = this.#at;
    if (length > 40) {
      slab.write(value, at, "latin1");
    } else {
      for (let index = 0; index < length; index++) slab[at + index] = value.charCodeAt(index);
    }
    this.#at = at + length;
  }

  /** `source[from, to)`. */
  bytes(source: Uint8Array, from: number, to: number): void {
    const length = to - from;
    this.#reserve(length);
    const slab = this.#slab;
    const at = this.#at;
    if (length < 48) {
      for (let index = 0; index < length; index++) slab[at + index] = source[from + index] ?? 0;
    } else {
      slab.set(from === 0 && to === source.length ? source : source.subarray(from, to), at);
    }
    this.#at = at + length;
  }

  /** A header line; nothing is written for a value that would end the line early. */
  field(name: string, value: string): void {
    if (!isFieldText(value)) return;
    this.#reserve(name.length + value.length + 4);
    this.text(name);
    this.text(": ");
    this.text(value);
    this.lineEnd();
  }

  /** Header lines of a head that were not dropped, in their order. */
  fields(head: Http1Head): void {
    const { bytes, slots, dropped, count } = head;
    let field = 0;
    while (field < count) {
      if (dropped[field] !== 0) {
        field++;
        continue;
      }
      const start = slots[field * slotWidth] ?? 0;
      while (field < count && dropped[field] === 0) field++;
      // A run of kept lines stands in the received bytes as it shall leave; the last line ends
      // where the next one starts, or before the empty line.
      const end = field === count ? head.length - 2 : (slots[field * slotWidth] ?? 0);
      this.bytes(bytes, start, end);
    }
  }

  lineEnd(): void {
    this.#reserve(2);
    this.#slab[this.#at] = cr;
    this.#slab[this.#at + 1] = lf;
    this.#at += 2;
  }

  /** One chunk of a chunked body; nothing for no bytes, because an empty chunk ends the body. */
  chunk(source: Uint8Array, from: number, to: number): void {
    if (from === to) return;
    this.text((to - from).toString(16));
    this.lineEnd();
    this.bytes(source, from, to);
    this.lineEnd();
  }

  /** Ends a chunked body, with these trailer fields. */
  lastChunk(trailers: Http1Head | undefined): void {
    this.text("0\r\n");
    if (trailers !== undefined) this.fields(trailers);
    this.lineEnd();
  }

  #reserve(length: number): void {
    if (this.#at + length <= this.#slab.length) return;
    const pending = this.#at - this.#start;
    const larger = Buffer.allocUnsafeSlow(Math.max(slabBytes, (pending + length) * 2));
    this.#slab.copy(larger, 0, this.#start, this.#at);
    this.#slab = larger;
    this.#start = 0;
    this.#at = pending;
  }
}

/** Whether a value can stand in a header line: no control characters, one byte per unit. */
export function isFieldText(value: string): boolean {
  for (let index = 0; index < value.length; index++) {
    const unit = value.charCodeAt(index);
    if ((unit < 0x20 && unit !== 0x09) || unit === 0x7f || unit > 0xff) return false;
  }
  return true;
}

/** Trailer fields that would change how a message is read, routed or authorised (RFC 9110 section 6.5.1). */
const forbiddenTrailers: readonly string[] = [
  "authorization",
  "connection",
  "content-encoding",
  "content-length",
  "content-range",
  "content-type",
  "cookie",
  "expect",
  "host",
  "keep-alive",
  "proxy-authorization",
  "proxy-connection",
  "range",
  "set-cookie",
  "te",
  "trailer",
  "transfer-encoding",
  "upgrade",
  "x-forwarded-client-cert",
  "x-forwarded-for",
  "x-forwarded-host",
  "x-forwarded-proto",
];

/** Takes out of trailers what must not stand there. */
export function dropForbiddenTrailers(trailers: Http1Head): void {
  for (const name of forbiddenTrailers) trailers.dropName(name);
}
