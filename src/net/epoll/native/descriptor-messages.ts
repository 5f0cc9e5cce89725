/**
 * Descriptors on their way to another process: messages over a pair of Unix sockets, each a short text
 * and at most one descriptor (SCM_RIGHTS).
 */
import os from "node:os";

import { Block } from "./block.ts";
import type { Syscalls } from "./libc.ts";

type Ffi = typeof import("node:ffi");

const signatures = {
  socketpair: { arguments: ["i32", "i32", "i32", "pointer"], return: "i32" },
  sendmsg: { arguments: ["i32", "pointer", "i32"], return: "i64" },
  recvmsg: { arguments: ["i32", "pointer", "i32"], return: "i64" },
} as const;

const { EAGAIN, EINTR } = os.constants.errno;
const textBytesMax = 4096;
const familyUnix = 1;
/** Keeps messages apart, and says when the other end is gone. */
const sockSeqpacket = 5;
const sockCloexec = 0o2000000;
const sockNonblock = 0o4000;
const solSocket = 1;
const scmRights = 1;
const messageNoSignal = 0x4000;
const messageCloexec = 0x40000000;
/** `struct msghdr`, `struct iovec` and room for a `struct cmsghdr` with one descriptor, 64 bits. */
const at = { header: 0, vector: 56, control: 72, text: 96 } as const;
const controlBytes = 24;
const controlLength = 20;

export interface DescriptorMessage {
  readonly text: string;
  /** Ours from now on. */
  readonly fd: number | undefined;
}

export class DescriptorMessages {
  readonly #functions: ReturnType<typeof resolve>;
  readonly #syscalls: Syscalls;
  readonly #block: Block;

  /** Throws where a function is missing. */
  constructor(ffi: Ffi, syscalls: Syscalls) {
    this.#functions = resolve(ffi);
    this.#syscalls = syscalls;
    this.#block = syscalls.allocate(at.text + textBytesMax);
  }

  /** Two ends of one line, neither of which blocks; or the negative error number. */
  pair(): readonly [number, number] | number {
    const { bytes } = this.#block;
    const into = Block.addressOf(this.#block, 8);
    const type = sockSeqpacket | sockCloexec | sockNonblock;
    if (this.#functions.socketpair(familyUnix, type, 0, into) < 0)
      return this.#syscalls.lastError();
    return [bytes.readInt32LE(0), bytes.readInt32LE(4)];
  }

  /** 0, or the negative error number. A descriptor that was sent stays ours, too. */
  send(socket: number, { text, fd }: DescriptorMessage): number {
    const { bytes } = this.#block;
    const length = Buffer.byteLength(text);
    if (length === 0 || length > textBytesMax) return -os.constants.errno.EMSGSIZE;
    bytes.write(text, at.text);
    this.#describe(length, fd === undefined ? 0 : controlBytes);
    if (fd !== undefined) {
      bytes.writeBigUInt64LE(BigInt(controlLength), at.control);
      bytes.writeInt32LE(solSocket, at.control + 8);
      bytes.writeInt32LE(scmRights, at.control + 12);
      bytes.writeInt32LE(fd, at.control + 16);
    }
    const count = this.#functions.sendmsg(socket, this.#header, messageNoSignal);
    return count < 0n ? this.#syscalls.lastError() : 0;
  }

  /** Undefined when nothing waits; `end` when the other process has closed its end. */
  receive(socket: number): DescriptorMessage | "end" | undefined {
    const { bytes } = this.#block;
    this.#describe(textBytesMax, controlBytes);
    bytes.fill(0, at.control, at.control + controlBytes);
    const count = Number(this.#functions.recvmsg(socket, this.#header, messageCloexec));
    if (count === 0) return "end";
    if (count < 0) {
      const status = this.#syscalls.lastError();
      return status === -EAGAIN || status === -EINTR ? undefined : "end";
    }
    const hasDescriptor =
      bytes.readBigUInt64LE(at.control) === BigInt(controlLength) &&
      bytes.readInt32LE(at.control + 8) === solSocket &&
      bytes.readInt32LE(at.control + 12) === scmRights;
    return {
      text: bytes.toString("utf8", at.text, at.text + count),
      fd: hasDescriptor ? bytes.readInt32LE(at.control + 16) : undefined,
    };
  }

  #describe(textBytes: number, control: number): void {
    const { bytes } = this.#block;
    const start = Block.addressOf(this.#block, at.text + textBytes);
    bytes.fill(0, at.header, at.control);
    bytes.writeBigUInt64LE(start + BigInt(at.vector), at.header + 16);
    bytes.writeBigUInt64LE(1n, at.header + 24);
    if (control > 0) {
      bytes.writeBigUInt64LE(start + BigInt(at.control), at.header + 32);
      bytes.writeBigUInt64LE(BigInt(control), at.header + 40);
    }
    bytes.writeBigUInt64LE(start + BigInt(at.text), at.vector);
    bytes.writeBigUInt64LE(BigInt(textBytes), at.vector + 8);
  }

  get #header(): bigint {
    return Block.addressOf(this.#block, at.text + textBytesMax);
  }
}

function resolve(ffi: Ffi) {
  return ffi.dlopen(null, signatures).functions;
}
