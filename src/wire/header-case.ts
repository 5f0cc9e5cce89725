/**
 * How names of header fields are written in HTTP/1.1 where lower case is not wanted. Names are compared in
 * lower case everywhere; only what leaves is spelled.
 */

/** Names that no message has spelled: as they are, or each word with a capital. */
export type OtherNames = "lower" | "proper";

/** What a head keeps of its own bytes before names became lower case: the same offsets. */
export class HeadSpelling {
  readonly others: OtherNames;
  bytes: Buffer = Buffer.alloc(0);

  constructor(others: OtherNames) {
    this.others = others;
  }

  /** `source[from, from + length)` stands at `at` of the head. */
  keep(at: number, source: Uint8Array, ...[from, length]: [from: number, length: number]): void {
    if (at + length > this.bytes.length) {
      const larger = Buffer.allocUnsafeSlow(Math.max(at + length, this.bytes.length * 2, 1024));
      this.bytes.copy(larger, 0, 0, at);
      this.bytes = larger;
    }
    this.bytes.set(source.subarray(from, from + length), at);
  }
}

/** `x-request-id` becomes `X-Request-Id`. */
export function properCase(name: string): string {
  return name.replaceAll(/(?<![a-z0-9])[a-z]/g, (letter) => letter.toUpperCase());
}

/** Of a name in lower case. */
export type Spell = (name: string) => string;
