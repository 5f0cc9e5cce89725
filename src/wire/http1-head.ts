/**
 * A message head as offsets into its own bytes. Strings are made only when asked for. One object
 * serves one message after another, so nothing here is allocated per message. Parsing is in
 * `http1-parser.ts`; what the fields mean for framing is in `http1-framing.ts`.
 */
import type { HeadSpelling } from "./header-case.ts";
import { hashName, hashOf } from "./http1-tables.ts";

export interface HeadLimits {
  /** The whole head with its line ends, in bytes. */
  readonly headBytesMax: number;
  readonly fieldsMax: number;
}

export const defaultHeadLimits: HeadLimits = { headBytesMax: 60 * 1024, fieldsMax: 100 };

/** A head within these limits never holds more memory than `plainHeadBytes`: what is full is doubled. */
export const plainHeadLimits: HeadLimits = { headBytesMax: 63 * 1024, fieldsMax: 1024 };
export const plainHeadBytes: number = 160 * 1024;

/** Why a head was refused; `http1-parser.ts` and `http1-framing.ts` say when. */
export type HeadError =
  | "syntax"
  | "invalid-character"
  | "invalid-method"
  | "invalid-target"
  | "version"
  | "head-too-large"
  | "too-many-fields"
  | "content-length"
  | "transfer-encoding"
  | "transfer-encoding-unknown"
  | "content-length-and-chunked"
  | "transfer-encoding-not-allowed"
  | "host-missing"
  | "host-invalid"
  | "connection-header"
  | "expectation"
  | "body-not-allowed";

export type HeadKind = "request" | "response" | "trailers";

/** How the bytes after a head are delimited. */
export type BodyKind = "none" | "length" | "chunked" | "until-close";

/** Numbers per field in `Http1Head.slots`. */
export const slotWidth = 4;

const firstCapacityBytes = 2048;
const firstCapacityFields = 32;
const slotsAt = firstCapacityBytes;
const hashesAt = slotsAt + firstCapacityFields * slotWidth * 4;
const idsAt = hashesAt + firstCapacityFields * 4;
const droppedAt = idsAt + firstCapacityFields;
const memoryBytes = droppedAt + firstCapacityFields;
/** Of a field: its slots, its hash, its number and whether it was dropped. */
const fieldBytes = slotWidth * 4 + 4 + 1 + 1;
/**
 * Heads of a few connections lie side by side: five allocations for each would be most of what a new
 * connection costs. One that lives long holds the others' memory, so they are few.
 */
const headsPerSlab = 8;
let slab: ArrayBufferLike = new ArrayBuffer(0);
let slabAt = 0;

/** Where in `slab` a new head may have its memory. */
function carve(): number {
  if (slabAt + memoryBytes > slab.byteLength) {
    slab = Buffer.allocUnsafeSlow(memoryBytes * headsPerSlab).buffer;
    slabAt = 0;
  }
  const at = slabAt;
  slabAt += memoryBytes;
  return at;
}

export class Http1Head {
  kind: HeadKind = "request";
  /** Holds the head in `[0, length)`; names are lower-case in place. */
  bytes: Buffer;
  /** Bytes of the head received; all of it once `isComplete`. */
  length = 0;
  isComplete = false;
  error: HeadError | undefined = undefined;
  /** Request line: method is `[lineStart, methodEnd)`, target `[methodEnd + 1, targetEnd)`. */
  lineStart = 0;
  methodEnd = 0;
  targetEnd = 0;
  /** 0 or 1: HTTP/1.0 or HTTP/1.1. */
  minorVersion = 1;
  /** It came as a block of HTTP/2, and stands here as it would in HTTP/1.1. */
  isHttp2 = false;
  /** Response only; its reason phrase is `[reasonStart, reasonEnd)`. */
  status = 0;
  reasonStart = 0;
  reasonEnd = 0;
  /** Fields, and per field: name start, name end, value start, value end. */
  count = 0;
  slots: Int32Array;
  hashes: Int32Array;
  ids: Uint8Array;
  /** 1 where a field is not to be seen or forwarded any more. */
  dropped: Uint8Array;
  /** Parser's place: start of the line being read, and how far no line feed was found. */
  parsePosition = 0;
  scannedTo = 0;
  isStartLineRead = false;
  /** What `http1-framing.ts` found. */
  bodyKind: BodyKind = "none";
  bodyLength = 0;
  /** An answer without a body whose fields do not say so: HTTP/1.1 must. */
  lacksLength = false;
  /** The field that says where the body ends, if it is to be written otherwise than it came; or -1. */
  restatedField = -1;
  isKeepAlive = true;
  /** How long the sender keeps the connection when it is idle; 0 when it does not say. */
  keepAliveSeconds = 0;
  hasUpgrade = false;
  expectsContinue = false;
  acceptsTrailers = false;
  /** Where names shall leave as they came. */
  spelling: HeadSpelling | undefined = undefined;
  /** A length beside a chunked body is left out, where it is refused otherwise. */
  forgivesLength = false;

