/**
 * Where a line of a log is put together, as UTF-8: one after another in the same memory. Most values
 * are short plain ASCII, which is written unit by unit; everything else goes through Node.
 */
const firstBytes = 4096;
/** More than this is given back after the line. */
const keptBytesMax = 64 * 1024;

const quote = 0x22;
const backslash = 0x5c;
const space = 0x20;
const minus = 0x2d;
const zero = 0x30;
const del = 0x7f;

export class LineBuffer {
  /** The line stands at its start. */
  memory: Buffer = Buffer.allocUnsafeSlow(firstBytes);
  length = 0;

  clear(): void {
    this.length = 0;
    if (this.memory.length > keptBytesMax) this.memory = Buffer.allocUnsafeSlow(firstBytes);
  }

  bytes(source: Buffer): void {
    const { length } = source;
    this.#reserve(length);
    const { memory, length: at } = this;
    for (let index = 0; index < length; index++) memory[at + index] = source[index] ?? 0;
    this.length = at + length;
  }

  number(value: number): void {
    if (!Number.isSafeInteger(value) || value < 0) return this.text(String(value));
    let rest = value;
    let digits = 1;
    while (rest >= 10) {
      rest = Math.floor(rest / 10);
      digits++;
    }
    this.#reserve(digits);
    const { memory } = this;
    rest = value;
    this.length += digits;
    for (let at = this.length - 1; digits > 0; digits--, at--) {
      const next = Math.floor(rest / 10);
      memory[at] = zero + (rest - next * 10);
      rest = next;
    }
  }

  text(value: string): void {
    if (!this.#plain(value)) this.#encode(value);
  }

  /** A value in a line of text: control characters, DEL and quotes escaped, so that it stays one. */
  escaped(value: string): void {
    if (!this.#plain(value)) this.#encode(escapeText(value));
  }

  /** A string of JSON, with its quotes. */
  quoted(value: string): void {
    this.#byte(quote);
    this.inString(value);
    this.#byte(quote);
  }

  /** What stands inside of a string of JSON. */
  inString(value: string): void {
    if (!this.#plain(value)) this.#encode(JSON.stringify(value).slice(1, -1));
  }

  /** `-`: there is nothing to say. */
  absent(): void {
    this.#byte(minus);
  }

  #byte(byte: number): void {
    this.#reserve(1);
    this.memory[this.length++] = byte;
  }

  /** Visible ASCII but quotes and backslashes needs no encoding of any kind; false for anything else. */
  #plain(value: string): boolean {
    const { length } = value;
    this.#reserve(length);
    const { memory, length: at } = this;
    for (let index = 0; index < length; index++) {
      const unit = value.charCodeAt(index);
      if (unit < space || unit >= del || unit === quote || unit === backslash) return false;
      memory[at + index] = unit;
    }
    this.length = at + length;
    return true;
  }

  #encode(value: string): void {
    this.#reserve(value.length * 3);
    this.length += this.memory.write(value, this.length, "utf8");
  }

  #reserve(bytes: number): void {
    const needed = this.length + bytes;
    if (needed <= this.memory.length) return;
    const larger = Buffer.allocUnsafeSlow(needed * 2);
    this.memory.copy(larger, 0, 0, this.length);
    this.memory = larger;
  }
}

// oxlint-disable-next-line no-control-regex -- control characters are what it looks for
const needsTextEscape = /["\u0000-\u001f\u007f]/;

function escapeText(value: string): string {
  if (!needsTextEscape.test(value)) return value;
  let text = "";
  for (const char of value) {
    text += needsTextEscape.test(char)
      ? `\\x${char.charCodeAt(0).toString(16).padStart(2, "0")}`
      : char;
  }
  return text;
}
