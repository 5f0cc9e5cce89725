/**
 * Distinguished Encoding Rules (X.690), as much as certificates and their requests need. The reader
 * is strict: definite lengths in their shortest form, no bytes left over. It reads what peers send.
 */
export const tag = {
  boolean: 0x01,
  integer: 0x02,
  bitString: 0x03,
  octetString: 0x04,
  null: 0x05,
  oid: 0x06,
  utf8String: 0x0c,
  sequence: 0x30,
  set: 0x31,
  utcTime: 0x17,
  generalizedTime: 0x18,
} as const;

/** `[n]` around other values. */
export function contextTag(n: number): number {
  return 0xa0 | n;
}

/** `[n]` in place of a simple type's own tag. */
export function implicitTag(n: number): number {
  return 0x80 | n;
}

export function encodeDer(tagByte: number, ...contents: readonly Uint8Array[]): Uint8Array {
  const length = contents.reduce((sum, content) => sum + content.length, 0);
  return Buffer.concat([Uint8Array.of(tagByte, ...encodeLength(length)), ...contents]);
}

export function sequence(...contents: readonly Uint8Array[]): Uint8Array {
  return encodeDer(tag.sequence, ...contents);
}

/** A non-negative integer from its bytes, most significant first. */
export function integer(bytes: Uint8Array): Uint8Array {
  let start = 0;
  while (start < bytes.length - 1 && bytes[start] === 0) start += 1;
  const magnitude = bytes.subarray(start);
  const isHigh = (magnitude[0] ?? 0) >= 0x80;
  return encodeDer(tag.integer, isHigh ? Uint8Array.of(0) : Uint8Array.of(), magnitude);
}

/** A bit string of whole bytes. */
export function bitString(bytes: Uint8Array, unusedBits = 0): Uint8Array {
  return encodeDer(tag.bitString, Uint8Array.of(unusedBits), bytes);
}

/** From `1.2.840.10045.4.3.2`. */
export function oid(dotted: string): Uint8Array {
  const [first = 0, second = 0, ...rest] = dotted.split(".").map(Number);
  const bytes = [first * 40 + second];
  for (const arc of rest) {
    const groups = [arc & 0x7f];
    for (let high = Math.floor(arc / 128); high > 0; high = Math.floor(high / 128)) {
      groups.unshift((high & 0x7f) | 0x80);
    }
    bytes.push(...groups);
  }
  return encodeDer(tag.oid, Uint8Array.from(bytes));
}

export function utf8String(text: string): Uint8Array {
  return encodeDer(tag.utf8String, Buffer.from(text));
}

/** UTCTime up to 2049 and GeneralizedTime from then on, as RFC 5280 demands. */
export function time(ms: number): Uint8Array {
  const digits = new Date(ms)
    .toISOString()
    .replace(/\.\d+Z$/, "Z")
    .replace(/[-:T]/g, "");
  const isShort = digits < "2050";
  const text = isShort ? digits.slice(2) : digits;
  return encodeDer(isShort ? tag.utcTime : tag.generalizedTime, Buffer.from(text));
}

/** One value that was read. */
export interface DerValue {
  readonly tag: number;
  readonly content: Uint8Array;
  /** Tag, length and content as they stood. */
  readonly whole: Uint8Array;
}

export class DerError extends Error {
  override readonly name = "DerError";
}

/** Reads values one after another; throws `DerError` at the first that is not DER. */
export class DerReader {
  readonly #bytes: Uint8Array;
  #offset = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** The next value, which must have this tag. */
  next(expected: number, what: string): DerValue {
    const start = this.#offset;
    const tagByte = this.#byte(what);
    if (tagByte !== expected) {
      throw new DerError(`${what}: tag 0x${tagByte.toString(16)}, not 0x${expected.toString(16)}`);
    }
    const length = this.#length(what);
    const end = this.#offset + length;
    if (end > this.#bytes.length) throw new DerError(`${what}: longer than what surrounds it`);
    const content = this.#bytes.subarray(this.#offset, end);
    this.#offset = end;
    return { tag: tagByte, content, whole: this.#bytes.subarray(start, end) };
  }

  end(what: string): void {
    if (this.#offset !== this.#bytes.length) throw new DerError(`${what}: bytes left over`);
  }

  #length(what: string): number {
    const first = this.#byte(what);
    if (first < 0x80) return first;
    const bytes = first & 0x7f;
    if (bytes === 0 || bytes > 3) throw new DerError(`${what}: length of a forbidden form`);
    let length = 0;
    for (let i = 0; i < bytes; i++) length = length * 256 + this.#byte(what);
    if (length < 0x80 || length < 256 ** (bytes - 1)) {
      throw new DerError(`${what}: length not in its shortest form`);
    }
    return length;
  }

  #byte(what: string): number {
    const byte = this.#bytes[this.#offset];
    if (byte === undefined) throw new DerError(`${what}: ends too early`);
    this.#offset += 1;
    return byte;
  }
}

function encodeLength(length: number): readonly number[] {
  if (length < 0x80) return [length];
  const bytes: number[] = [];
  for (let rest = length; rest > 0; rest = Math.floor(rest / 256)) bytes.unshift(rest & 0xff);
  return [0x80 | bytes.length, ...bytes];
}