  constructor() {
    const at = carve();
    this.bytes = Buffer.from(slab, at, firstCapacityBytes);
    this.slots = new Int32Array(slab, at + slotsAt, firstCapacityFields * slotWidth);
    this.hashes = new Int32Array(slab, at + hashesAt, firstCapacityFields);
    this.ids = new Uint8Array(slab, at + idsAt, firstCapacityFields);
    this.dropped = new Uint8Array(slab, at + droppedAt, firstCapacityFields);
  }

  /** What it has of memory for a message, in bytes. */
  get memoryBytes(): number {
    return this.bytes.length + this.ids.length * fieldBytes;
  }

  /** Gives up what an unusually large message has made it take, and that message's fields with it. */
  trim(): void {
    if (this.memoryBytes <= plainHeadBytes) return;
    this.length = 0;
    this.count = 0;
    this.parsePosition = 0;
    this.scannedTo = 0;
    const small = new Http1Head();
    this.bytes = small.bytes;
    this.slots = small.slots;
    this.hashes = small.hashes;
    this.ids = small.ids;
    this.dropped = small.dropped;
  }

  reset(kind: HeadKind): void {
    this.kind = kind;
    this.length = 0;
    this.isComplete = false;
    this.error = undefined;
    this.lineStart = 0;
    this.methodEnd = 0;
    this.targetEnd = 0;
    this.status = 0;
    this.count = 0;
    this.parsePosition = 0;
    this.scannedTo = 0;
    this.isStartLineRead = kind === "trailers";
    this.bodyKind = "none";
    this.bodyLength = 0;
    this.lacksLength = false;
    this.restatedField = -1;
    this.isKeepAlive = true;
    this.keepAliveSeconds = 0;
    this.hasUpgrade = false;
    this.expectsContinue = false;
    this.acceptsTrailers = false;
  }

  /** Becomes as a complete head of HTTP/2 is, in its own memory. */
  copyFrom(other: Http1Head): void {
    const { count } = other;
    // The request line stands behind the fields.
    const used = Math.max(other.length, other.targetEnd);
    if (used > this.bytes.length) this.growBytes(used);
    while (count > this.ids.length) this.growFields();
    copyRun(other.bytes, this.bytes, used);
    copyRun(other.slots, this.slots, count * slotWidth);
    copyRun(other.hashes, this.hashes, count);
    copyRun(other.ids, this.ids, count);
    copyRun(other.dropped, this.dropped, count);
    this.reset(other.kind);
    this.length = other.length;
    this.count = count;
    this.isComplete = other.isComplete;
    this.isStartLineRead = other.isStartLineRead;
    this.error = other.error;
    this.lineStart = other.lineStart;
    this.methodEnd = other.methodEnd;
    this.targetEnd = other.targetEnd;
    this.minorVersion = other.minorVersion;
    this.isHttp2 = other.isHttp2;
    this.status = other.status;
    this.bodyKind = other.bodyKind;
    this.bodyLength = other.bodyLength;
    this.lacksLength = other.lacksLength;
    this.restatedField = other.restatedField;
    this.hasUpgrade = other.hasUpgrade;
    this.expectsContinue = other.expectsContinue;
    this.acceptsTrailers = other.acceptsTrailers;
  }

  /** Makes room for `bytesNeeded` in all; keeps what is there. */
  growBytes(bytesNeeded: number): void {
    const larger = Buffer.allocUnsafeSlow(Math.max(bytesNeeded, this.bytes.length * 2));
    this.bytes.copy(larger, 0, 0, this.length);
    this.bytes = larger;
  }

  growFields(): void {
    const capacity = this.ids.length * 2;
    const { slots, hashes, ids, dropped } = this;
    this.slots = new Int32Array(capacity * slotWidth);
    this.slots.set(slots);
    this.hashes = new Int32Array(capacity);
    this.hashes.set(hashes);
    this.ids = new Uint8Array(capacity);
    this.ids.set(ids);
    this.dropped = new Uint8Array(capacity);
    this.dropped.set(dropped);
  }

  /** Text of `bytes[start, end)`, one UTF-16 unit per byte. */
  text(start: number, end: number): string {
    return this.bytes.toString("latin1", start, end);
  }

