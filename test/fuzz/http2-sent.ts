/**
 * What an HTTP/2 session sends, read slowly and held to RFC 9113: frames in order, header blocks that are
 * some, nothing on streams that are over, content within the windows that the other end gave and in the
 * order in which it was handed over, and no more given back than was received.
 */
import assert from "node:assert/strict";

import { ReferenceDecoder } from "./hpack-reference.ts";

export interface SentOptions {
  /** Whose words these are. */
  readonly isClient: boolean;
  readonly streamWindow: number;
  readonly connectionWindow: number;
}

interface Sent {
  hasHead: boolean;
  isEnded: boolean;
  isReset: boolean;
  content: number;
  /** Given by the other end beside the initial window. */
  credit: number;
  received: number;
  givenBack: number;
}

/** Content of all streams, from its beginning. */
export const content: Buffer = Buffer.from(
  Uint8Array.from({ length: 40_000 }, (_, at) => at % 251),
);

const none = Buffer.alloc(0);
const prefaceBytes = 24;
const wholeWindow = 65_535;

export class SentFrames {
  readonly #options: SentOptions;
  readonly #decoder = new ReferenceDecoder(4096);
  readonly #streams = new Map<number, Sent>();
  #given: Buffer = none;
  #givenSkip: number;
  #sent: Buffer = none;
  #sentSkip: number;
  #lastType = -1;
  #lastId = 0;
  #block: { readonly id: number; readonly flags: number; bytes: Buffer } | undefined;
  #initial = wholeWindow;
  #credit = wholeWindow;
  #received = 0;
  #givenBack = 0;

  constructor(options: SentOptions) {
    this.#options = options;
    this.#givenSkip = options.isClient ? 0 : prefaceBytes;
    this.#sentSkip = options.isClient ? prefaceBytes : 0;
  }

  of(id: number): Sent {
    let stream = this.#streams.get(id);
    if (stream === undefined) {
      stream = {
        hasHead: false,
        isEnded: false,
        isReset: false,
        content: 0,
        credit: 0,
        received: 0,
        givenBack: 0,
      };
      this.#streams.set(id, stream);
    }
    return stream;
  }

