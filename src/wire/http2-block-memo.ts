/**
 * A header block that comes again and again: most clients ask the same in the same words, and HPACK makes
 * that the same few bytes. What such a block came to is kept, as a whole head that needs no reading.
 * Of one connection: the bytes mean the same only while its table stays as it is.
 */
import type { HpackDecoder } from "./hpack-decoder.ts";
import { Http1Head, plainHeadBytes } from "./http1-head.ts";
import type { HeaderBlock } from "./http2-header-block.ts";

/** Longer blocks are not kept: they hold what is new each time, or should be in the table. */
const blockBytesMax = 256;
/** After so many in a row that were none of the kept, only one of as many is looked at. */
const patience = 16;

export class BlockMemo {
  readonly #decoder: HpackDecoder;
  #block: Buffer | undefined;
  #length = 0;
  /** Of the table, when the block was read. */
  #changes = -1;
  /** What else of the message its head depends on. */
  #kind = 0;
  /** What the block came to; not before it has come a second time. */
  #head: Http1Head | undefined;
  #hasHead = false;
  #misses = 0;
  /** Blocks that were not read because they had come before. */
  hits = 0;

  constructor(decoder: HpackDecoder) {
    this.#decoder = decoder;
  }

  /** Fills `head` with what the same block came to before; false when it must be read. */
  recall(block: HeaderBlock, kind: number, head: Http1Head): boolean {
    const before = this.#head;
    if (!this.#hasHead || before === undefined || !this.#isSame(block, kind)) return false;
    head.copyFrom(before);
    this.#misses = 0;
    this.hits++;
    return true;
  }

  /** The block, which is not recalled, came to `head`; the table had seen `changes` before it. */
  note(block: HeaderBlock, kind: number, ...[changes, head]: [number, Http1Head]): void {
    if (changes !== this.#decoder.changes) return;
    const length = block.to - block.from;
    if (length > blockBytesMax || head.memoryBytes > plainHeadBytes) return;
    if (this.#isSame(block, kind)) {
      this.#head ??= new Http1Head();
      this.#head.copyFrom(head);
      this.#hasHead = true;
      return;
    }
    if (++this.#misses > patience && this.#misses % patience !== 0) return;
    this.#block ??= Buffer.allocUnsafeSlow(blockBytesMax);
    const { bytes, from } = block;
    for (let at = 0; at < length; at++) this.#block[at] = bytes[from + at] ?? 0;
    this.#length = length;
    this.#changes = changes;
    this.#kind = kind;
    this.#hasHead = false;
  }

  #isSame({ bytes, from, to }: HeaderBlock, kind: number): boolean {
    const block = this.#block;
    const length = this.#length;
    if (to - from !== length || block === undefined) return false;
    if (this.#kind !== kind || this.#changes !== this.#decoder.changes) return false;
    for (let at = 0; at < length; at++) if (block[at] !== bytes[from + at]) return false;
    return true;
  }

  /** Keeps nothing. */
  trim(): void {
    this.#block = undefined;
    this.#head = undefined;
    this.#hasHead = false;
    this.#length = 0;
  }
}
