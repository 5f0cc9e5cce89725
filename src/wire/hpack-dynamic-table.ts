/**
 * HPACK's dynamic table (RFC 7541 section 2.3.2): entries are the header lines they become, one
 * behind the other in one piece of memory. Nothing is allocated for an entry.
 */

/** What an entry costs beside its name and value (RFC 7541 section 4.1). */
export const entryOverhead = 32;
/** `: ` and CRLF, which stand between and behind them here. */
export const lineOverhead = 4;

/** Memory begins with so much and doubles: most tables hold a few short lines for all their lives. */
const firstEntries = 8;
const firstBytes = 256;
/** Less than this is not worth new memory. */
const trimmedBytesMin = 512;

/** Numbers of an entry in the ring. */
const entryWidth = 5;
const nameLengthAt = 1;
const valueLengthAt = 2;
const hashAt = 3;
const markAt = 4;

const noLines = Buffer.allocUnsafeSlow(0);
const noEntries = new Int32Array(0);

export class DynamicTable {
  /** Lines; `lineStart()` says where one begins. */
  bytes: Buffer = noLines;
  count = 0;
  /** By RFC 7541 section 4.1. */
  size = 0;
  /** Entries ever added. */
  insertions = 0;
  capacity: number;
  /** A ring by the number of the entry: where its line begins, its lengths, hash and mark. */
  #entries: Int32Array = noEntries;
  /** Of the ring's places, whose number is a power of two; -1 without any. */
  #mask = -1;
  #end = 0;

  /** `capacity`: bytes, as in SETTINGS_HEADER_TABLE_SIZE. */
  constructor(capacity: number) {
    this.capacity = capacity;
  }

  /** The place of the entry `back` entries before the newest (0); it must be there. */
  placeOf(back: number): number {
    return ((this.insertions - 1 - back) & this.#mask) * entryWidth;
  }

  lineStart(place: number): number {
    return this.#entries[place] ?? 0;
  }

  nameLength(place: number): number {
    return this.#entries[place + nameLengthAt] ?? 0;
  }

  valueLength(place: number): number {
    return this.#entries[place + valueLengthAt] ?? 0;
  }

  hash(place: number): number {
    return this.#entries[place + hashAt] ?? 0;
  }

  /** What the owner noted with the entry. */
  mark(place: number): number {
    return this.#entries[place + markAt] ?? 0;
  }

  resize(capacity: number): void {
    this.capacity = capacity;
    this.#evict(capacity);
  }

  /**
   * Adds the line at `source[start, …)`. One that is larger than the table empties it, which is no
   * error.
   */
  insert(
    source: Buffer,
    start: number,
    lengths: { readonly name: number; readonly value: number },
    noted: { readonly hash: number; readonly mark: number },
  ): void {
    const cost = lengths.name + lengths.value + entryOverhead;
    this.#evict(this.capacity - cost);
    if (cost > this.capacity) return;
    const length = lengths.name + lengths.value + lineOverhead;
    if (this.#end + length > this.bytes.length) this.#makeRoom(length);
    if (this.count > this.#mask) this.#setPlaces(Math.max(firstEntries, this.count * 2));
    const place = (this.insertions & this.#mask) * entryWidth;
    const entries = this.#entries;
    source.copy(this.bytes, this.#end, start, start + length);
    entries[place] = this.#end;
    entries[place + nameLengthAt] = lengths.name;
    entries[place + valueLengthAt] = lengths.value;
    entries[place + hashAt] = noted.hash;
    entries[place + markAt] = noted.mark;
    this.#end += length;
    this.size += cost;
    this.count++;
    this.insertions++;
  }

  /** Keeps no more memory than the entries of now need. */
  trim(): void {
    const needed = this.#lineBytes();
    if (this.bytes.length - needed < trimmedBytesMin) return;
    this.#moveLines(needed === 0 ? noLines : Buffer.allocUnsafeSlow(needed));
    let places = firstEntries;
    while (places < this.count) places *= 2;
    if (places <= this.#mask) this.#setPlaces(places);
  }

  /** The oldest go until the rest takes `size` bytes at most. */
  #evict(size: number): void {
    while (this.size > size && this.count > 0) {
      const oldest = this.placeOf(this.count - 1);
      this.size -= this.nameLength(oldest) + this.valueLength(oldest) + entryOverhead;
      this.count--;
    }
  }

  /** Of the entries that are there. */
  #lineBytes(): number {
    return this.size - this.count * (entryOverhead - lineOverhead);
  }

  /** Twice what the lines take: they move to the front once in a while, not for each new one. */
  #makeRoom(length: number): void {
    const wanted = (this.#lineBytes() + length) * 2;
    let bytes = firstBytes;
    while (bytes < wanted) bytes *= 2;
    this.#moveLines(bytes > this.bytes.length ? Buffer.allocUnsafeSlow(bytes) : this.bytes);
  }

  #moveLines(to: Buffer): void {
    const first = this.count === 0 ? this.#end : this.lineStart(this.placeOf(this.count - 1));
    this.bytes.copy(to, 0, first, this.#end);
    for (let back = 0; back < this.count; back++) {
      const place = this.placeOf(back);
      this.#entries[place] = this.lineStart(place) - first;
    }
    this.bytes = to;
    this.#end -= first;
  }

  /** `places`: a power of two, and as many as there are entries at least. */
  #setPlaces(places: number): void {
    const before = this.#entries;
    const mask = places - 1;
    const entries = new Int32Array(places * entryWidth);
    for (let back = 0; back < this.count; back++) {
      const from = this.placeOf(back);
      const to = ((this.insertions - 1 - back) & mask) * entryWidth;
      for (let at = 0; at < entryWidth; at++) entries[to + at] = before[from + at] ?? 0;
    }
    this.#entries = entries;
    this.#mask = mask;
  }
}
