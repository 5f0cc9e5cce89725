/**
 * Reads HPACK header blocks (RFC 7541) into heads: each field becomes the header line it would be in
 * HTTP/1.1, as an offset into the head's own bytes, so that all that reads heads reads these. Sans
 * I/O, strict. Pseudo-fields stand among the others here; what they mean is `http2-framing.ts`'s.
 *
 * Bounded: what a block comes to is limited in bytes and in fields, whatever its own length is. A block
 * beyond a limit, or with characters that no field has, is read to its end nevertheless, because the
 * table must go on as the sender's does; `head.error` says what was wrong with it. One that is many times
 * beyond it (`isBomb`) is not.
 */
import { DynamicTable, entryOverhead, lineOverhead } from "./hpack-dynamic-table.ts";
import { decodeHuffman } from "./hpack-huffman.ts";
import { staticCount, staticTable } from "./hpack-tables.ts";
import { type HeadLimits, type Http1Head, slotWidth } from "./http1-head.ts";
import { knownId, tokenTable, valueTable } from "./http1-tables.ts";

/** Bytes after an integer's prefix; larger ones mean nothing that we would take (RFC 7541 section 5.1). */
const integerBytesMax = 4;
/** The table every connection begins with (RFC 9113 section 6.5.2). */
export const initialTableBytes = 4096;
/** More changes of the table's size in one block say nothing (RFC 7541 section 4.2). */
const sizeUpdatesMax = 2;
/** A byte may name an entry of thousands (CVE-2016-6581): a block that comes to more is no honest mistake. */
const bombBytesMin = 1024 * 1024;
const bombFactor = 4;
/** In an entry's mark, above its `knownId()`: characters stand there that no field has. */
const faultyName = 256;
const faultyValue = 512;
const noBytes = new Uint8Array(0);

export class HpackDecoder {
  readonly #table: DynamicTable;
  readonly #limits: HeadLimits;
  readonly #bombBytes: number;
  /** What the sender may make of the table's size. */
  #capacityMax: number = initialTableBytes;
  /** The sender must say in its next block that its table became smaller. */
  #expectsUpdate = false;
  #block: Uint8Array = noBytes;
  #at = 0;
  #end = 0;
  /** Of the table, or of what its sender owes it: while there is none, the same bytes mean the same. */
  changes = 0;
  /** The string that was looked at last. */
  #stringStart = 0;
  #stringEnd = 0;
  #isHuffman = false;
  /** Of the block being read, as `limits` count: 32 bytes for each field beside its text. */
  #cost = 0;
  /** Of the field being read. */
  #hash = 0;
  #mark = 0;

  constructor(limits: HeadLimits, tableBytesMax: number) {
    this.#limits = limits;
    this.#bombBytes = Math.max(bombBytesMin, limits.headBytesMax * bombFactor);
    this.#table = new DynamicTable(Math.max(initialTableBytes, tableBytesMax));
    this.#table.resize(initialTableBytes);
  }

  /** The peer has acknowledged the size of the table that we set. */
  onTableBytesMax(bytes: number): void {
    this.changes++;
    this.#capacityMax = bytes;
    this.#expectsUpdate = bytes < this.#table.capacity;
  }

