/**
 * Writes MessagePack into memory that is used again: the few forms that spans of Datadog need. Whoever
 * writes a map or a list says how long it is before what stands in it.
 */
const firstBytes = 4096;
/** More than this is given back once it was taken. */
const keptBytesMax = 256 * 1024;

const form = {
  fixMap: 0x80,
  fixArray: 0x90,
  fixText: 0xa0,
  uint64: 0xcf,
  float64: 0xcb,
  int32: 0xd2,
  text16: 0xda,
  text32: 0xdb,
  array32: 0xdd,
  map16: 0xde,
} as const;

export class MsgpackWriter {
  memory: Buffer = Buffer.allocUnsafeSlow(firstBytes);
  length = 0;

  clear(): void {
    this.length = 0;
    if (this.memory.length > keptBytesMax) this.memory = Buffer.allocUnsafeSlow(firstBytes);
  }

  /** So many pairs follow; at most 65,535. */
  map(pairs: number): void {
    this.#reserve(3);
    if (pairs < 16) this.memory[this.length++] = form.fixMap | pairs;
    else {
      this.memory[this.length++] = form.map16;
      this.length = this.memory.writeUInt16BE(pairs, this.length);
    }
  }

  /** So many values follow. */
  array(values: number): void {
    this.#reserve(5);
    if (values < 16) this.memory[this.length++] = form.fixArray | values;
    else {
      this.memory[this.length++] = form.array32;
      this.length = this.memory.writeUInt32BE(values, this.length);
    }
  }

  text(value: string): void {
    const bytes = Buffer.byteLength(value);
    this.#reserve(5 + bytes);
    const { memory } = this;
    if (bytes < 32) memory[this.length++] = form.fixText | bytes;
    else if (bytes < 0x1_0000) {
      memory[this.length++] = form.text16;
      this.length = memory.writeUInt16BE(bytes, this.length);
    } else {
      memory[this.length++] = form.text32;
      this.length = memory.writeUInt32BE(bytes, this.length);
    }
    this.length += memory.write(value, this.length, "utf8");
  }

  /** An unsigned number of 64 bits. */
  uint64(value: bigint): void {
    this.#reserve(9);
    this.memory[this.length++] = form.uint64;
    this.length = this.memory.writeBigUInt64BE(value, this.length);
  }

  int32(value: number): void {
    this.#reserve(5);
    this.memory[this.length++] = form.int32;
    this.length = this.memory.writeInt32BE(value, this.length);
  }

  float64(value: number): void {
    this.#reserve(9);
    this.memory[this.length++] = form.float64;
    this.length = this.memory.writeDoubleBE(value, this.length);
  }

  append(source: Buffer, length: number): void {
    this.#reserve(length);
    source.copy(this.memory, this.length, 0, length);
    this.length += length;
  }

  #reserve(bytes: number): void {
    const needed = this.length + bytes;
    if (needed <= this.memory.length) return;
    const larger = Buffer.allocUnsafeSlow(needed * 2);
    this.memory.copy(larger, 0, 0, this.length);
    this.memory = larger;
  }
}
