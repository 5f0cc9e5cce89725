/**
 * The system calls of the epoll backend, through `node:ffi`. Each answers as the kernel does: what it
 * found, or the negative error number. Memory comes in as blocks and is checked against their bounds
 * before C sees an address.
 *
 * Signatures of up to three arguments have a fast path in Node 26; those with more (accept4,
 * epoll_ctl, epoll_wait, socket options) cost about a microsecond and are not called per request.
 */
import os from "node:os";

import { assert } from "../../../base/assert.ts";
import { Block } from "./block.ts";

export interface Syscalls {
  allocate(bytes: number): Block;
  socket(family: number, type: number): number;
  bind(fd: number, address: Uint8Array): number;
  listen(fd: number, backlog: number): number;
  /** The peer's address is in `peer` when it is not negative. */
  accept(fd: number, peer: Block): number;
  connect(fd: number, address: Uint8Array): number;
  localAddress(fd: number, into: Block): number;
  read(fd: number, into: Block, bytes: number): number;
  write(fd: number, from: Block, bytes: number): number;
  /** In one call as much as the kernel takes of `chunks`, of at most `vectorsMax`. */
  writeVector(fd: number, chunks: readonly Uint8Array[]): number;
  shutdownWrite(fd: number): number;
  close(fd: number): number;
  setOption(fd: number, level: number, option: number, value: number): number;
  setOptionBytes(fd: number, option: OptionBytes): number;
  /** An option of type int, or the negative error number. */
  option(fd: number, level: number, option: number): number;
  /** Fills `into` with as much as the option has; its length, or the negative error number. */
  optionBytes(fd: number, level: number, option: number, into: Block): number;
  setNonBlocking(fd: number): number;
  /** The negative error number that the last call into C left, ours or not; 0 for none. */
  lastError(): number;
  eventfd(): number;
  epollCreate(): number;
  epollControl(epoll: number, change: EpollChange): number;
  epollWait(epoll: number, into: Block, eventsMax: number): number;
}

export interface EpollChange {
  readonly operation: "add" | "modify" | "delete";
  readonly fd: number;
  readonly events: number;
  readonly generation: number;
}

export interface OptionBytes {
  readonly level: number;
  readonly option: number;
  readonly value: Uint8Array;
}

export const vectorsMax = 64;

/** `struct epoll_event` is packed on x64 only. */
export const epollEventBytes: number = process.arch === "x64" ? 12 : 16;
const epollFieldsAt = process.arch === "x64" ? 4 : 8;
/** Where an event's descriptor and generation are, in words of 32 bits. */
export const epollFdWord: number = epollFieldsAt / 4;

const operations = { add: 1, modify: 3, delete: 2 } as const;
const sockCloexec = 0o2000000;
const sockNonblock = 0o4000;
const scratchBytes = 128;

const signatures = {
  socket: { arguments: ["i32", "i32", "i32"], return: "i32" },
  bind: { arguments: ["i32", "pointer", "u32"], return: "i32" },
  listen: { arguments: ["i32", "i32"], return: "i32" },
  accept4: { arguments: ["i32", "pointer", "pointer", "i32"], return: "i32" },
  connect: { arguments: ["i32", "pointer", "u32"], return: "i32" },
  getsockname: { arguments: ["i32", "pointer", "pointer"], return: "i32" },
  read: { arguments: ["i32", "pointer", "u32"], return: "i32" },
  write: { arguments: ["i32", "pointer", "u32"], return: "i32" },
  writev: { arguments: ["i32", "pointer", "i32"], return: "i32" },
  shutdown: { arguments: ["i32", "i32"], return: "i32" },
  close: { arguments: ["i32"], return: "i32" },
  setsockopt: { arguments: ["i32", "i32", "i32", "pointer", "u32"], return: "i32" },
  getsockopt: { arguments: ["i32", "i32", "i32", "pointer", "pointer"], return: "i32" },
  fcntl: { arguments: ["i32", "i32", "i32"], return: "i32" },
  eventfd: { arguments: ["u32", "i32"], return: "i32" },
  epoll_create1: { arguments: ["i32"], return: "i32" },
  epoll_ctl: { arguments: ["i32", "i32", "i32", "pointer"], return: "i32" },
  epoll_wait: { arguments: ["i32", "pointer", "i32", "i32"], return: "i32" },
  __errno_location: { arguments: [], return: "pointer" },
} as const;

