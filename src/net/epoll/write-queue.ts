/** Bytes that a channel has accepted and the kernel has not taken, in order. */
import os from "node:os";

import { PieceJoiner } from "../../wire/joined-pieces.ts";
import type { ByteStream } from "./byte-stream.ts";
import { chunkBytes, type ChunkPool } from "./chunk-pool.ts";
import type { Block } from "./native/block.ts";
import { vectorsMax } from "./native/libc.ts";

const { EAGAIN, EINTR } = os.constants.errno;

/** Chunks of at most this many bytes are copied side by side: cheaper than a vector for each. */
const copiedBytesMax = 16 * 1024;
const sent = new Uint8Array(0);

/** While few chunks wait they stay as they are; behind so many … */
const unjoinedMax = 32;
/** … what is at most so long is joined: a peer that sends each byte by itself would cost us an object for each. */
const joinedBytesMax = 1024;

/** What is longer is not copied if C can read it where it is; and of a read no more is wiped. */
export const shortBytesMax = 4096;

/** Offers bytes of which nothing was offered yet: how many were taken, or the negative error number. */
export function writeOnce(
  stream: ByteStream,
  { readSlab, writeSlab }: { readonly readSlab: Block; readonly writeSlab: Block },
  memory: Uint8Array,
  length: number,
): number {
  if (length > shortBytesMax && readSlab.startsWith(memory)) return stream.write(readSlab, length);
  if (length <= writeSlab.bytes.length) {
    writeSlab.put(memory, length);
    return stream.write(writeSlab, length);
  }
  if (stream.writeVector === undefined) return 0;
  return stream.writeVector([memory.length === length ? memory : memory.subarray(0, length)]);
}

export class WriteQueue {
  readonly #pool: ChunkPool;
  readonly #joiner: PieceJoiner = new PieceJoiner();
  /** Sent chunks before `#first` are gone; the array is shortened when they are many. */
  #chunks: Uint8Array[] = [];
  #first = 0;
  bytes = 0;
  /** With the last write. */
  #offered = 0;

  constructor(pool: ChunkPool) {
    this.#pool = pool;
  }

  /** Of memory that is somebody else's when this returns. */
  pushCopy(memory: Uint8Array): void {
    let at = 0;
    // What is short would waste a chunk: thousands of them may wait.
    while (memory.length - at > chunkBytes / 2) {
      const piece = memory.subarray(at, at + chunkBytes);
      const chunk = this.#pool.take();
      chunk.set(piece);
      this.push(piece.length === chunkBytes ? chunk : chunk.subarray(0, piece.length));
      at += piece.length;
    }
    if (at === memory.length) return;
    const rest = memory.subarray(at);
    this.push(this.#isJoined(rest.length) ? rest : new Uint8Array(rest));
  }

  push(chunk: Uint8Array): void {
    this.bytes += chunk.length;
    if (this.#isJoined(chunk.length)) {
      return this.#joiner.add(this.#chunks, chunk, 0, chunk.length);
    }
    this.#joiner.reset();
    this.#chunks.push(chunk);
  }

  /** A chunk of that length is copied behind the last one. */
  #isJoined(length: number): boolean {
    return length <= joinedBytesMax && this.#chunks.length - this.#first >= unjoinedMax;
  }

  clear(): void {
    for (let at = this.#first; at < this.#chunks.length; at++) {
      this.#pool.give(this.#chunks[at] ?? sent);
    }
    this.#chunks = [];
    this.#joiner.reset();
    this.#first = 0;
    this.bytes = 0;
  }

  /** Writes until it is empty (0), the kernel takes no more (0, `bytes` left), or fails (negative). */
  flush(stream: ByteStream, slab: Block): number {
    while (this.bytes > 0) {
      const count =
        stream.writeVector === undefined
          ? this.#writeCopied(stream, slab)
          : this.#write(stream, slab);
      if (count === -EAGAIN) return 0;
      if (count === -EINTR) continue;
      if (count < 0) return count;
      this.#drop(count);
      // It took less than it was offered: it is full.
      if (count < this.#offered) return 0;
    }
    return 0;
  }

  /** Side by side what is small; as vectors where much is large. */
  #write(stream: ByteStream, slab: Block): number {
    const chunks = this.#chunks;
    const room = slab.bytes;
    let length = 0;
    let at = this.#first;
    for (; at < chunks.length; at++) {
      const chunk = chunks[at];
      if (chunk === undefined || chunk.length > copiedBytesMax) break;
      if (chunk.length > room.length - length) break;
      room.set(chunk, length);
      length += chunk.length;
    }
    // All of it, or as much as fills a slab.
    if (at === chunks.length || length >= room.length - copiedBytesMax) {
      this.#offered = length;
      return stream.write(slab, length);
    }
    const isShort = this.#first === 0 && chunks.length <= vectorsMax;
    const vector = isShort ? chunks : chunks.slice(this.#first, this.#first + vectorsMax);
    this.#offered = vector.reduce((sum, chunk) => sum + chunk.length, 0);
    return stream.writeVector?.(vector) ?? 0;
  }

  /** As much as fills the slab: what TLS offers again after EAGAIN must not be less than its record. */
  #writeCopied(stream: ByteStream, slab: Block): number {
    const room = slab.bytes;
    let length = 0;
    for (let at = this.#first; at < this.#chunks.length && length < room.length; at++) {
      const chunk = this.#chunks[at];
      if (chunk === undefined) break;
      const part = chunk.subarray(0, room.length - length);
      room.set(part, length);
      length += part.length;
    }
    this.#offered = length;
    return stream.write(slab, length);
  }

  #drop(count: number): void {
    this.bytes -= count;
    let left = count;
    const chunks = this.#chunks;
    while (left > 0) {
      const chunk = chunks[this.#first];
      if (chunk === undefined) break;
      if (chunk.length > left) {
        chunks[this.#first] = chunk.subarray(left);
        break;
      }
      left -= chunk.length;
      this.#pool.give(chunk);
      // Let go of it now: the array is shortened later.
      chunks[this.#first++] = sent;
    }
    if (this.bytes === 0) {
      this.#joiner.reset();
      chunks.length = 0;
      this.#first = 0;
    } else if (this.#first >= vectorsMax) {
      chunks.splice(0, this.#first);
      this.#first = 0;
    }
  }
}
