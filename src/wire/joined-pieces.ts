/**
 * Content that must be kept, copied, in few pieces of memory: what is short is joined, or a peer that sends each byte
 * in a frame or a chunk of its own would have us keep an object, of a hundred bytes and more, for each.
 */

/** Pieces are joined up to so many bytes. */
const joinedBytesMax = 4096;

export class PieceJoiner {
  /** The last piece is a part of it that ends at `#end`; undefined: it has memory of its own. */
  #memory: Buffer | undefined;
  #end = 0;

  /**
   * Adds `chunk[from, to)` at the end of `pieces`, to which nobody else adds, and whose last one nobody else
   * changes, but that its beginning may be taken away.
   */
  add(pieces: Uint8Array[], chunk: Uint8Array, from: number, to: number): void {
    const length = to - from;
    const last = pieces.length - 1;
    const before = pieces[last];
    const memory = this.#memory;
    if (before !== undefined && memory !== undefined && this.#end + length <= joinedBytesMax) {
      memory.set(chunk.subarray(from, to), this.#end);
      const start = this.#end - before.length;
      this.#end += length;
      pieces[last] = memory.subarray(start, this.#end);
      return;
    }
    // Most are alone: the first takes no more than it is.
    const isJoinable = before !== undefined && length <= joinedBytesMax / 2;
    this.#memory = isJoinable ? Buffer.allocUnsafeSlow(joinedBytesMax) : undefined;
    this.#end = length;
    const piece = this.#memory?.subarray(0, length) ?? Buffer.allocUnsafe(length);
    if (Buffer.isBuffer(chunk)) chunk.copy(piece, 0, from, to);
    else piece.set(chunk.subarray(from, to));
    pieces.push(piece);
  }

  /** The pieces are gone, or others. */
  reset(): void {
    this.#memory = undefined;
  }
}
