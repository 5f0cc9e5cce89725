/**
 * Writes HPACK header blocks (RFC 7541). What comes again and again goes into the dynamic table, once,
 * and is one byte from then on; what is different each time does not, and what is secret never does,
 * here or at any later hop.
 */
import type { ByteWriter } from "./byte-writer.ts";
import { DynamicTable } from "./hpack-dynamic-table.ts";
import { initialTableBytes } from "./hpack-decoder.ts";
import { encodeHuffman, huffmanBytes } from "./hpack-huffman.ts";
import { type FieldRule, ruleOfHash, ruleOfText } from "./hpack-field-rules.ts";
import { staticCount, staticTable, staticStatuses } from "./hpack-tables.ts";
import { type Http1Head, slotWidth } from "./http1-head.ts";
import { valueTable } from "./http1-tables.ts";

/** Longer fields are not worth their place. */
const indexedBytesMax = 512;
/** Places for fields begin with so many, and are more than twice as many as the entries. */
const firstPlaces = 32;
const placesMax = 256;
/** Shorter strings are hardly ever shorter in Huffman's code. */
const codedBytesMin = 4;

const noPlaces = new Int32Array(0);

/** The field being written, by whichever encoder; memory of the caller's, or `lineMemory`. */
let bytes: Uint8Array;
let nameStart = 0;
let nameLength = 0;
let valueStart = 0;
let valueLength = 0;
/** Fields that do not stand anywhere as bytes are laid out here. */
let lineMemory: Buffer = Buffer.allocUnsafeSlow(1024);
bytes = lineMemory;

