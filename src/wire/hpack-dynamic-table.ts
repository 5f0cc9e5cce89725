/**
 * HPACK's dynamic table (RFC 7541 section 2.3.2): entries are the header lines they become, one
 * behind the other in one piece of memory. Nothing is allocated for an entry.
 */

/** What an entry costs beside its name and value (RFC 7541 section 4.1). */
export const entryOverhead = 32;
/** `: ` and CRLF, which stand between and behind them here. */
export const lineOverhead = 4;

const entriesMask = 127;

export class DynamicTable {
  /** Lines; `lineStart()` says where one begins. */
  bytes: Buffer;
  count = 0;
  /** By RFC 7541 section 4.1. */
  size = 0;
  /** Entries ever added. */
  insertions = 0;
  capacity: number;
  readonly #capacityMax: number;
  /** Rings, by the number of the entry; there is room for all that a table of 4 KiB can hold. */
  #mask: number = entriesMask;
  #starts: Int32Array;
  #nameLengths: Int32Array;
  #valueLengths: Int32Array;
  #hashes: Int32Array;
  #marks: Int32Array;
  #end = 0;

  /** `capacityMax`: bytes, more than which `capacity` never becomes. */
  constructor(capacityMax: number) {
    this.capacity = capacityMax;
    this.#capacityMax = capacityMax;
    while (this.#mask < capacityMax / entryOverhead) this.#mask = this.#mask * 2 + 1;
    this.bytes = Buffer.allocUnsafeSlow(0);
    this.#starts = new Int32Array(0);
    this.#nameLengths = this.#starts;
    this.#valueLengths = this.#starts;
    this.#hashes = this.#starts;
    this.#marks = this.#starts;
  }

  /** Most connections that only say hello never need the memory. */
  #allocate(): void {
    const places = this.#mask + 1;
    // Twice the lines that fit: they move to the front once in a while, not for each new one.
    this.bytes = Buffer.allocUnsafeSlow(this.#capacityMax * 2);
    const memory = new ArrayBuffer(places * 20);
    this.#starts = new Int32Array(memory, 0, places);
    this.#nameLengths = new Int32Array(memory, places * 4, places);
    this.#valueLengths = new Int32Array(memory, places * 8, places);
    this.#hashes = new Int32Array(memory, places * 12, places);
    this.#marks = new Int32Array(memory, places * 16, places);
  }

  /** The place of the entry `back` entries before the newest (0); it must be there. */
  placeOf(back: number): number {
    return (this.insertions - 1 - back) & this.#mask;
  }

  lineStart(place: number): number {
    return this.#starts[place] ?? 0;
  }

  nameLength(place: number): number {
    return this.#nameLengths[place] ?? 0;
  }

  valueLength(place: number): number {
    return this.#valueLengths[place] ?? 0;
  }

  hash(place: number): number {
    return this.#hashes[place] ?? 0;
  }

  /** What the owner noted with the entry. */
  mark(place: number): number {
    return this.#marks[place] ?? 0;
  }

  /** `capacity` must not exceed what the table was made for. */
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
    if (this.bytes.length === 0) this.#allocate();
    const length = lengths.name + lengths.value + lineOverhead;
    if (this.#end + length > this.bytes.length) this.#compact();
    const place = this.insertions & this.#mask;
    source.copy(this.bytes, this.#end, start, start + length);
    this.#starts[place] = this.#end;
    this.#nameLengths[place] = lengths.name;
    this.#valueLengths[place] = lengths.value;
    this.#hashes[place] = noted.hash;
    this.#marks[place] = noted.mark;
    this.#end += length;
    this.size += cost;
    this.count++;
    this.insertions++;
  }

  /** The oldest go until the rest takes `size` bytes at most. */
  #evict(size: number): void {
    while (this.size > size && this.count > 0) {
      const oldest = this.placeOf(this.count - 1);
      this.size -= this.nameLength(oldest) + this.valueLength(oldest) + entryOverhead;
      this.count--;
    }
  }

  #compact(): void {
    const first = this.count === 0 ? this.#end : this.lineStart(this.placeOf(this.count - 1));
    this.bytes.copyWithin(0, first, this.#end);
    for (let back = 0; back < this.count; back++) {
      const place = this.placeOf(back);
      this.#starts[place] = this.lineStart(place) - first;
    }
    this.#end -= first;
  }
}