type Ffi = typeof import("node:ffi");
type Functions = ReturnType<typeof resolveFunctions>;

function resolveFunctions(ffi: Ffi) {
  return ffi.dlopen(null, signatures).functions;
}

/** Throws where a function is missing. */
export function openSyscalls(ffi: Ffi): Syscalls {
  return new Libc(ffi, resolveFunctions(ffi));
}

class Libc implements Syscalls {
  readonly #ffi: Ffi;
  readonly #functions: Functions;
  /** C's errno of this thread, as memory: read at once after a call, before anything else runs. */
  readonly #errno: Int32Array;
  readonly #scratch: Block;
  readonly #scratchLength: Block;
  readonly #event: Block;
  readonly #vectors: Block;
  readonly #vectorWords: BigUint64Array;
  /** Keeps what the vectors point at, whatever becomes of the caller's variables. */
  readonly #inFlight: Uint8Array[] = [];

  constructor(ffi: Ffi, functions: Functions) {
    this.#ffi = ffi;
    this.#functions = functions;
    const errnoAt = functions.__errno_location();
    assert(typeof errnoAt === "bigint" && errnoAt !== 0n, "no errno");
    this.#errno = new Int32Array(ffi.toArrayBuffer(errnoAt, 4, false));
    this.#scratch = this.allocate(scratchBytes);
    this.#scratchLength = this.allocate(4);
    this.#event = this.allocate(epollEventBytes);
    this.#vectors = this.allocate(vectorsMax * 16);
    this.#vectorWords = new BigUint64Array(this.#vectors.bytes.buffer);
  }