  /** As the message has spelled a name first, dropped fields included; undefined where it has none. */
  spelled(name: string): string | undefined {
    const { spelling, slots, count } = this;
    for (let field = 0; spelling !== undefined && field < count; field++) {
      if (!this.isName(field, name)) continue;
      const at = field * slotWidth;
      return spelling.bytes.toString("latin1", slots[at] ?? 0, slots[at + 1] ?? 0);
    }
    return undefined;
  }

  nameAt(field: number): string {
    const at = field * slotWidth;
    return this.text(this.slots[at] ?? 0, this.slots[at + 1] ?? 0);
  }

  valueAt(field: number): string {
    const at = field * slotWidth;
    return this.text(this.slots[at + 2] ?? 0, this.slots[at + 3] ?? 0);
  }

  /** A field is left that was not dropped. */
  get hasFields(): boolean {
    const { count, dropped } = this;
    for (let field = 0; field < count; field++) if (dropped[field] === 0) return true;
    return false;
  }

  /** Those that were not dropped, as text, for whoever keeps them longer than the head. */
  textFields(): readonly (readonly [name: string, value: string])[] {
    const fields: [string, string][] = [];
    for (let field = 0; field < this.count; field++) {
      if (this.dropped[field] === 0) fields.push([this.nameAt(field), this.valueAt(field)]);
    }
    return fields;
  }

  /** First field at or after `from` with this known number, -1 when there is none. */
  findId(id: number, from = 0): number {
    const { ids, dropped, count } = this;
    for (let field = from; field < count; field++) {
      if (ids[field] === id && dropped[field] === 0) return field;
    }
    return -1;
  }

  /** First field at or after `from` with this lower-case name, -1 when there is none. */
  findName(name: string, from = 0): number {
    return this.findHashed(name, hashOf(name), from);
  }

  /** As `findName()`, for a name whose hash is kept. */
  findHashed(name: string, hash: number, from: number): number {
    const { hashes, dropped, count } = this;
    for (let field = from; field < count; field++) {
      if (hashes[field] === hash && dropped[field] === 0 && this.isName(field, name)) return field;
    }
    return -1;
  }

  /** Forgets every field of this known number. */
  dropId(id: number): void {
    const { ids, count } = this;
    for (let field = 0; field < count; field++) if (ids[field] === id) this.dropped[field] = 1;
  }

  /** Forgets every field of this lower-case name; true when there was one. */
  dropName(name: string): boolean {
    return this.#dropHashed(name, hashOf(name));
  }

  /** The same of a name that a peer has thought of: whatever it is, nothing of it is kept. */
  dropStrangeName(name: string): void {
    this.#dropHashed(name, hashName(name));
  }

  #dropHashed(name: string, hash: number): boolean {
    let field = this.findHashed(name, hash, 0);
    const found = field >= 0;
    while (field >= 0) {
      this.dropped[field] = 1;
      field = this.findHashed(name, hash, field + 1);
    }
    return found;
  }

  /** All values of a name joined with `,` as lists are; undefined when there is none. */
  joined(name: string): string | undefined {
    const hash = hashOf(name);
    let field = this.findHashed(name, hash, 0);
    if (field < 0) return undefined;
    let value = this.valueAt(field);
    for (;;) {
      field = this.findHashed(name, hash, field + 1);
      if (field < 0) return value;
      value += `,${this.valueAt(field)}`;
    }
  }

  isName(field: number, name: string): boolean {
    const at = field * slotWidth;
    const start = this.slots[at] ?? 0;
    if ((this.slots[at + 1] ?? 0) - start !== name.length) return false;
    const bytes = this.bytes;
    for (let index = 0; index < name.length; index++) {
      if (bytes[start + index] !== name.charCodeAt(index)) return false;
    }
    return true;
  }

  /** Whether a value equals `expected` (lower-case ASCII), ignoring case. */
  isValue(field: number, expected: string): boolean {
    const at = field * slotWidth;
    const start = this.slots[at + 2] ?? 0;
    if ((this.slots[at + 3] ?? 0) - start !== expected.length) return false;
    const bytes = this.bytes;
    for (let index = 0; index < expected.length; index++) {
      let byte = bytes[start + index] ?? 0;
      if (byte >= 0x41 && byte <= 0x5a) byte |= 0x20;
      if (byte !== expected.charCodeAt(index)) return false;
    }
    return true;
  }
}

type Run = Uint8Array | Int32Array;

/** Short runs by hand, which is cheaper than a call. */
function copyRun(from: Run, to: Run, length: number): void {
  if (length > 256) to.set(from.subarray(0, length));
  else for (let at = 0; at < length; at++) to[at] = from[at] ?? 0;
}
