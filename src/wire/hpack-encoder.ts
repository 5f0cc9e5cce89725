/**
 * Writes HPACK header blocks (RFC 7541). What comes again and again goes into the dynamic table, once,
 * and is one byte from then on; what is different each time does not, and what is secret never does,
 * here or at any later hop.
 */
import type { ByteWriter } from "./byte-writer.ts";
import { DynamicTable } from "./hpack-dynamic-table.ts";
import { initialTableBytes } from "./hpack-decoder.ts";
import { encodeHuffman, huffmanBytes } from "./hpack-huffman.ts";
import { staticCount, staticTable } from "./hpack-tables.ts";
import { type Http1Head, slotWidth } from "./http1-head.ts";
import { hashName } from "./http1-tables.ts";

/** Never indexed (RFC 7541 section 7.1.3): whoever can guess must not learn from lengths. */
const secretNames: ReadonlySet<string> = new Set([
  "authorization",
  "cookie",
  "proxy-authorization",
  "set-cookie",
  "x-forwarded-client-cert",
]);
/** Different each time: the table would only lose what is worth keeping. */
const fleetingNames: ReadonlySet<string> = new Set([
  "age",
  "content-length",
  "content-range",
  "etag",
  "if-modified-since",
  "if-none-match",
  "last-modified",
  "location",
  "traceparent",
  "x-b3-spanid",
  "x-b3-traceid",
  "x-envoy-upstream-service-time",
  "x-request-id",
]);
/** Longer fields are not worth their place. */
const indexedBytesMax = 512;
const cacheMask = 255;

/** How a name's fields are written, by the hash of the name; a name that only shares it is different. */
interface NameRule {
  readonly name: string;
  readonly kind: "secret" | "fleeting";
}
const rules = new Map<number, NameRule>(
  [
    ...[...secretNames].map((name): NameRule => ({ name, kind: "secret" })),
    ...[...fleetingNames].map((name): NameRule => ({ name, kind: "fleeting" })),
  ].map((rule) => [hashName(rule.name), rule]),
);

/** The first entry of each name. */
const staticByName = new Map<number, number>();
for (let index = staticCount; index > 0; index--) {
  staticByName.set(staticTable[index]?.hash ?? 0, index);
}

export class HpackEncoder {
  readonly #table: DynamicTable = new DynamicTable(initialTableBytes);
  /** Where in the table a field, or a name, was put last: the number of its insertion plus one. */
  readonly #byField: Int32Array = new Int32Array(cacheMask + 1);
  readonly #byName: Int32Array = new Int32Array(cacheMask + 1);
  /** To be told in the next block, in this order; -1 is nothing. */
  #smallest = -1;
  #announced = -1;
  /** The field being written, as the line it is. */
  #line: Buffer = Buffer.allocUnsafeSlow(1024);

