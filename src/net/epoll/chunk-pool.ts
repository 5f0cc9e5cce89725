/**
 * Memory of what waits to be sent. Copies made anew would be garbage outside of V8's heap, which it answers by
 * collecting everything: with 32 downloads over mutual TLS that was more than half of the work.
 */

/** A record of TLS, and what is read at once of one. */
export const chunkBytes: number = 16 * 1024;
/** Of no use to anybody now; the rest is left to the collector. 1 MB of each thread. */
const freeMax = 64;

export class ChunkPool {
  readonly #free: Uint8Array[] = [];
  /** Weakly: a queue that is forgotten with its chunks leaves nothing behind. */
  readonly #lent = new WeakSet<ArrayBufferLike>();

  /** `chunkBytes` long, and whatever was in it. */
  take(): Uint8Array {
    const chunk = this.#free.pop() ?? new Uint8Array(chunkBytes);
    this.#lent.add(chunk.buffer);
    return chunk;
  }

  /** Whatever begins or ends inside of such a chunk gives back all of it; others' memory stays theirs. */
  give(part: Uint8Array): void {
    if (part.buffer.byteLength !== chunkBytes || !this.#lent.delete(part.buffer)) return;
    if (this.#free.length < freeMax) this.#free.push(new Uint8Array(part.buffer));
  }

  get free(): number {
    return this.#free.length;
  }
}