  allocate(bytes: number): Block {
    return Block.allocate(bytes, (view) => this.#ffi.getRawPointer(view));
  }

  socket(family: number, type: number): number {
    const fd = this.#functions.socket(family, type | sockCloexec | sockNonblock, 0);
    return fd < 0 ? this.#failed() : fd;
  }

  bind(fd: number, address: Uint8Array): number {
    const at = this.#stage(address);
    return this.#functions.bind(fd, at, address.length) < 0 ? this.#failed() : 0;
  }

  listen(fd: number, backlog: number): number {
    return this.#functions.listen(fd, backlog) < 0 ? this.#failed() : 0;
  }

  accept(fd: number, peer: Block): number {
    const length = this.#stageLength(peer.bytes.length);
    const into = Block.addressOf(peer, peer.bytes.length);
    const accepted = this.#functions.accept4(fd, into, length, sockCloexec | sockNonblock);
    return accepted < 0 ? this.#failed() : accepted;
  }

  connect(fd: number, address: Uint8Array): number {
    const at = this.#stage(address);
    return this.#functions.connect(fd, at, address.length) < 0 ? this.#failed() : 0;
  }

  localAddress(fd: number, into: Block): number {
    const length = this.#stageLength(into.bytes.length);
    const at = Block.addressOf(into, into.bytes.length);
    return this.#functions.getsockname(fd, at, length) < 0 ? this.#failed() : 0;
  }

  read(fd: number, into: Block, bytes: number): number {
    const count = this.#functions.read(fd, Block.addressOf(into, bytes), bytes);
    return count < 0 ? this.#failed() : count;
  }

  write(fd: number, from: Block, bytes: number): number {
    const count = this.#functions.write(fd, Block.addressOf(from, bytes), bytes);
    return count < 0 ? this.#failed() : count;
  }

  writeVector(fd: number, chunks: readonly Uint8Array[]): number {
    const vectors = Math.min(chunks.length, vectorsMax);
    for (let i = 0; i < vectors; i++) {
      const chunk = chunks[i];
      assert(chunk !== undefined, "a hole among chunks");
      this.#inFlight.push(chunk);
      this.#vectorWords[2 * i] = this.#ffi.getRawPointer(chunk);
      this.#vectorWords[2 * i + 1] = BigInt(chunk.length);
    }
    const at = Block.addressOf(this.#vectors, vectors * 16);
    const count = this.#functions.writev(fd, at, vectors);
    const result = count < 0 ? this.#failed() : count;
    this.#inFlight.length = 0;
    return result;
  }

  shutdownWrite(fd: number): number {
    return this.#functions.shutdown(fd, 1) < 0 ? this.#failed() : 0;
  }

  close(fd: number): number {
    return this.#functions.close(fd) < 0 ? this.#failed() : 0;
  }

  setOption(fd: number, level: number, option: number, value: number): number {
    this.#scratch.bytes.writeInt32LE(value, 0);
    const at = Block.addressOf(this.#scratch, 4);
    return this.#functions.setsockopt(fd, level, option, at, 4) < 0 ? this.#failed() : 0;
  }

  setOptionBytes(fd: number, { level, option, value }: OptionBytes): number {
    const at = this.#stage(value);
    const status = this.#functions.setsockopt(fd, level, option, at, value.length);
    return status < 0 ? this.#failed() : 0;
  }

  option(fd: number, level: number, option: number): number {
    const length = this.optionBytes(fd, level, option, this.#scratch);
    return length < 0 ? length : this.#scratch.bytes.readInt32LE(0);
  }

  optionBytes(fd: number, level: number, option: number, into: Block): number {
    const length = this.#stageLength(into.bytes.length);
    const at = Block.addressOf(into, into.bytes.length);
    if (this.#functions.getsockopt(fd, level, option, at, length) < 0) return this.#failed();
    return this.#scratchLength.bytes.readUInt32LE(0);
  }

  setNonBlocking(fd: number): number {
    const [getFlags, setFlags] = [3, 4];
    const flags = this.#functions.fcntl(fd, getFlags, 0);
    if (flags < 0) return this.#failed();
    return this.#functions.fcntl(fd, setFlags, flags | sockNonblock) < 0 ? this.#failed() : 0;
  }

  eventfd(): number {
    const fd = this.#functions.eventfd(0, sockCloexec | sockNonblock);
    return fd < 0 ? this.#failed() : fd;
  }

  epollCreate(): number {
    const fd = this.#functions.epoll_create1(sockCloexec);
    return fd < 0 ? this.#failed() : fd;
  }

  epollControl(epoll: number, { operation, fd, events, generation }: EpollChange): number {
    const { bytes } = this.#event;
    bytes.writeUInt32LE(events, 0);
    bytes.writeInt32LE(fd, epollFieldsAt);
    bytes.writeInt32LE(generation, epollFieldsAt + 4);
    const at = Block.addressOf(this.#event, epollEventBytes);
    const status = this.#functions.epoll_ctl(epoll, operations[operation], fd, at);
    return status < 0 ? this.#failed() : 0;
  }

  epollWait(epoll: number, into: Block, eventsMax: number): number {
    const at = Block.addressOf(into, eventsMax * epollEventBytes);
    const count = this.#functions.epoll_wait(epoll, at, eventsMax, 0);
    return count < 0 ? this.#failed() : count;
  }

  lastError(): number {
    return -(this.#errno[0] ?? 0) || 0;
  }

  #failed(): number {
    return -(this.#errno[0] ?? 0) || -os.constants.errno.EIO;
  }

  #stage(bytes: Uint8Array): bigint {
    const at = Block.addressOf(this.#scratch, bytes.length);
    this.#scratch.bytes.set(bytes);
    return at;
  }

  #stageLength(bytes: number): bigint {
    this.#scratchLength.bytes.writeUInt32LE(bytes, 0);
    return Block.addressOf(this.#scratchLength, 4);
  }
}
