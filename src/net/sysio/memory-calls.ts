/** What `process-memory.ts` needs of libc, through `node:ffi`. Addresses are numbers: nothing is handed over. */

export interface MemoryCalls {
  /** Gives what the allocator has freed and kept back to the system. */
  mallocTrim(): void;
  /** madvise(2) on whole pages. */
  madvise(start: bigint, bytes: bigint, advice: number): number;
}

/** Undefined where they are not to be had. */
export function openMemoryCalls(): MemoryCalls | undefined {
  if (process.platform !== "linux") return undefined;
  const ffi = process.getBuiltinModule("node:ffi");
  if (ffi === undefined) return undefined;
  try {
    const { functions } = ffi.dlopen(null, {
      malloc_trim: { arguments: ["u64"], return: "i32" },
      madvise: { arguments: ["u64", "u64", "i32"], return: "i32" },
    });
    return {
      mallocTrim: () => void functions.malloc_trim(0n),
      madvise: (start, bytes, advice) => functions.madvise(start, bytes, advice),
    };
  } catch {
    return undefined; // another C library
  }
}
