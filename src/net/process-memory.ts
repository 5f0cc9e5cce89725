/**
 * Gives memory of this process back to the system that it holds and does not need: what the allocator
 * has freed and kept, and pages of the program's own file that only its start has used. Linux with glibc;
 * elsewhere nothing happens.
 */
import { type MemoryCalls, openMemoryCalls } from "./sysio/memory-calls.ts";

/** madvise(2): the pages are read again from their file when they are used. */
const dontNeed = 4;

let opened: MemoryCalls | undefined;

/** What the allocator has freed and kept; a few milliseconds. False where it cannot be done. */
export function releaseFreed(): boolean {
  opened ??= openMemoryCalls();
  opened?.mallocTrim();
  return opened !== undefined;
}

/** `mappings` is what /proc/self/smaps says now. False where it cannot be done. */
export function releaseMemory(mappings: string): boolean {
  const calls = (opened ??= openMemoryCalls());
  if (calls === undefined) return false;
  calls.mallocTrim();
  for (const { start, end } of cleanProgramPages(mappings, process.execPath))
    calls.madvise(start, end - start, dontNeed);
  return true;
}

export interface Range {
  readonly start: bigint;
  readonly end: bigint;
}

/**
 * Mappings of the program's file, private and not to be written, of which no page has become this
 * process's own (relocated, patched): these are in the file and can be dropped without loss.
 */
export function cleanProgramPages(mappings: string, program: string): readonly Range[] {
  const ranges: Range[] = [];
  let candidate: Range | undefined;
  for (const line of mappings.split("\n")) {
    const [, start, end, file] =
      /^([0-9a-f]+)-([0-9a-f]+) r-[-x]p \S+ \S+ \d+ +(\/.*)$/.exec(line) ?? [];
    if (start !== undefined && end !== undefined) {
      const range = { start: BigInt(`0x${start}`), end: BigInt(`0x${end}`) };
      candidate = file === program ? range : undefined;
    } else if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) {
      candidate = undefined;
    } else if (candidate !== undefined && /^Anonymous: +0 kB$/.test(line)) {
      ranges.push(candidate);
      candidate = undefined;
    }
  }
  return ranges;
}