export class HpackEncoder {
  readonly #table: DynamicTable = new DynamicTable(initialTableBytes);
  /**
   * Where in the table a field, or a name, was put last, by hash: the number of its insertion plus one.
   * One behind the other, from the first insertion on.
   */
  #places: Int32Array = noPlaces;
  #placeMask = 0;
  /** To be told in the next block, in this order; -1 is nothing. */
  #smallest = -1;
  #announced = -1;

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
    const index = status < staticStatuses.length ? (staticStatuses[status] ?? 0) : 0;
    if (index !== 0) out.byte(0x80 | index);
    else this.field(out, ":status", String(status));
  }

  /**
   * Lower-case name. False, and nothing is written, where the value has what may not stand in a field:
   * control characters, or units that are no bytes.
   */
  field(out: ByteWriter, name: string, value: string): boolean {
    const rule = ruleOfText(name);
    const start = name.length + 2;
    const length = start + value.length + 2;
    if (length > lineMemory.length) lineMemory = Buffer.allocUnsafeSlow(length * 2);
    const line = lineMemory;
    for (let at = 0; at < value.length; at++) {
      const unit = value.charCodeAt(at);
      if (valueTable[unit] !== 1) return false;
      line[start + at] = unit;
    }
    for (let at = 0; at < name.length; at++) line[at] = rule.name[at] ?? 0;
    bytes = line;
    nameStart = 0;
    nameLength = name.length;
    valueStart = start;
    valueLength = value.length;
    this.#write(out, rule.hash, rule);
    return true;
  }

  /** A field of a head. */
  fieldOf(out: ByteWriter, head: Http1Head, field: number): void {
    const slot = field * slotWidth;
    const { slots } = head;
    bytes = head.bytes;
    nameStart = slots[slot] ?? 0;
    nameLength = (slots[slot + 1] ?? 0) - nameStart;
    valueStart = slots[slot + 2] ?? 0;
    valueLength = (slots[slot + 3] ?? 0) - valueStart;
    const hash = head.hashes[field] ?? 0;
    const id = head.ids[field] ?? 0;
    const rule = ruleOfHash(hash, id);
    const isOfName =
      id !== 0 || (rule?.name.length === nameLength && isSame(rule.name, 0, nameStart, nameLength));
    this.#write(out, hash, isOfName ? rule : undefined);
  }

  #write(out: ByteWriter, nameHash: number, rule: FieldRule | undefined): void {
    const staticName = rule === undefined ? 0 : rule.staticName;
    const kind = rule === undefined ? "indexed" : rule.kind;
    if (kind === "secret") return this.#writeLiteral(out, 0x10, staticName);
    if (kind === "fleeting" || nameLength + valueLength > indexedBytesMax) {
      return this.#writeLiteral(out, 0x00, staticName);
    }
    const fixed = this.#staticField(staticName);
    if (fixed > 0) return out.byte(0x80 | fixed);
    let fieldHash = nameHash;
    const valueEnd = valueStart + valueLength;
    for (let at = valueStart; at < valueEnd; at++) {
      fieldHash = (Math.imul(fieldHash, 31) + (bytes[at] ?? 0)) | 0;
    }
    const known = this.#find(fieldHash & this.#placeMask, true);
    if (known > 0) return writeInteger(out, 0x80, 0x7f, known);
    const name = staticName > 0 ? staticName : this.#find(this.#placeOfName(nameHash), false);
    writeInteger(out, 0x40, 0x3f, name);
    if (name === 0) writeString(out, bytes, nameStart, nameStart + nameLength);
    writeString(out, bytes, valueStart, valueEnd);
    const { insertions } = this.#table;
    this.#insert(nameHash, fieldHash);
    if (this.#table.insertions === insertions) return;
    if (this.#table.count * 2 > this.#placeMask && this.#placeMask < placesMax - 1)
      this.#morePlaces();
    this.#notePlace(nameHash, fieldHash, insertions + 1);
  }

  #placeOfName(nameHash: number): number {
    return this.#placeMask + 1 + (nameHash & this.#placeMask);
  }

  #notePlace(nameHash: number, fieldHash: number, insertion: number): void {
    this.#places[fieldHash & this.#placeMask] = insertion;
    this.#places[this.#placeOfName(nameHash)] = insertion;
  }

  /** All that are in the table find theirs; the newest last, as they came. */
  #morePlaces(): void {
    const table = this.#table;
    let places = firstPlaces;
    while (places <= table.count * 2 && places < placesMax) places *= 2;
    this.#placeMask = places - 1;
    this.#places = new Int32Array(places * 2);
    for (let back = table.count - 1; back >= 0; back--) {
      const place = table.placeOf(back);
      this.#notePlace(table.hash(place), table.mark(place), table.insertions - back);
    }
  }

  /** Keeps no more memory than what is in the table needs. */
  trim(): void {
    this.#table.trim();
    if (this.#placeMask >= firstPlaces && this.#table.count * 4 <= this.#placeMask)
      this.#morePlaces();
  }

  /** A field that does not enter the table; `first` says whether it may at a later hop. */
  #writeLiteral(out: ByteWriter, first: number, staticName: number): void {
    writeInteger(out, first, 0x0f, staticName);
    if (staticName === 0) writeString(out, bytes, nameStart, nameStart + nameLength);
    writeString(out, bytes, valueStart, valueStart + valueLength);
  }

  #insert(hash: number, fieldHash: number): void {
    const lengths = { name: nameLength, value: valueLength };
    if (bytes !== lineMemory) {
      // White space may stand around the value where it came from.
      const length = nameLength + valueLength + 4;
      if (length > lineMemory.length) lineMemory = Buffer.allocUnsafeSlow(length * 2);
      const line = lineMemory;
      for (let at = 0; at < nameLength; at++) line[at] = bytes[nameStart + at] ?? 0;
      const start = nameLength + 2;
      for (let at = 0; at < valueLength; at++) line[start + at] = bytes[valueStart + at] ?? 0;
    }
    lineMemory[nameLength] = 0x3a;
    lineMemory[nameLength + 1] = 0x20;
    const end = nameLength + 2 + valueLength;
    lineMemory[end] = 0x0d;
    lineMemory[end + 1] = 0x0a;
    this.#table.insert(lineMemory, 0, lengths, { hash, mark: fieldHash });
  }

  /** The entry with this value, of a name whose first entry stands at `name`; 0 for none. */
  #staticField(name: number): number {
    if (name === 0) return 0;
    for (let index = name; index <= name + 1; index++) {
      const entry = staticTable[index];
      if (entry?.nameLength !== nameLength || entry.valueLength !== valueLength) continue;
      const { line } = entry;
      if (
        isSame(line, 0, nameStart, nameLength) &&
        isSame(line, nameLength + 2, valueStart, valueLength)
      ) {
        return index;
      }
    }
    return 0;
  }

  /** The index of the entry that a place leads to, if it has this name (and value); 0 for none. */
  #find(cached: number, isWhole: boolean): number {
    const table = this.#table;
    if (table.count === 0) return 0;
    const insertion = this.#places[cached] ?? 0;
    const back = table.insertions - insertion;
    if (insertion === 0 || back >= table.count) return 0;
    const place = table.placeOf(back);
    if (table.nameLength(place) !== nameLength) return 0;
    const start = table.lineStart(place);
    if (isWhole) {
      if (table.valueLength(place) !== valueLength) return 0;
      if (!isSame(table.bytes, start + nameLength + 2, valueStart, valueLength)) return 0;
    }
    return isSame(table.bytes, start, nameStart, nameLength) ? staticCount + 1 + back : 0;
  }
}

/** Whether `length` bytes of the field in hand are those of `table` at `at`. */
function isSame(table: Uint8Array, at: number, from: number, length: number): boolean {
  for (let index = 0; index < length; index++) {
    if (table[at + index] !== bytes[from + index]) return false;
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
  const coded = to - from < codedBytesMin ? to - from : huffmanBytes(bytes, from, to);
  if (coded >= to - from) {
    writeInteger(out, 0x00, 0x7f, to - from);
    return out.bytes(bytes, from, to);
  }
  writeInteger(out, 0x80, 0x7f, coded);
  out.reserve(coded);
  out.length = encodeHuffman(bytes, { from, to }, out.memory, out.length);
}
