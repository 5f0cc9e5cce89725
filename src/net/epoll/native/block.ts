/**
 * Memory that C may be given the address of. A block is allocated once, outside V8's heap, never
 * moves, and stays in a registry for the life of the process: an address alone keeps nothing alive,
 * and optimised code lets go of a buffer as soon as it reads it no more.
 */
import { assert } from "../../../base/assert.ts";

const registry = new Set<Block>();
/** A backstop: whoever allocates for each connection has misunderstood what blocks are for. */
const blocksMax = 256;
/** Views of up to this many bytes are kept: most messages are short, and come in few lengths. */
const keptViewBytesMax = 2048;
/** Node's global `Buffer` is a getter, which would be called each time. */
const NodeBuffer = Buffer;

export class Block {
  readonly bytes: Buffer;
  readonly #address: bigint;
  readonly #views: (Buffer | undefined)[] = [];
  #words: Float64Array | undefined;

  private constructor(bytes: Buffer, address: bigint) {
    this.bytes = bytes;
    this.#address = address;
  }

  static allocate(bytes: number, addressOf: (bytes: Buffer) => bigint): Block {
    assert(registry.size < blocksMax, "too many native blocks");
    // Its own ArrayBuffer: a small typed array made without one lives in the heap, which moves it.
    const view = Buffer.from(new ArrayBuffer(bytes));
    const block = new Block(view, addressOf(view));
    registry.add(block);
    return block;
  }

  /** Blocks of `bytes` each, side by side in the memory of this one. */
  parts(bytes: number): readonly Block[] {
    const count = Math.floor(this.bytes.length / bytes);
    return Array.from({ length: count }, (_, index) => {
      const start = index * bytes;
      const view = this.bytes.subarray(start, start + bytes);
      return new Block(view, this.#address + BigInt(start));
    });
  }

  /** The first `length` bytes. Who asks for as many later may be given the same object. */
  view(length: number): Buffer {
    if (length > keptViewBytesMax) return this.bytes.subarray(0, length);
    const views = this.#views;
    while (views.length <= length) views.push(undefined);
    return (views[length] ??= this.bytes.subarray(0, length));
  }

  /** Zeros at the start, `length` bytes and up to seven more: for short ones cheaper than `fill()`. */
  wipe(length: number): void {
    const { bytes } = this;
    this.#words ??= new Float64Array(bytes.buffer, bytes.byteOffset, bytes.length >> 3);
    const words = this.#words;
    const end = Math.min((length + 7) >> 3, words.length);
    for (let at = 0; at < end; at++) words[at] = 0;
  }

  /** Whether a view begins where this block does. */
  startsWith(view: Uint8Array): boolean {
    return view.byteOffset === this.bytes.byteOffset && view.buffer === this.bytes.buffer;
  }

  /** Puts the first `length` bytes of `source` at the start. */
  put(source: Uint8Array, length: number): void {
    if (length === source.length) this.bytes.set(source);
    // A part of a typed array would be an object of its own.
    else if (NodeBuffer.isBuffer(source)) source.copy(this.bytes, 0, 0, length);
    else this.bytes.set(source.subarray(0, length));
  }

  /** For calls into C that touch no more than the first `bytes`; only this folder may ask. */
  static addressOf(block: Block, bytes: number): bigint {
    // Of the view, not of a stored length: memory that was taken away has the length 0.
    assert(bytes >= 0 && bytes <= block.bytes.length, "outside of a native block");
    return block.#address;
  }
}