  /**
   * Reads the whole block `block[from, to)` into a head that was reset. False when it is not one, or a
   * bomb: then nobody knows what the peer's table holds, and the connection must end.
   */
  decode(block: Uint8Array, from: number, to: number, head: Http1Head): boolean {
    this.#block = block;
    this.#at = from;
    this.#end = to;
    this.#cost = 0;
    if (!this.#readSizeUpdates()) return false;
    while (this.#at < to) {
      if (!this.#readField(head) || this.isBomb) return false;
    }
    return true;
  }

  /** The block came to so much more than it may that reading on would be work for nothing. */
  get isBomb(): boolean {
    return this.#cost > this.#bombBytes;
  }

  /** Between blocks: keeps no more memory than what is in the table needs. */
  trim(): void {
    this.#block = noBytes;
    this.#table.trim();
  }

  #readSizeUpdates(): boolean {
    for (let updates = 0; this.#at < this.#end; updates++) {
      if (((this.#block[this.#at] ?? 0) & 0xe0) !== 0x20) break;
      const capacity = this.#readInteger(0x1f);
      if (capacity < 0 || capacity > this.#capacityMax || updates === sizeUpdatesMax) return false;
      this.#table.resize(capacity);
      this.changes++;
      this.#expectsUpdate = false;
    }
    return !this.#expectsUpdate;
  }

  #readField(head: Http1Head): boolean {
    const first = this.#block[this.#at] ?? 0;
    if ((first & 0x80) !== 0) return this.#readIndexed(head);
    if ((first & 0x40) !== 0) return this.#readLiteral(head, 0x3f, true);
    // 0x20 would change the table's size, which may stand at a block's beginning only.
    return (first & 0x20) === 0 && this.#readLiteral(head, 0x0f, false);
  }

  #readIndexed(head: Http1Head): boolean {
    const index = this.#readInteger(0x7f);
    if (index <= 0) return false;
    const entry = staticTable[index];
    if (entry !== undefined) {
      this.#hash = entry.hash;
      this.#mark = entry.id;
      const start = head.length;
      reserve(head, entry.line.length);
      copy(entry.line, 0, entry.line.length, head);
      this.#keep(head, start, entry.nameLength, entry.valueLength);
      return true;
    }
    const table = this.#table;
    const back = index - staticCount - 1;
    if (back >= table.count) return false;
    const place = table.placeOf(back);
    const nameLength = table.nameLength(place);
    const valueLength = table.valueLength(place);
    const length = nameLength + valueLength + lineOverhead;
    this.#hash = table.hash(place);
    this.#mark = table.mark(place);
    reserve(head, length);
    copy(table.bytes, table.lineStart(place), length, head);
    this.#keep(head, head.length, nameLength, valueLength);
    return true;
  }

  #readLiteral(head: Http1Head, prefix: number, isAdded: boolean): boolean {
    const index = this.#readInteger(prefix);
    if (index < 0) return false;
    let nameStart = 0;
    let nameEnd = 0;
    let isNameHuffman = false;
    if (index === 0) {
      if (!this.#findString()) return false;
      nameStart = this.#stringStart;
      nameEnd = this.#stringEnd;
      isNameHuffman = this.#isHuffman;
    } else if (index > staticCount + this.#table.count) return false;
    if (!this.#findString()) return false;
    const valueBytes = decodedMax(this.#stringEnd - this.#stringStart, this.#isHuffman);
    const start = head.length;
    let at = start;
    if (index === 0) {
      const nameBytes = decodedMax(nameEnd - nameStart, isNameHuffman);
      reserve(head, nameBytes + valueBytes + lineOverhead);
      at = this.#writeString(head, start, { from: nameStart, to: nameEnd }, isNameHuffman);
      if (at < 0) return false;
      this.#inspectName(head.bytes, start, at);
    } else {
      at = this.#copyName(head, index, valueBytes);
    }
    const nameLength = at - start;
    const { bytes } = head;
    bytes[at] = 0x3a;
    bytes[at + 1] = 0x20;
    const value = { from: this.#stringStart, to: this.#stringEnd };
    const end = this.#writeString(head, at + 2, value, this.#isHuffman);
    if (end < 0) return false;
    this.#inspectValue(bytes, at + 2, end);
    bytes[end] = 0x0d;
    bytes[end + 1] = 0x0a;
    const valueLength = end - at - 2;
    if (isAdded) {
      const noted = { hash: this.#hash, mark: this.#mark };
      this.changes++;
      this.#table.insert(bytes, start, { name: nameLength, value: valueLength }, noted);
    }
    this.#keep(head, start, nameLength, valueLength);
    return true;
  }

  /** The name of an entry, before a value of up to `valueBytes`; returns where it ends. */
  #copyName(head: Http1Head, index: number, valueBytes: number): number {
    const entry = staticTable[index];
    const table = this.#table;
    const place = entry === undefined ? table.placeOf(index - staticCount - 1) : 0;
    const length = entry?.nameLength ?? table.nameLength(place);
    reserve(head, length + valueBytes + lineOverhead);
    if (entry === undefined) {
      this.#hash = table.hash(place);
      this.#mark = table.mark(place) & ~faultyValue;
      copy(table.bytes, table.lineStart(place), length, head);
    } else {
      this.#hash = entry.hash;
      this.#mark = entry.id;
      copy(entry.line, 0, length, head);
    }
    return head.length + length;
  }

  /** Adds the line that was written behind the head, unless a limit forbids it. */
  #keep(head: Http1Head, start: number, ...[nameLength, valueLength]: [number, number]): void {
    if (this.#mark >= faultyName) head.error ??= "invalid-character";
    this.#cost += nameLength + valueLength + entryOverhead;
    const { headBytesMax, fieldsMax } = this.#limits;
    if (this.#cost > headBytesMax) head.error ??= "head-too-large";
    else if (head.count === fieldsMax) head.error ??= "too-many-fields";
    // What is refused anyway need not be kept.
    if (head.error !== undefined) return;
    const field = head.count;
    if (field === head.ids.length) head.growFields();
    head.count = field + 1;
    head.hashes[field] = this.#hash;
    head.ids[field] = this.#mark;
    head.dropped[field] = 0;
    const slot = field * slotWidth;
    const { slots } = head;
    slots[slot] = start;
    slots[slot + 1] = start + nameLength;
    slots[slot + 2] = start + nameLength + 2;
    slots[slot + 3] = start + nameLength + 2 + valueLength;
    head.length = start + nameLength + valueLength + lineOverhead;
  }

  /** Lower-case tokens, with a colon before a pseudo-field's. */
  #inspectName(bytes: Uint8Array, start: number, end: number): void {
    let hash = 0;
    let isFaulty = start === end;
    for (let at = start; at < end; at++) {
      const byte = bytes[at] ?? 0;
      const isColon = byte === 0x3a && at === start && end > start + 1;
      const lower = tokenTable[byte] ?? 0;
      if ((lower === 0 || lower !== byte) && !isColon) isFaulty = true;
      hash = (Math.imul(hash, 31) + byte) | 0;
    }
    this.#hash = hash;
    this.#mark = isFaulty ? faultyName : knownId(hash, bytes, start, end);
  }

  #inspectValue(bytes: Uint8Array, start: number, end: number): void {
    let isSound = start === end || !(isBlank(bytes[start]) || isBlank(bytes[end - 1]));
    for (let at = start; at < end; at++) {
      if (valueTable[bytes[at] ?? 0] !== 1) isSound = false;
    }
    if (!isSound) this.#mark |= faultyValue;
  }

  /** Finds a string and steps over it; false when it runs over the block's end. */
  #findString(): boolean {
    if (this.#at >= this.#end) return false;
    this.#isHuffman = ((this.#block[this.#at] ?? 0) & 0x80) !== 0;
    const length = this.#readInteger(0x7f);
    if (length < 0 || length > this.#end - this.#at) return false;
    this.#stringStart = this.#at;
    this.#at += length;
    this.#stringEnd = this.#at;
    return true;
  }

  /** Returns where it ends in the head's bytes; -1 for what is not Huffman's code. */
  #writeString(
    head: Http1Head,
    at: number,
    range: { readonly from: number; readonly to: number },
    isHuffman: boolean,
  ): number {
    const { bytes } = head;
    if (isHuffman) return decodeHuffman(this.#block, range, bytes, at);
    const { from, to } = range;
    const block = this.#block;
    for (let index = from; index < to; index++) bytes[at + index - from] = block[index] ?? 0;
    return at + to - from;
  }

  /** An integer whose prefix has the bits of `mask`; -1 when it is cut off or too large. */
  #readInteger(mask: number): number {
    let value = (this.#block[this.#at++] ?? 0) & mask;
    if (value < mask) return value;
    for (let index = 0; index < integerBytesMax; index++) {
      if (this.#at === this.#end) return -1;
      const byte = this.#block[this.#at++] ?? 0;
      value += (byte & 0x7f) << (7 * index);
      if (byte < 0x80) return value;
    }
    return -1;
  }
}

/** Huffman's words have five bits at least. */
function decodedMax(length: number, isHuffman: boolean): number {
  return isHuffman ? Math.floor((length * 8) / 5) : length;
}

function reserve(head: Http1Head, length: number): void {
  const needed = head.length + length;
  if (needed > head.bytes.length) head.growBytes(needed);
}

/** Copies behind what the head holds; short runs by hand, which is cheaper than a call. */
function copy(source: Uint8Array, from: number, length: number, head: Http1Head): void {
  const { bytes, length: at } = head;
  if (length > 64) {
    bytes.set(source.subarray(from, from + length), at);
    return;
  }
  for (let index = 0; index < length; index++) bytes[at + index] = source[from + index] ?? 0;
}

function isBlank(byte: number | undefined): boolean {
  return byte === 0x20 || byte === 0x09;
}
