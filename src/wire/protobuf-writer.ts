/**
 * Writes protobuf messages field by field into memory that is used again, without an object for each
 * message. For the few messages of a hot path; everything else goes through the generated codecs.
 */
const firstBytes = 4096;
/** More than this is given back once it was taken. */
const keptBytesMax = 256 * 1024;

const wireTypes = { varint: 0, fixed64: 1, bytes: 2 } as const;
const twoTo32 = 2 ** 32;

export class ProtobufWriter {
  /** The message stands at its start. */
  memory: Buffer;
  length = 0;

  /** `bytes`: as much as it will need, where that is known. */
  constructor(bytes: number = firstBytes) {
    this.memory = Buffer.allocUnsafeSlow(bytes);
  }

  clear(): void {
    this.length = 0;
    if (this.memory.length > keptBytesMax) this.memory = Buffer.allocUnsafeSlow(firstBytes);
  }

  /** `value` is a whole number from 0 to 2^53 - 1. */
  number(field: number, value: number): void {
    this.#tag(field, wireTypes.varint);
    this.#varint(value);
  }

  /** -1 as a signed number of 32 or 64 bits. */
  minusOne(field: number): void {
    this.#tag(field, wireTypes.varint);
    this.#reserve(10);
    this.memory.fill(0xff, this.length, this.length + 9);
    this.memory[this.length + 9] = 0x01;
    this.length += 10;
  }

  /** Nanoseconds since 1970 in 64 bits: `microseconds` and so many nanoseconds more, both whole. */
  nanoseconds(field: number, microseconds: number, more: number): void {
    this.#tag(field, wireTypes.fixed64);
    this.#reserve(8);
    const lowProduct = (microseconds % twoTo32) * 1000;
    const low = (lowProduct % twoTo32) + (more % twoTo32);
    const high =
      Math.floor(microseconds / twoTo32) * 1000 +
      Math.floor(lowProduct / twoTo32) +
      Math.floor(more / twoTo32) +
      Math.floor(low / twoTo32);
    this.memory.writeUInt32LE(low % twoTo32, this.length);
    this.memory.writeUInt32LE(high % twoTo32, this.length + 4);
    this.length += 8;
  }

  text(field: number, value: string): void {
    this.#tag(field, wireTypes.bytes);
    const { length } = value;
    const start = this.length;
    if (length < 0x80) {
      // Mostly ASCII, with a length of one byte.
      this.#reserve(length + 1);
      const { memory } = this;
      memory[start] = length;
      let index = 0;
      for (; index < length; index++) {
        const unit = value.charCodeAt(index);
        if (unit >= 0x80) break;
        memory[start + 1 + index] = unit;
      }
      if (index === length) {
        this.length = start + 1 + length;
        return;
      }
    }
    const bytes = Buffer.byteLength(value);
    this.#varint(bytes);
    this.#reserve(bytes);
    this.length += this.memory.write(value, this.length, "utf8");
  }

  /** Bytes that are given as lower-case hexadecimal digits. */
  hex(field: number, digits: string): void {
    this.#tag(field, wireTypes.bytes);
    const bytes = digits.length >> 1;
    this.#varint(bytes);
    this.#reserve(bytes);
    for (let index = 0; index < bytes; index++) {
      const high = nibble(digits.charCodeAt(2 * index));
      this.memory[this.length++] = (high << 4) | nibble(digits.charCodeAt(2 * index + 1));
    }
  }

  bytes(field: number, value: Uint8Array): void {
    this.#tag(field, wireTypes.bytes);
    this.#varint(value.length);
    this.#reserve(value.length);
    this.memory.set(value, this.length);
    this.length += value.length;
  }

  /** Fields that were written elsewhere. */
  append(source: Buffer, length: number): void {
    this.#reserve(length);
    source.copy(this.memory, this.length, 0, length);
    this.length += length;
  }

  /** Opens a message within this one; what it returns goes to `end()`. */
  begin(field: number): number {
    this.#tag(field, wireTypes.bytes);
    // Room for a length of one byte: most inner messages are short.
    this.#reserve(1);
    return ++this.length;
  }

  end(start: number): void {
    const { length: end } = this;
    const length = end - start;
    let lengthBytes = 1;
    for (let rest = length; rest >= 0x80; rest = Math.floor(rest / 0x80)) lengthBytes++;
    if (lengthBytes > 1) {
      this.#reserve(lengthBytes - 1);
      this.memory.copyWithin(start + lengthBytes - 1, start, end);
    }
    this.length = start - 1;
    this.#varint(length);
    this.length += length;
  }

  #tag(field: number, wireType: number): void {
    this.#varint(field * 8 + wireType);
  }

  #varint(value: number): void {
    this.#reserve(8);
    let rest = value;
    while (rest >= 0x80) {
      this.memory[this.length++] = (rest % 0x80) | 0x80;
      rest = Math.floor(rest / 0x80);
    }
    this.memory[this.length++] = rest;
  }

  #reserve(bytes: number): void {
    const needed = this.length + bytes;
    if (needed <= this.memory.length) return;
    const larger = Buffer.allocUnsafeSlow(needed * 2);
    this.memory.copy(larger, 0, 0, this.length);
    this.memory = larger;
  }
}

function nibble(unit: number): number {
  return unit < 0x3a ? unit - 0x30 : unit - 0x57;
}
