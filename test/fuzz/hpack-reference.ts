/** HPACK as RFC 7541 writes it down: lists, strings, one bit after another. Slow, and easy to check. */
import { huffmanLengths, huffmanWords, staticTable } from "../../src/wire/hpack-tables.ts";

export type Field = readonly [name: string, value: string];

const fixed: readonly Field[] = staticTable.slice(1).map(({ line, nameLength }) => {
  const text = Buffer.from(line).toString("latin1");
  return [text.slice(0, nameLength), text.slice(nameLength + 2, -2)];
});
const symbols = new Map<string, number>();
for (const [symbol, length] of huffmanLengths.entries()) {
  symbols.set((huffmanWords[symbol] ?? 0).toString(2).padStart(length, "0"), symbol);
}

class NoHpack extends Error {}

export class ReferenceDecoder {
  #table: Field[] = [];
  #capacity = 4096;
  #capacityMax: number;

  constructor(capacityMax: number) {
    this.#capacityMax = capacityMax;
  }

  /** The reader has said how large a table it keeps. */
  limit(bytes: number): void {
    this.#capacityMax = bytes;
  }

  /** The writer has heard of it. */
  get isWithinLimit(): boolean {
    return this.#capacity <= this.#capacityMax;
  }

  /** Undefined when it is not a block. */
  decode(block: Buffer): readonly Field[] | undefined {
    try {
      return this.#decode(new Reader(block));
    } catch (error) {
      if (error instanceof NoHpack) return undefined;
      throw error;
    }
  }

  #decode(reader: Reader): readonly Field[] {
    const fields: Field[] = [];
    let updates = 0;
    while (!reader.isAtEnd) {
      const first = reader.peek();
      if (first >= 0x80) fields.push(this.#at(reader.integer(7)));
      else if (first >= 0x40) {
        const field = this.#literal(reader, 6);
        this.#table.unshift(field);
        this.#evict();
        fields.push(field);
      } else if (first >= 0x20) {
        const capacity = reader.integer(5);
        if (fields.length > 0 || ++updates > 2 || capacity > this.#capacityMax) throw new NoHpack();
        this.#capacity = capacity;
        this.#evict();
      } else fields.push(this.#literal(reader, 4));
    }
    return fields;
  }

  #literal(reader: Reader, bits: number): Field {
    const index = reader.integer(bits);
    const name = index === 0 ? reader.string() : this.#at(index)[0];
    return [name, reader.string()];
  }

  #at(index: number): Field {
    const field = index <= fixed.length ? fixed[index - 1] : this.#table[index - fixed.length - 1];
    if (field === undefined) throw new NoHpack();
    return field;
  }

  #evict(): void {
    const size = (): number =>
      this.#table.reduce((sum, [name, value]) => sum + name.length + value.length + 32, 0);
    while (size() > this.#capacity) this.#table.pop();
  }
}

class Reader {
  #at = 0;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }

  peek(): number {
    const byte = this.#bytes[this.#at];
    if (byte === undefined) throw new NoHpack();
    return byte;
  }

  #next(): number {
    const byte = this.peek();
    this.#at++;
    return byte;
  }

  integer(bits: number): number {
    const all = 2 ** bits - 1;
    let value = this.#next() & all;
    if (value < all) return value;
    for (let place = 0; place < 4; place++) {
      const byte = this.#next();
      value += (byte & 127) * 128 ** place;
      if (byte < 128) return value;
    }
    throw new NoHpack();
  }

  string(): string {
    const isHuffman = this.peek() >= 0x80;
    const length = this.integer(7);
    if (length > this.#bytes.length - this.#at) throw new NoHpack();
    const bytes = this.#bytes.subarray(this.#at, this.#at + length);
    this.#at += length;
    return isHuffman ? fromHuffman(bytes) : bytes.toString("latin1");
  }
}

function fromHuffman(bytes: Buffer): string {
  let text = "";
  let word = "";
  for (const byte of bytes) {
    for (const bit of byte.toString(2).padStart(8, "0")) {
      word += bit;
      const symbol = symbols.get(word);
      if (symbol === undefined) continue;
      if (symbol === 256) throw new NoHpack();
      text += String.fromCharCode(symbol);
      word = "";
    }
  }
  if (word.length > 7 || word.includes("0")) throw new NoHpack();
  return text;
}
