/**
 * What answers that are slowed down keep until they may leave. The answers of one connection have as much
 * together as one of them may have alone: a client that asks for a thousand on one connection of HTTP/2
 * costs no more than one that asks once.
 */
import type { Channel } from "../../net/channel.ts";

/**
 * An endpoint goes on until it hears that it shall wait, up to the window of its stream. As for content
 * that waits for clients without windows, a connection beyond the first of these loses answers only where
 * all of a thread together have more than the second.
 */
const keptBytesMost = 8 * 1024 * 1024;
const keptBytesOfAllMost = 16 * 1024 * 1024;

export class ThrottledBytes {
  /** Of all connections. */
  bytes = 0;
  readonly #shares = new WeakMap<Channel, ThrottledShare>();

  /** The same for all answers of one connection. `bytesMax`: beyond it endpoints shall wait. */
  shareOf(connection: Channel, bytesMax: number): ThrottledShare {
    let share = this.#shares.get(connection);
    if (share === undefined) {
      share = new ThrottledShare(this, bytesMax);
      this.#shares.set(connection, share);
    }
    return share;
  }
}

export class ThrottledShare {
  readonly #all: ThrottledBytes;
  readonly #bytesMax: number;
  #bytes = 0;

  constructor(all: ThrottledBytes, bytesMax: number) {
    this.#all = all;
    this.#bytesMax = bytesMax;
  }

  /** False: whoever has something waiting already shall not be sent more. */
  get hasRoom(): boolean {
    return this.#bytes <= this.#bytesMax;
  }

  /** False: so much more may not be kept, and was not. */
  take(bytes: number): boolean {
    const most = Math.max(keptBytesMost, 2 * this.#bytesMax);
    const isOver = this.#bytes + bytes > most && this.#all.bytes + bytes > keptBytesOfAllMost;
    if (!isOver) this.#add(bytes);
    return !isOver;
  }

  giveBack(bytes: number): void {
    this.#add(-bytes);
  }

  #add(bytes: number): void {
    this.#bytes += bytes;
    this.#all.bytes += bytes;
  }
}
