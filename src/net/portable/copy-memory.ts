/**
 * Memory for copies of what a writer wants back at once. The kernel mostly takes a copy while it is
 * written, and the next one may use the same memory. Made anew each time, copies of content came to
 * tens of megabytes between two collections: V8 counts what lies outside of its heap too late.
 */

/** Shorter ones come from Node's pool, longer ones are rare. */
const bytesMin = 4096;
const bytesMax = 65_536;

/** By the power of two that holds the copy: what waits for a slow reader takes twice its length at most. */
const free: (Buffer | undefined)[] = [];

/** At least `length` bytes, with anything in them. */
export function takeCopyMemory(length: number): Buffer {
  if (length < bytesMin || length > bytesMax) return Buffer.allocUnsafe(length);
  const size = 32 - Math.clz32(length - 1);
  const memory = free[size] ?? Buffer.allocUnsafeSlow(2 ** size);
  free[size] = undefined;
  return memory;
}

/** Call only where nobody reads `memory` any more: the whole of what `takeCopyMemory` gave. */
export function giveCopyMemoryBack(memory: Buffer): void {
  const { length } = memory;
  if (length < bytesMin || length > bytesMax || (length & (length - 1)) !== 0) return;
  if (memory.byteOffset === 0) free[31 - Math.clz32(length)] = memory;
}