  /** What the session is about to read. */
  give(bytes: Buffer): void {
    let given = this.#given.length === 0 ? bytes : Buffer.concat([this.#given, bytes]);
    this.#given = none;
    for (;;) {
      const skip = Math.min(this.#givenSkip, given.length);
      this.#givenSkip -= skip;
      given = given.subarray(skip);
      if (this.#givenSkip > 0 || given.length < 9) break;
      const length = given.readUIntBE(0, 3);
      const id = given.readUInt32BE(5) & 0x7fff_ffff;
      if (given[3] === 0) {
        // Counted when it begins, and not looked at.
        this.of(id).received += length;
        this.#received += length;
        this.#givenSkip = length;
        given = given.subarray(9);
        continue;
      }
      if (given.length < 9 + length) break;
      this.#onGiven(given.readUInt16BE(3), id, given.subarray(9, 9 + length));
      given = given.subarray(9 + length);
    }
    this.#given = given;
  }

  #onGiven(typeAndFlags: number, id: number, payload: Buffer): void {
    const type = typeAndFlags >> 8;
    if (type === 3 && payload.length === 4) this.of(id).isReset = true;
    if (type === 8 && payload.length === 4) {
      const more = payload.readUInt32BE(0) & 0x7fff_ffff;
      if (id === 0) this.#credit += more;
      else this.of(id).credit += more;
    }
    if (type !== 4 || (typeAndFlags & 1) !== 0) return;
    for (let at = 0; at + 6 <= payload.length; at += 6) {
      const value = payload.readUInt32BE(at + 2);
      if (payload.readUInt16BE(at) === 4) this.#initial = value;
      if (payload.readUInt16BE(at) === 1) this.#decoder.limit(value);
    }
  }

  /** What was given ends with a frame. */
  get isAtFrame(): boolean {
    return this.#givenSkip === 0 && this.#given.length === 0;
  }

  /** The session blames the other end for more content than it may send. */
  isTooMuch(id: number): boolean {
    const { received, givenBack } = this.of(id);
    return received - givenBack > this.#options.streamWindow;
  }

  /** The same, of all streams together. */
  get isTooMuchOfAll(): boolean {
    return this.#received - this.#givenBack > wholeWindow;
  }

  /**
   * What the session has sent since the last call. `isExact`: it has read frame by frame, so that what was
   * given to it was known when this was sent.
   */
  take(bytes: Buffer, isExact: boolean): void {
    let sent = this.#sent.length === 0 ? bytes : Buffer.concat([this.#sent, bytes]);
    const skip = Math.min(this.#sentSkip, sent.length);
    this.#sentSkip -= skip;
    sent = sent.subarray(skip);
    while (sent.length >= 9) {
      const length = sent.readUIntBE(0, 3);
      if (sent.length < 9 + length) break;
      assert.ok(length <= 16_384, "sends too large a frame");
      const id = sent.readUInt32BE(5);
      this.#onFrame(sent.readUInt16BE(3), id, sent.subarray(9, 9 + length), isExact);
      sent = sent.subarray(9 + length);
    }
    this.#sent = sent;
  }

  /** All was sent; `hasEnded`: and the session has ended. */
  finish(hasEnded: boolean): void {
    assert.equal(this.#sent.length, 0, "sends a piece of a frame");
    assert.equal(this.#block, undefined, "sends a piece of a block");
    assert.ok(!hasEnded || this.#lastType === 7, "ends without a farewell");
  }

  #onFrame(
    typeAndFlags: number,
    id: number,
    ...[payload, isExact]: [payload: Buffer, isExact: boolean]
  ): void {
    const type = typeAndFlags >> 8;
    const flags = typeAndFlags & 0xff;
    if (this.#lastType < 0) assert.equal(typeAndFlags, 0x0400, "begins without SETTINGS");
    this.#lastType = type;
    assert.equal(this.#block !== undefined, type === 9, "a block that others interrupt");
    switch (type) {
      case 0:
        return this.#onData(id, flags, payload, isExact);
      case 1:
        this.#block = { id, flags, bytes: none };
        return this.#onBlock(flags, payload, isExact);
      case 9:
        return this.#onBlock(flags, payload, isExact);
      case 3:
        assert.equal(payload.length, 4);
        assert.ok(id > 0);
        this.of(id).isReset = true;
        return;
      case 8:
        return this.#onGivenBack(id, payload.readUInt32BE(0));
      case 4:
        return assert.ok(id === 0 && payload.length % 6 === 0, "SETTINGS that are none");
      case 6:
        return assert.ok(id === 0 && payload.length === 8 && flags <= 1, "PING that is none");
      case 7:
        return assert.ok(id === 0 && payload.length === 8, "GOAWAY that is none");
      default:
        assert.fail(`sends a frame of type ${type}`);
    }
  }

  #onData(id: number, flags: number, ...[payload, isExact]: [Buffer, boolean]): void {
    const stream = this.#live(id, isExact);
    assert.ok(stream.hasHead, "content before a head");
    const { length } = payload;
    const expected = content.subarray(stream.content, stream.content + length);
    assert.ok(expected.equals(payload), "content that is not what was handed over");
    stream.content += length;
    stream.credit -= length;
    this.#credit -= length;
    if (isExact && length > 0) {
      assert.ok(stream.credit + this.#initial >= 0, "sends beyond a stream's window");
      assert.ok(this.#credit >= 0, "sends beyond the connection's window");
    }
    stream.isEnded = (flags & 1) !== 0;
  }

  #live(id: number, isExact: boolean): Sent {
    const stream = this.of(id);
    assert.ok(!stream.isEnded, "goes on behind the end");
    assert.ok(!stream.isReset || !isExact, "goes on behind a reset");
    return stream;
  }

  #onBlock(flags: number, payload: Buffer, isExact: boolean): void {
    const block = this.#block;
    if (block === undefined) return;
    block.bytes = Buffer.concat([block.bytes, payload]);
    if ((flags & 4) === 0) return;
    this.#block = undefined;
    const stream = this.#live(block.id, isExact);
    const fields = this.#decoder.decode(block.bytes);
    assert.ok(fields !== undefined, "sends what is no block");
    assert.ok(this.#decoder.isWithinLimit || !isExact, "keeps a table that is too large");
    const first = fields[0]?.[0];
    if (stream.hasHead && first !== ":status") {
      assert.ok((block.flags & 1) !== 0, "trailers that are not the end");
      assert.ok(fields.every(([name]) => !name.startsWith(":")));
    } else {
      assert.equal(first, this.#options.isClient ? ":method" : ":status");
      if (this.#options.isClient) {
        assert.equal(block.id, this.#lastId + (this.#lastId === 0 ? 1 : 2), "a stream out of turn");
        this.#lastId = block.id;
      }
    }
    stream.hasHead = true;
    stream.isEnded = (block.flags & 1) !== 0;
  }

  #onGivenBack(id: number, bytes: number): void {
    assert.ok(bytes > 0, "gives nothing");
    const { connectionWindow } = this.#options;
    if (id === 0) {
      this.#givenBack += bytes;
      const more = Math.max(connectionWindow, wholeWindow) - wholeWindow;
      assert.ok(this.#givenBack <= this.#received + more, "a connection's window too wide");
      return;
    }
    const stream = this.of(id);
    stream.givenBack += bytes;
    assert.ok(stream.givenBack <= stream.received, "a stream's window too wide");
  }
}
