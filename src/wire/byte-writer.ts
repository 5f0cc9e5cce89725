/**
 * Gathers outgoing bytes. Its memory is used again and again: whoever writes it must be done with it,
 * or copy, before the next byte is added.
 */
const firstBytes = 64 * 1024;
/** More than this is given back as soon as it has been written. */
const keptBytesMax = 512 * 1024;
/** From here on a call into C++ is cheaper than a loop. */
const longRunBytes = 48;
/** Node's global `Buffer` is a getter, which would be called each time. */
const NodeBuffer = Buffer;

export class ByteWriter {
  /** What was written since the last `discard()` stands at its start. */
  memory: Buffer;
  length = 0;

  /** `capacity`: bytes it has room for at first. */
  constructor(capacity: number = firstBytes) {
    this.memory = Buffer.allocUnsafeSlow(capacity);
  }

  discard(): void {
    this.length = 0;
    if (this.memory.length > keptBytesMax) this.memory = Buffer.allocUnsafeSlow(firstBytes);
  }

  /** Makes room for `bytes` more. */
  reserve(bytes: number): void {
    const needed = this.length + bytes;
    if (needed <= this.memory.length) return;
    const larger = Buffer.allocUnsafeSlow(needed * 2);
    this.memory.copy(larger, 0, 0, this.length);
    this.memory = larger;
  }

  byte(value: number): void {
    this.reserve(1);
    this.memory[this.length++] = value;
  }

  uint32(value: number): void {
    this.reserve(4);
    const { memory, length } = this;
    memory[length] = value >>> 24;
    memory[length + 1] = value >>> 16;
    memory[length + 2] = value >>> 8;
    memory[length + 3] = value;
    this.length = length + 4;
  }

  /** `source[from, to)`. */
  bytes(source: Uint8Array, from: number, to: number): void {
    const count = to - from;
    this.reserve(count);
    const { memory, length } = this;
    if (count < longRunBytes) {
      for (let index = 0; index < count; index++)
        memory[length + index] = source[from + index] ?? 0;
    } else if (NodeBuffer.isBuffer(source)) {
      source.copy(memory, length, from, to);
    } else {
      memory.set(source.subarray(from, to), length);
    }
    this.length = length + count;
  }
}
