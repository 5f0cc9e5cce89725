/** What a channel reads from and writes to: a plain socket, or TLS on one. */
import os from "node:os";

import type { Block } from "./native/block.ts";
import type { Syscalls } from "./native/libc.ts";

const { EAGAIN, EINTR } = os.constants.errno;

export interface ByteStream {
  /** Whether bytes may wait inside it, where epoll cannot see them. */
  readonly buffers: boolean;
  /** Whether they do: then somebody must read again, as after a read that was not tried. */
  holds(): boolean;
  /** Bytes read; 0 at the end; the negative error number. `wantsWrite`: when it is writable. */
  read(into: Block, bytes: number): number;
  /** Bytes taken, or the negative error number. */
  write(from: Block, bytes: number): number;
  /** In one call, where there is one. */
  writeVector?(chunks: readonly Uint8Array[]): number;
  /** Tells the peer that nothing more comes. */
  end(): void;
  /** Gives back what it holds, but not the descriptor. */
  free(): void;
  /** More about the last error than its number says. */
  readonly detail?: string;
}

/** A read that waits for room to write (TLS may have to answer before it can go on). */
export const wantsWrite = -1_000_000;

/** Nothing has failed: it can be tried again. */
export function isPassing(status: number): boolean {
  return status === -EAGAIN || status === -EINTR;
}

export class PlainStream implements ByteStream {
  readonly buffers = false;
  readonly #syscalls: Syscalls;
  readonly #fd: number;

  constructor(syscalls: Syscalls, fd: number) {
    this.#syscalls = syscalls;
    this.#fd = fd;
  }

  read(into: Block, bytes: number): number {
    return this.#syscalls.read(this.#fd, into, bytes);
  }

  write(from: Block, bytes: number): number {
    return this.#syscalls.write(this.#fd, from, bytes);
  }

  writeVector(chunks: readonly Uint8Array[]): number {
    return this.#syscalls.writeVector(this.#fd, chunks);
  }

  end(): void {
    // A connection that has failed says so when it is read.
    this.#syscalls.shutdownWrite(this.#fd);
  }

  free(): void {}

  holds(): boolean {
    return false;
  }
}