  /** The peer's SETTINGS_HEADER_TABLE_SIZE. Larger ones than the usual are not made use of. */
  setTableBytesMax(bytes: number): void {
    const capacity = Math.min(bytes, initialTableBytes);
    if (capacity === this.#table.capacity && this.#announced < 0) return;
    this.#smallest = this.#smallest < 0 ? capacity : Math.min(this.#smallest, capacity);
    this.#announced = capacity;
    this.#table.resize(capacity);
  }

  /** Before the first field of each block. */
  beginBlock(out: ByteWriter): void {
    if (this.#announced < 0) return;
    if (this.#smallest < this.#announced) writeInteger(out, 0x20, 0x1f, this.#smallest);
    writeInteger(out, 0x20, 0x1f, this.#announced);
    this.#smallest = -1;
    this.#announced = -1;
  }

  /** `:status`. */
  status(out: ByteWriter, status: number): void {
    for (let index = 8; index <= 14; index++) {
      const { line } = staticTable[index] ?? { line: noBytes };
      if (decimalAt(line, 9) === status) return writeInteger(out, 0x80, 0x7f, index);
    }
    this.field(out, ":status", String(status));
  }

  /** Lower-case name; both of one byte per unit, and checked for what may not stand in a field. */
  field(out: ByteWriter, name: string, value: string): void {
    const length = name.length + value.length + 4;
    if (length > this.#line.length) this.#line = Buffer.allocUnsafeSlow(length * 2);
    const line = this.#line;
    for (let at = 0; at < name.length; at++) line[at] = name.charCodeAt(at);
    line[name.length] = 0x3a;
    line[name.length + 1] = 0x20;
    for (let at = 0; at < value.length; at++) line[name.length + 2 + at] = value.charCodeAt(at);
    line[length - 2] = 0x0d;
    line[length - 1] = 0x0a;
    this.#write(
      out,
      hashName(name),
      { bytes: line, start: 0, nameLength: name.length },
      value.length,
    );
  }

  /** A field of a head. */
  fieldOf(out: ByteWriter, head: Http1Head, field: number): void {
    const slot = field * slotWidth;
    const { slots } = head;
    const nameStart = slots[slot] ?? 0;
    const nameLength = (slots[slot + 1] ?? 0) - nameStart;
    const valueStart = slots[slot + 2] ?? 0;
    const valueLength = (slots[slot + 3] ?? 0) - valueStart;
    const length = nameLength + valueLength + 4;
    if (length > this.#line.length) this.#line = Buffer.allocUnsafeSlow(length * 2);
    // White space may stand around the value where it came from.
    const line = this.#line;
    head.bytes.copy(line, 0, nameStart, nameStart + nameLength);
    line[nameLength] = 0x3a;
    line[nameLength + 1] = 0x20;
    head.bytes.copy(line, nameLength + 2, valueStart, valueStart + valueLength);
    line[length - 2] = 0x0d;
    line[length - 1] = 0x0a;
    this.#write(out, head.hashes[field] ?? 0, { bytes: line, start: 0, nameLength }, valueLength);
  }

  #write(out: ByteWriter, nameHash: number, line: Line, valueLength: number): void {
    const { bytes, nameLength } = line;
    const valueStart = nameLength + 2;
    const rule = rules.get(nameHash);
    const kind = rule !== undefined && isText(bytes, nameLength, rule.name) ? rule.kind : "indexed";
    const staticName = this.#staticName(nameHash, line);
    if (kind === "secret") {
      writeInteger(out, 0x10, 0x0f, staticName);
      if (staticName === 0) writeString(out, bytes, 0, nameLength);
      return writeString(out, bytes, valueStart, valueStart + valueLength);
    }
    if (kind === "fleeting" || nameLength + valueLength > indexedBytesMax) {
      writeInteger(out, 0x00, 0x0f, staticName);
      if (staticName === 0) writeString(out, bytes, 0, nameLength);
      return writeString(out, bytes, valueStart, valueStart + valueLength);
    }
    const fixed = this.#staticField(staticName, line, valueLength);
    if (fixed > 0) return writeInteger(out, 0x80, 0x7f, fixed);
    let fieldHash = nameHash;
    for (let at = valueStart; at < valueStart + valueLength; at++) {
      fieldHash = (Math.imul(fieldHash, 31) + (bytes[at] ?? 0)) | 0;
    }
    const length = nameLength + valueLength + 4;
    const known = this.#find(this.#byField, fieldHash, { line, length });
    if (known > 0) return writeInteger(out, 0x80, 0x7f, known);
    const name =
      staticName > 0
        ? staticName
        : this.#find(this.#byName, nameHash, { line, length: nameLength + 2 });
    writeInteger(out, 0x40, 0x3f, name);
    if (name === 0) writeString(out, bytes, 0, nameLength);
    writeString(out, bytes, valueStart, valueStart + valueLength);
    this.#table.insert(
      bytes,
      0,
      { name: nameLength, value: valueLength },
      { hash: nameHash, mark: 0 },
    );
    this.#byField[fieldHash & cacheMask] = this.#table.insertions;
    this.#byName[nameHash & cacheMask] = this.#table.insertions;
  }

  #staticName(nameHash: number, { bytes, nameLength }: Line): number {
    const index = staticByName.get(nameHash) ?? 0;
    const entry = staticTable[index];
    if (index === 0 || entry?.nameLength !== nameLength) return 0;
    return isSame(entry.line, 0, bytes, nameLength) ? index : 0;
  }

  /** The entry of this name, the first of which stands at `name`, with this value. */
  #staticField(name: number, { bytes, nameLength }: Line, valueLength: number): number {
    if (name === 0) return 0;
    for (let index = name; index <= name + 1; index++) {
      const entry = staticTable[index];
      const isEqual =
        entry?.nameLength === nameLength &&
        entry.valueLength === valueLength &&
        isSame(entry.line, 0, bytes, nameLength + valueLength + 4);
      if (isEqual) return index;
    }
    return 0;
  }

  /** The index of the entry that a cache leads to, if its line begins like this one; 0 for none. */
  #find(
    cache: Int32Array,
    hash: number,
    { line, length }: { readonly line: Line; readonly length: number },
  ): number {
    const table = this.#table;
    const insertion = cache[hash & cacheMask] ?? 0;
    const back = table.insertions - insertion;
    if (insertion === 0 || back >= table.count) return 0;
    const place = table.placeOf(back);
    if (table.nameLength(place) !== line.nameLength) return 0;
    const isWhole = length > line.nameLength + 2;
    if (isWhole && table.valueLength(place) !== length - line.nameLength - 4) return 0;
    return isSame(table.bytes, table.lineStart(place), line.bytes, length)
      ? staticCount + 1 + back
      : 0;
  }
}

interface Line {
  readonly bytes: Buffer;
  readonly start: number;
  readonly nameLength: number;
}

const noBytes = new Uint8Array(0);

function decimalAt(bytes: Uint8Array, at: number): number {
  return (
    ((bytes[at] ?? 0) - 48) * 100 + ((bytes[at + 1] ?? 0) - 48) * 10 + (bytes[at + 2] ?? 0) - 48
  );
}

/** Whether the first `length` bytes are those of `table` at `at`. */
function isSame(table: Uint8Array, at: number, bytes: Uint8Array, length: number): boolean {
  for (let index = 0; index < length; index++) {
    if (table[at + index] !== bytes[index]) return false;
  }
  return true;
}

function isText(bytes: Uint8Array, length: number, text: string): boolean {
  if (length !== text.length) return false;
  for (let index = 0; index < length; index++) {
    if (bytes[index] !== text.charCodeAt(index)) return false;
  }
  return true;
}

/** RFC 7541 section 5.1: `mask` is what the value may fill of the first byte. */
export function writeInteger(out: ByteWriter, first: number, mask: number, value: number): void {
  if (value < mask) return out.byte(first | value);
  out.byte(first | mask);
  let rest = value - mask;
  while (rest >= 0x80) {
    out.byte((rest & 0x7f) | 0x80);
    rest >>>= 7;
  }
  out.byte(rest);
}

/** `bytes[from, to)`, in Huffman's code where that is shorter. */
function writeString(out: ByteWriter, bytes: Uint8Array, from: number, to: number): void {
  const coded = huffmanBytes(bytes, from, to);
  if (coded >= to - from) {
    writeInteger(out, 0x00, 0x7f, to - from);
    return out.bytes(bytes, from, to);
  }
  writeInteger(out, 0x80, 0x7f, coded);
  out.reserve(coded);
  out.length = encodeHuffman(bytes, { from, to }, out.memory, out.length);
}
