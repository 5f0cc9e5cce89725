/**
 * A run of samples of one series, one per scrape, without a gap: sample `i` belongs to scrape
 * `firstScrape + i` of its target, which knows the time. Samples are packed without loss as they
 * come. Two ways, because a mesh's series are of two kinds:
 *
 * - *decimal*: whole numbers, or numbers of a few decimals, as whole multiples of a power of ten. Each
 *   is the step from the one before, as a varint of its zigzag form (1, 2, … for -1, 1, …).
 * - *binary*: any number at all. Each is XORed with the one before; the bytes that differ follow a
 *   head that says which they are.
 *
 * In both a byte 0 stands for a run of unchanged samples, whose length follows as a varint. A run at
 * the end is only counted until something else comes: an idle series costs no bytes.
 */
export type Packing = 0 | 1 | 2 | 3 | "binary";

export const chunkSamplesMax = 360;

/** Zigzag doubles it, and both must stay exact. */
const stepMax = 2 ** 51;
const scales = [1, 10, 100, 1000] as const;
const nothing = new Uint8Array(0);

// Shared by all chunks: the bytes of a number, and back.
const numbers = new Float64Array(2);
const numberBytes = new Uint8Array(numbers.buffer);

export class Chunk {
  readonly firstScrape: number;
  readonly packing: Packing;
  /** The series was missing in the scrape after the last sample. */
  endsStale = false;
  readonly #first: number;
  #length = 1;
  #bytes: Uint8Array = nothing;
  #used = 0;
  /** Unchanged samples at the end, not yet written. */
  #run = 0;
  #last: number;

  /** `packing` must be able to hold `value`: `packingFor()` says which can. */
  constructor(firstScrape: number, value: number, packing: Packing) {
    this.firstScrape = firstScrape;
    this.packing = packing;
    this.#first = value;
    this.#last = value;
  }

  get length(): number {
    return this.#length;
  }

  /** The scrape after the last sample. */
  get end(): number {
    return this.firstScrape + this.#length;
  }

  /** False when it is full, or packed in a way that cannot hold this number. */
  append(value: number): boolean {
    if (this.#length >= chunkSamplesMax) return false;
    if (Object.is(value, this.#last)) {
      this.#run++;
      this.#length++;
      return true;
    }
    if (this.packing === "binary") {
      this.#writeRun();
      this.#writeBinary(value);
    } else {
      const scale = scales[this.packing];
      if (!isMultiple(value, scale)) return false;
      const step = Math.round(value * scale) - Math.round(this.#last * scale);
      if (Math.abs(step) >= stepMax) return false;
      this.#writeRun();
      this.#writeVarint(step > 0 ? step * 2 : -step * 2 - 1);
    }
    this.#last = value;
    this.#length++;
    return true;
  }

  /** Nothing more will come: gives back what it does not need. */
  seal(): void {
    this.#bytes = this.#used === 0 ? nothing : this.#bytes.slice(0, this.#used);
  }

  /** Writes all samples from `target[at]` on. */
  read(target: Float64Array, at: number): void {
    target[at] = this.#first;
    const from = at + 1;
    const end =
      this.packing === "binary"
        ? this.#readBinary(target, from)
        : this.#readDecimal(target, from, scales[this.packing]);
    target.fill(this.#last, end, at + this.#length);
  }

  /** Of the packed samples; the object around them comes on top. */
  bytes(): number {
    return this.#bytes.byteLength;
  }

  #readDecimal(target: Float64Array, from: number, scale: number): number {
    const bytes = this.#bytes;
    const used = this.#used;
    let units = Math.round(this.#first * scale);
    let at = from;
    let offset = 0;
    while (offset < used) {
      let token = 0;
      let factor = 1;
      let byte = bytes[offset++] ?? 0;
      const isRun = byte === 0;
      if (isRun) byte = bytes[offset++] ?? 0;
      for (; byte >= 128; byte = bytes[offset++] ?? 0) {
        token += (byte - 128) * factor;
        factor *= 128;
      }
      token += byte * factor;
      if (isRun) {
        target.fill(units / scale, at, at + token);
        at += token;
      } else {
        units += token % 2 === 0 ? token / 2 : -(token + 1) / 2;
        target[at++] = units / scale;
      }
    }
    return at;
  }

  #readBinary(target: Float64Array, from: number): number {
    const bytes = this.#bytes;
    let at = from;
    numbers[0] = this.#first;
    for (let offset = 0; offset < this.#used;) {
      const head = bytes[offset++] ?? 0;
      if (head === 0) {
        let count = 0;
        let factor = 1;
        let byte = bytes[offset++] ?? 0;
        for (; byte >= 128; byte = bytes[offset++] ?? 0) {
          count += (byte - 128) * factor;
          factor *= 128;
        }
        count += byte * factor;
        target.fill(numbers[0], at, at + count);
        at += count;
        continue;
      }
      const start = head >> 4;
      const end = start + (head & 15);
      for (let i = start; i < end; i++)
        numberBytes[i] = (numberBytes[i] ?? 0) ^ (bytes[offset++] ?? 0);
      target[at++] = numbers[0];
    }
    return at;
  }

  #writeRun(): void {
    if (this.#run === 0) return;
    this.#writeByte(0);
    this.#writeVarint(this.#run);
    this.#run = 0;
  }

  #writeVarint(value: number): void {
    let rest = value;
    for (; rest >= 128; rest = Math.floor(rest / 128)) this.#writeByte(128 + (rest % 128));
    this.#writeByte(rest);
  }

  #writeBinary(value: number): void {
    numbers[0] = this.#last;
    numbers[1] = value;
    let start = 0;
    let end = 8;
    while (start < 7 && numberBytes[start] === numberBytes[8 + start]) start++;
    while (end > start + 1 && numberBytes[end - 1] === numberBytes[7 + end]) end--;
    this.#writeByte((start << 4) | (end - start));
    for (let i = start; i < end; i++) {
      this.#writeByte((numberBytes[i] ?? 0) ^ (numberBytes[8 + i] ?? 0));
    }
  }

  #writeByte(byte: number): void {
    if (this.#used === this.#bytes.length) {
      const larger = new Uint8Array(Math.max(16, Math.ceil(this.#bytes.length * 1.5)));
      larger.set(this.#bytes);
      this.#bytes = larger;
    }
    this.#bytes[this.#used++] = byte;
  }
}

/** The narrowest packing that holds `value`, no narrower than `least`. */
export function packingFor(value: number, least: Packing): Packing {
  if (least === "binary") return "binary";
  for (const packing of [0, 1, 2, 3] as const) {
    if (packing >= least && isMultiple(value, scales[packing])) return packing;
  }
  return "binary";
}

/** Exactly, and told from its neighbours; -0 would come back as 0. */
function isMultiple(value: number, scale: number): boolean {
  if (Object.is(value, -0)) return false;
  const units = Math.round(value * scale);
  return Number.isSafeInteger(units) && units / scale === value;
}
