/**
 * Builds outgoing HTTP/1.1 bytes: heads, chunk framing, content, gathered so that what is ready
 * together leaves in one write. Sans I/O. Its memory is used again and again: whoever writes it must
 * be done with it, or copy, before the next byte is added.
 */
import type { Http1Head } from "./http1-head.ts";
import { slotWidth } from "./http1-head.ts";
import { NameSet } from "./name-set.ts";

const slabBytes = 64 * 1024;
/** More than this is given back as soon as it has been written. */
const keptBytesMax = 256 * 1024;
/** From here on a call into C++ is cheaper than a loop. */
const longTextUnits = 100;
const longRunBytes = 48;
const cr = 0x0d;
const lf = 0x0a;
/** Node's global `Buffer` is a getter, which would be called each time. */
const NodeBuffer = Buffer;

export class Http1Writer {
  /** What was written since the last `discard()` stands at its start. */
  memory: Buffer = Buffer.allocUnsafeSlow(slabBytes);
  /** Bytes written since the last `discard()`. */
  length = 0;

  /** Forgets what was written; the memory stays as it is until something is added. */
  discard(): void {
    this.length = 0;
    if (this.memory.length > keptBytesMax) this.memory = Buffer.allocUnsafeSlow(slabBytes);
  }

  /** A copy of what was written. */
  take(): Buffer {
    const bytes = Buffer.from(this.memory.subarray(0, this.length));
    this.discard();
    return bytes;
  }

  /** Text of one byte per unit; the caller has checked it for line ends. */
  text(value: string): void {
    const { length } = value;
    this.#reserve(length);
    const slab = this.memory;
    const at = this.length;
    if (length > longTextUnits) {
      slab.write(value, at, "latin1");
    } else {
      for (let index = 0; index < length; index++) slab[at + index] = value.charCodeAt(index);
    }
    this.length = at + length;
  }

  /** `source[from, to)`. */
  bytes(source: Uint8Array, from: number, to: number): void {
    const length = to - from;
    this.#reserve(length);
    const slab = this.memory;
    const at = this.length;
    if (length < longRunBytes) {
      for (let index = 0; index < length; index++) slab[at + index] = source[from + index] ?? 0;
    } else if (NodeBuffer.isBuffer(source)) {
      source.copy(slab, at, from, to);
    } else {
      slab.set(source.subarray(from, to), at);
    }
    this.length = at + length;
  }

  /** A header line; nothing is written for a value that would end the line early. */
  field(name: string, value: string): void {
    const start = this.length;
    this.text(name);
    this.text(": ");
    const { length } = value;
    this.#reserve(length);
    const slab = this.memory;
    const at = this.length;
    for (let index = 0; index < length; index++) {
      const unit = value.charCodeAt(index);
      if (!isFieldUnit(unit)) {
        this.length = start;
        return;
      }
      slab[at + index] = unit;
    }
    this.length = at + length;
    this.lineEnd();
  }

  /** Header lines of a head that were not dropped, in their order. */
  fields(head: Http1Head): void {
    const { restatedField: restated, count } = head;
    if (restated < 0) {
      this.#fieldsBetween(head, 0, count);
      return;
    }
    this.#fieldsBetween(head, 0, restated);
    if (head.dropped[restated] === 0) this.field(head.nameAt(restated), head.valueAt(restated));
    this.#fieldsBetween(head, restated + 1, count);
  }

  #fieldsBetween(head: Http1Head, from: number, to: number): void {
    const { bytes, slots, dropped, count } = head;
    let field = from;
    while (field < to) {
      if (dropped[field] !== 0) {
        field++;
        continue;
      }
      const start = slots[field * slotWidth] ?? 0;
      while (field < to && dropped[field] === 0) field++;
      // A run of kept lines stands in the received bytes as it shall leave; the last line ends
      // where the next one starts, or before the empty line.
      const end = field === count ? head.length - 2 : (slots[field * slotWidth] ?? 0);
      this.bytes(bytes, start, end);
    }
  }

  lineEnd(): void {
    this.#reserve(2);
    this.memory[this.length] = cr;
    this.memory[this.length + 1] = lf;
    this.length += 2;
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
    const needed = this.length + length;
    if (needed <= this.memory.length) return;
    const larger = Buffer.allocUnsafeSlow(needed * 2);
    this.memory.copy(larger, 0, 0, this.length);
    this.memory = larger;
  }
}

/** Whether a value can stand in a header line, and ends there. */
export function isFieldValue(value: string): boolean {
  for (let at = 0; at < value.length; at++) if (!isFieldUnit(value.charCodeAt(at))) return false;
  return true;
}

/** Whether a unit can stand in a header line: no control characters, one byte per unit. */
function isFieldUnit(unit: number): boolean {
  return (unit >= 0x20 || unit === 0x09) && unit !== 0x7f && unit <= 0xff;
}

/** Trailer fields that would change how a message is read, routed or authorised (RFC 9110 section 6.5.1). */
const forbiddenTrailers = new NameSet([
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
]);

/** Takes out of trailers what must not stand there. */
export function dropForbiddenTrailers(trailers: Http1Head): void {
  forbiddenTrailers.dropFrom(trailers);
}
