/** Reads MessagePack for tests: maps with texts as keys become objects, whole numbers bigints. */
export function readMsgpack(bytes: Buffer): unknown {
  const reader = new Reader(bytes);
  const value = reader.value();
  if (reader.at !== bytes.length) throw new Error(`${bytes.length - reader.at} bytes are left`);
  return value;
}

class Reader {
  at = 0;
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }

  value(): unknown {
    const first = this.#uint(1);
    if (first < 0x80) return BigInt(first);
    if (first < 0x90) return this.#map(first & 0x0f);
    if (first < 0xa0) return this.#array(first & 0x0f);
    if (first < 0xc0) return this.#text(first & 0x1f);
    if (first >= 0xe0) return BigInt(first - 0x100);
    switch (first) {
      case 0xc0:
        return null;
      case 0xc2:
      case 0xc3:
        return first === 0xc3;
      case 0xca:
        this.at += 4;
        return this.#bytes.readFloatBE(this.at - 4);
      case 0xcb:
        this.at += 8;
        return this.#bytes.readDoubleBE(this.at - 8);
      case 0xcc:
      case 0xcd:
      case 0xce:
        return BigInt(this.#uint(1 << (first - 0xcc)));
      case 0xcf:
        this.at += 8;
        return this.#bytes.readBigUInt64BE(this.at - 8);
      case 0xd0:
      case 0xd1:
      case 0xd2:
        return this.#int(1 << (first - 0xd0));
      case 0xd3:
        this.at += 8;
        return this.#bytes.readBigInt64BE(this.at - 8);
      case 0xd9:
      case 0xda:
      case 0xdb:
        return this.#text(this.#uint(1 << (first - 0xd9)));
      case 0xdc:
      case 0xdd:
        return this.#array(this.#uint(2 << (first - 0xdc)));
      case 0xde:
      case 0xdf:
        return this.#map(this.#uint(2 << (first - 0xde)));
      default:
        throw new Error(`a form of 0x${first.toString(16)} is not known`);
    }
  }

  #uint(bytes: number): number {
    this.at += bytes;
    return this.#bytes.readUIntBE(this.at - bytes, bytes);
  }

  #int(bytes: number): bigint {
    this.at += bytes;
    return BigInt(this.#bytes.readIntBE(this.at - bytes, bytes));
  }

  #text(bytes: number): string {
    this.at += bytes;
    return this.#bytes.toString("utf8", this.at - bytes, this.at);
  }

  #array(length: number): unknown[] {
    return Array.from({ length }, () => this.value());
  }

  #map(pairs: number): Record<string, unknown> {
    const found: Record<string, unknown> = {};
    for (let left = pairs; left > 0; left--) found[String(this.value())] = this.value();
    return found;
  }
}
