/** Clients of the data plane under test: what they ask, and how they count answers. */
import { ByteWriter } from "../../src/wire/byte-writer.ts";
import { HpackDecoder } from "../../src/wire/hpack-decoder.ts";
import { HpackEncoder } from "../../src/wire/hpack-encoder.ts";
import { Http1Head } from "../../src/wire/http1-head.ts";
import { frameFlag, frameHeadBytes, frameType, preface } from "../../src/wire/http2-frames.ts";
import type { MemoryChannel } from "./memory-io.ts";

export interface RigClient {
  /** Sends as many requests as the connection carries at once. */
  ask(): void;
  readonly answers: number;
  /** An answer, as HTTP/1.1 would have said it. */
  readonly said: string;
  close(): void;
}

const request = Buffer.from("GET / HTTP/1.1\r\nHost: 127.0.0.1:19010\r\n\r\n");

export class Http1Client implements RigClient {
  readonly #channel: MemoryChannel;

  constructor(channel: MemoryChannel) {
    this.#channel = channel;
  }

  ask(): void {
    this.#channel.handler.onData(request);
  }

  get answers(): number {
    return this.#channel.writes;
  }

  get said(): string {
    return this.#channel.received.toString("latin1", 0, this.#channel.receivedBytes);
  }

  close(): void {
    this.#channel.destroy();
  }
}

/** What the other client asks. */
const fields: readonly (readonly [name: string, value: string])[] = [
  [":path", "/"],
  [":scheme", "http"],
  [":authority", "127.0.0.1:19010"],
  [":method", "GET"],
];

/** HTTP/2 known beforehand, with windows that never close. */
export class Http2Client implements RigClient {
  answers = 0;
  readonly #channel: MemoryChannel;
  readonly #encoder = new HpackEncoder();
  readonly #streams: number;
  readonly #decoder = new HpackDecoder({ headBytesMax: 65_536, fieldsMax: 100 }, 4096);
  readonly #head = new Http1Head();
  #said = "";
  #nextId = 1;
  /** The requests of one round, once the table holds their fields. */
  #turn: Buffer | undefined;
  #blockBytes = 0;

  constructor(channel: MemoryChannel, streams: number) {
    this.#channel = channel;
    this.#streams = streams;
    channel.onWrite = (bytes, length) => this.#read(bytes, length);
    const hello = new ByteWriter();
    for (const character of preface) hello.byte(character.charCodeAt(0));
    writeFrame(hello, { type: frameType.settings, flags: 0, streamId: 0, length: 0 });
    writeFrame(hello, { type: frameType.windowUpdate, flags: 0, streamId: 0, length: 4 });
    hello.uint32(2 ** 31 - 65_536);
    channel.handler.onData(Buffer.from(hello.memory.subarray(0, hello.length)));
  }

  ask(): void {
    const turn = this.#turn ?? this.#first();
    const step = frameHeadBytes + this.#blockBytes;
    for (let at = 0; at < turn.length; at += step) {
      turn.writeUInt32BE(this.#nextId, at + 5);
      this.#nextId += 2;
    }
    this.#channel.handler.onData(turn);
  }

  /** One request fills the table; those after it are like one another. */
  #first(): Buffer {
    const first = this.#block();
    const block = this.#block();
    this.#blockBytes = block.length;
    this.#turn = Buffer.concat(Array.from({ length: this.#streams }, () => request2(block)));
    const opening = Buffer.concat([
      request2(first),
      ...Array.from({ length: this.#streams - 1 }, () => request2(block)),
    ]);
    const at = frameHeadBytes + first.length;
    for (let index = 0; index < this.#streams; index++) {
      const place = index === 0 ? 0 : at + (index - 1) * (frameHeadBytes + block.length);
      opening.writeUInt32BE(this.#nextId, place + 5);
      this.#nextId += 2;
    }
    this.#channel.handler.onData(opening);
    return Buffer.alloc(0);
  }

  #block(): Buffer {
    const out = new ByteWriter();
    this.#encoder.beginBlock(out);
    for (const [name, value] of fields) this.#encoder.field(out, name, value);
    return Buffer.from(out.memory.subarray(0, out.length));
  }

  #read(bytes: Buffer, length: number): void {
    for (let at = 0; at < length;) {
      const size = (bytes[at + 1] ?? 0) * 256 + (bytes[at + 2] ?? 0);
      const type = bytes[at + 3];
      const isEnd = type === frameType.data && ((bytes[at + 4] ?? 0) & frameFlag.endStream) !== 0;
      if (this.answers < this.#streams) {
        const from = at + frameHeadBytes;
        if (type === frameType.headers) this.#decode(bytes, from, from + size);
        if (type === frameType.data) this.#said += bytes.toString("latin1", from, from + size);
      }
      if (isEnd) this.answers++;
      at += frameHeadBytes + size;
    }
  }

  #decode(bytes: Buffer, from: number, to: number): void {
    const head = this.#head;
    head.reset("response");
    if (!this.#decoder.decode(bytes, from, to, head)) throw new Error("an answer is no HPACK");
    this.#said = head.bytes.toString("latin1", 0, head.length);
  }

  /** Of the first round, which is the only one that is read. */
  get said(): string {
    return this.#said;
  }

  close(): void {
    this.#channel.destroy();
  }
}

interface FrameHead {
  readonly type: number;
  readonly flags: number;
  readonly streamId: number;
  readonly length: number;
}

function writeFrame(out: ByteWriter, { type, flags, streamId, length }: FrameHead): void {
  out.byte(length >>> 16);
  out.byte(length >>> 8);
  out.byte(length);
  out.byte(type);
  out.byte(flags);
  out.uint32(streamId);
}

function request2(block: Buffer): Buffer {
  const out = new ByteWriter();
  const flags = frameFlag.endHeaders | frameFlag.endStream;
  writeFrame(out, { type: frameType.headers, flags, streamId: 0, length: block.length });
  out.bytes(block, 0, block.length);
  return Buffer.from(out.memory.subarray(0, out.length));
}
