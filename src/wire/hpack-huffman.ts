/** Strings in HPACK's Huffman code (RFC 7541 section 5.2), by table in both directions. */
import {
  huffmanAccepts,
  huffmanEmits,
  huffmanFails,
  huffmanLengths,
  huffmanSteps,
  huffmanWords,
} from "./hpack-tables.ts";

/**
 * Decodes `source[from, to)` to `target` at `at`; there must be room for 8/5 of the bytes. Returns
 * where the text ends; -1 when it is no such code: the end's own word, or other padding than up to
 * seven ones.
 */
export function decodeHuffman(
  source: Uint8Array,
  { from, to }: { readonly from: number; readonly to: number },
  target: Uint8Array,
  at: number,
): number {
  let state = 0;
  let end = at;
  for (let index = from; index < to; index++) {
    const byte = source[index] ?? 0;
    const high = huffmanSteps[(state << 4) | (byte >> 4)] ?? 0;
    if ((high & huffmanEmits) !== 0) target[end++] = high & 0xff;
    const low = huffmanSteps[((high >> 4) & 0xff0) | (byte & 0x0f)] ?? 0;
    if ((low & huffmanEmits) !== 0) target[end++] = low & 0xff;
    if (((high | low) & huffmanFails) !== 0) return -1;
    state = (low >> 8) & 0xff;
  }
  return huffmanAccepts[state] === 1 ? end : -1;
}

/** Bytes that `source[from, to)` takes in the code. */
export function huffmanBytes(source: Uint8Array, from: number, to: number): number {
  let bits = 0;
  for (let index = from; index < to; index++) bits += huffmanLengths[source[index] ?? 0] ?? 0;
  return (bits + 7) >> 3;
}

/** Encodes `source[from, to)` to `target` at `at`, where there is room; returns where it ends. */
export function encodeHuffman(
  source: Uint8Array,
  { from, to }: { readonly from: number; readonly to: number },
  target: Uint8Array,
  at: number,
): number {
  // Up to 7 bits wait in `held` before a word of up to 30 is added: more than 32 in all.
  let held = 0;
  let count = 0;
  let end = at;
  for (let index = from; index < to; index++) {
    const symbol = source[index] ?? 0;
    let length = huffmanLengths[symbol] ?? 0;
    const word = huffmanWords[symbol] ?? 0;
    while (count + length >= 8) {
      const taken = 8 - count;
      length -= taken;
      target[end++] = (held << taken) | ((word >>> length) & ((1 << taken) - 1));
      held = 0;
      count = 0;
    }
    held = (held << length) | (word & ((1 << length) - 1));
    count += length;
  }
  if (count > 0) target[end++] = (held << (8 - count)) | (0xff >> count);
  return end;
}
