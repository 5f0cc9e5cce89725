/**
 * The few functions of libc that Node has no API for, through `node:ffi`. The only place that hands
 * memory to C. Every argument is a number or a buffer passed for the length of the call, so no
 * pointer outlives it. Where FFI is missing (another platform, an older Node, built without it),
 * `openLibc` says why and the callers fall back.
 */
import os from "node:os";

export interface Libc {
  /** A new descriptor, or -1. */
  socket(family: number, type: number, protocol: number): number;
  bind(fd: number, address: Uint8Array, bytes: number): number;
  close(fd: number): number;
  setsockopt(fd: number, level: number, option: number, value: Uint8Array, bytes: number): number;
  /** `bytes` holds the size of `value` on entry and the size of the answer after it. */
  getsockopt(
    fd: number,
    level: number,
    option: number,
    value: Uint8Array,
    bytes: Uint8Array,
  ): number;
}

export type LibcProbe =
  | { readonly kind: "present"; readonly libc: Libc }
  | { readonly kind: "absent"; readonly reason: string };

let probe: LibcProbe | undefined;

/** Resolves libc once per process. */
export function openLibc(): LibcProbe {
  probe ??= resolveLibc();
  return probe;
}

function resolveLibc(): LibcProbe {
  if (process.platform !== "linux") return absent(`not on ${process.platform}`);
  // Constants of socket options and families are the generic ones; these two architectures use them.
  if (process.arch !== "x64" && process.arch !== "arm64") return absent(`not on ${process.arch}`);
  if (os.endianness() !== "LE") return absent("not on a big-endian machine");
  const ffi = process.getBuiltinModule("node:ffi");
  if (ffi === undefined) return absent("this Node has no node:ffi");
  try {
    const { functions } = ffi.dlopen(null, {
      socket: { arguments: ["i32", "i32", "i32"], return: "i32" },
      bind: { arguments: ["i32", "buffer", "u32"], return: "i32" },
      close: { arguments: ["i32"], return: "i32" },
      setsockopt: { arguments: ["i32", "i32", "i32", "buffer", "u32"], return: "i32" },
      getsockopt: { arguments: ["i32", "i32", "i32", "buffer", "buffer"], return: "i32" },
    });
    return {
      kind: "present",
      libc: {
        socket: (family, type, protocol) => functions.socket(family, type, protocol),
        bind: (fd, address, bytes) => functions.bind(fd, address, bytes),
        close: (fd) => functions.close(fd),
        setsockopt: (fd, level, option, value, bytes) =>
          functions.setsockopt(fd, level, option, value, bytes),
        getsockopt: (fd, level, option, value, bytes) =>
          functions.getsockopt(fd, level, option, value, bytes),
      },
    };
  } catch (thrown) {
    return absent(thrown instanceof Error ? thrown.message : String(thrown));
  }
}

function absent(reason: string): LibcProbe {
  return { kind: "absent", reason };
}
