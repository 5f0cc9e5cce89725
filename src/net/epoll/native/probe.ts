/** Whether the epoll backend can run here, found out by trying. */
import os from "node:os";

import { messageOf } from "../../../base/error.ts";
import { DescriptorMessages } from "./descriptor-messages.ts";
import { openSyscalls, type Syscalls } from "./libc.ts";
import { OpenSsl } from "./openssl.ts";
import { type LoopWatch, tryWatching, watchFromNode } from "./node-loop.ts";

export interface Native {
  readonly syscalls: Syscalls;
  /** Undefined where this Node does not give its OpenSSL to FFI. */
  readonly openssl?: OpenSsl | undefined;
  /** For descriptors that go to other processes; made when it is asked for. */
  openMessages?(): DescriptorMessages;
  watch(fd: number, onReady: () => void): LoopWatch;
}

export type NativeProbe =
  | { readonly kind: "present"; readonly native: Native }
  | { readonly kind: "absent"; readonly reason: string };

/** Majors of Node whose `node:ffi`, which is experimental, this was tried with. */
const nodeMajors: readonly string[] = ["26"];

let probed: NativeProbe | undefined;

/** Once per process. */
export function probeNative(): NativeProbe {
  probed ??= probe();
  return probed;
}

function probe(): NativeProbe {
  if (process.platform !== "linux") return absent(`not on ${process.platform}`);
  if (process.arch !== "x64" && process.arch !== "arm64") return absent(`not on ${process.arch}`);
  if (os.endianness() !== "LE") return absent("not on a big-endian machine");
  const { node } = process.versions;
  if (!nodeMajors.includes(node.split(".")[0] ?? "")) return absent(`not tried with Node ${node}`);
  const ffi = process.getBuiltinModule("node:ffi");
  if (ffi === undefined) return absent("this Node has no node:ffi");
  try {
    const syscalls = openSyscalls(ffi);
    const broken = tryOut(ffi, syscalls);
    if (broken !== undefined) return absent(broken);
    const watch: Native["watch"] = (fd, onReady) => watchFromNode(ffi, fd, onReady);
    const openMessages = (): DescriptorMessages => new DescriptorMessages(ffi, syscalls);
    const openssl = openOpenSsl(ffi, syscalls);
    return { kind: "present", native: { syscalls, watch, openssl, openMessages } };
  } catch (thrown) {
    return absent(messageOf(thrown));
  }
}

/** What does not work; seccomp filters and wrong structures show here and not in traffic. */
function tryOut(ffi: typeof import("node:ffi"), syscalls: Syscalls): string | undefined {
  const block = syscalls.allocate(64);
  const { EBADF, EAGAIN } = os.constants.errno;
  if (syscalls.read(-1, block, 8) !== -EBADF) return "error numbers cannot be read";
  const epoll = syscalls.epollCreate();
  if (epoll < 0) return "epoll_create1 is refused";
  const event = syscalls.eventfd();
  try {
    if (event < 0) return "eventfd is refused";
    if (syscalls.read(event, block, 8) !== -EAGAIN) return "an eventfd blocks";
    tryWatching(ffi, epoll);
    const change = { operation: "add", fd: event, events: 1, generation: 7 } as const;
    if (syscalls.epollControl(epoll, change) !== 0) return "epoll_ctl is refused";
    if (syscalls.epollWait(epoll, block, 1) !== 0) return "epoll tells of nothing";
    block.bytes.writeBigUInt64LE(1n, 0);
    if (syscalls.write(event, block, 8) !== 8) return "an eventfd takes no count";
    if (syscalls.epollWait(epoll, block, 1) !== 1) return "epoll does not tell of an event";
    const words = block.bytes.subarray(process.arch === "x64" ? 4 : 8);
    if (words.readInt32LE(0) !== event || words.readInt32LE(4) !== 7) {
      return "epoll's events have another form";
    }
    return undefined;
  } finally {
    if (event >= 0) syscalls.close(event);
    syscalls.close(epoll);
  }
}

function openOpenSsl(ffi: typeof import("node:ffi"), syscalls: Syscalls): OpenSsl | undefined {
  try {
    return new OpenSsl(ffi, syscalls);
  } catch {
    return undefined;
  }
}

function absent(reason: string): NativeProbe {
  return { kind: "absent", reason };
}
