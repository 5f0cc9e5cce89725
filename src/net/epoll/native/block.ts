/**
 * Memory that C may be given the address of. A block is allocated once, outside V8's heap, never
 * moves, and stays in a registry for the life of the process: an address alone keeps nothing alive,
 * and optimised code lets go of a buffer as soon as it reads it no more.
 */
import { assert } from "../../../base/assert.ts";

const registry = new Set<Block>();
/** A backstop: whoever allocates for each connection has misunderstood what blocks are for. */
const blocksMax = 256;

export class Block {
  readonly bytes: Buffer;
  readonly #address: bigint;

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

  /** For calls into C that touch no more than the first `bytes`; only this folder may ask. */
  static addressOf(block: Block, bytes: number): bigint {
    // Of the view, not of a stored length: memory that was taken away has the length 0.
    assert(bytes >= 0 && bytes <= block.bytes.length, "outside of a native block");
    return block.#address;
  }
}
