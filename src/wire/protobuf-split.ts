/**
 * Takes an encoded protobuf message apart without decoding it: where each occurrence of one
 * repeated message field lies, and the message without them.
 */

export interface SplitMessage {
  /** Pairs of offsets into the message, start and end of each occurrence's content. */
  readonly parts: Uint32Array;
  /** Everything else, in its order: decodes to the message without the field. */
  readonly rest: Uint8Array;
}

/** Throws on what is no message. */
export function splitMessage(bytes: Uint8Array, field: number): SplitMessage {
  const work = splittingMessage(bytes, field);
  let step = work.next();
  while (step.done !== true) step = work.next();
  return step.value;
}

const fieldsPerStep = 1024;

/** The same for messages of many fields: gives way now and then. */
export function* splittingMessage(bytes: Uint8Array, field: number): Generator<void, SplitMessage> {
  const reader = new FieldReader(bytes);
  const offsets: number[] = [];
  const others: Uint8Array[] = [];
  let otherLength = 0;
  let otherStart = 0;
  const keep = (end: number): void => {
    if (end === otherStart) return;
    others.push(bytes.subarray(otherStart, end));
    otherLength += end - otherStart;
  };
  for (let fields = 1; reader.at < bytes.length; fields++) {
    if (fields % fieldsPerStep === 0) yield;
    const start = reader.at;
    reader.next();
    if (reader.field !== field || reader.wireType !== lengthDelimited) continue;
    keep(start);
    offsets.push(reader.contentStart, reader.at);
    otherStart = reader.at;
  }
  keep(bytes.length);
  return { parts: Uint32Array.from(offsets), rest: joined(others, otherLength) };
}

/** A copy: it does not keep the message. */
function joined(parts: readonly Uint8Array[], length: number): Uint8Array {
  const whole = new Uint8Array(length);
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

const lengthDelimited = 2;
const groupStart = 3;
const groupEnd = 4;
const groupDepthMax = 100;

class FieldReader {
  at = 0;
  field = 0;
  wireType = 0;
  /** Of a length-delimited field. */
  contentStart = 0;
  readonly #bytes: Uint8Array;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** Reads one field's tag and steps over its value. */
  next(depth = 0): void {
    const tag = this.#varint();
    this.field = Math.floor(tag / 8);
    this.wireType = tag % 8;
    const { field } = this;
    if (field === 0) broken("a field has the number 0");
    switch (this.wireType) {
      case 0:
        this.#skipVarint();
        break;
      case 1:
        this.at += 8;
        break;
      case lengthDelimited: {
        const length = this.#varint();
        this.contentStart = this.at;
        this.at += length;
        break;
      }
      case groupStart:
        this.#skipGroup(field, depth + 1);
        break;
      case 5:
        this.at += 4;
        break;
      default:
        if (this.wireType !== groupEnd || depth === 0) broken(`wire type ${this.wireType}`);
    }
    if (this.at > this.#bytes.length) broken("it ends inside a field");
  }

  #skipGroup(field: number, depth: number): void {
    if (depth > groupDepthMax) broken("groups are nested too deep");
    do this.next(depth);
    while (this.wireType !== groupEnd);
    if (this.field !== field) broken("a group ends as another");
    this.wireType = groupStart;
  }

  /** Numbers beyond 32 bits are no tag and no length. */
  #varint(): number {
    let value = 0;
    for (let factor = 1; factor < 2 ** 35; factor *= 128) {
      const byte = this.#bytes[this.at++];
      if (byte === undefined) broken("it ends inside a number");
      value += (byte & 0x7f) * factor;
      if (byte < 0x80) return value <= 0xffff_ffff ? value : broken("a number is too large");
    }
    return broken("a number is too long");
  }

  #skipVarint(): void {
    for (let i = 0; i < 10; i++) {
      const byte = this.#bytes[this.at++];
      if (byte === undefined) broken("it ends inside a number");
      if (byte < 0x80) return;
    }
    broken("a number is too long");
  }
}

function broken(how: string): never {
  throw new Error(`a message cannot be decoded: ${how}`);
}
