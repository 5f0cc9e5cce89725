/**
 * What the HTTP/2 session promises: the same whatever pieces the bytes arrive in, nothing thrown, no
 * stream told anything after its end, windows and numbers of streams kept. An input is what follows
 * preface and SETTINGS.
 */
import assert from "node:assert/strict";

import { Http1Head } from "../../src/wire/http1-head.ts";
import { defaultFloodLimits } from "../../src/wire/http2-floods.ts";
import { preface, windowMax } from "../../src/wire/http2-frames.ts";
import { FrameMemory } from "../../src/wire/http2-frame-memory.ts";
import { Http2Session } from "../../src/wire/http2-session.ts";
import type { Http2Stream, StreamOwner } from "../../src/wire/http2-stream.ts";
import type { FuzzTarget } from "./fuzzer.ts";
import { readRequests } from "./http2-reference.ts";
import type { Random } from "./random.ts";

const streamsMax = 4;
/** Small, so that small inputs fill it. */
const window = 1000;
const memory = new FrameMemory();
const begin = Buffer.concat([Buffer.from(preface), Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0])]);

const requestLine = /^[\x21-\x7e]+ [\x21-\x7e\x80-\xff]+$/;
const soundLine = /^[\x21-\x39\x3b-\x40\x5b-\x7e]+: [\t\x20-\x7e\x80-\xff]*$/;

class Owner implements StreamOwner {
  readonly head: Http1Head = new Http1Head();
  readonly trailers: Http1Head = new Http1Head();
  readonly #peer: Peer;
  #stream: Http2Stream | undefined;
  #content = 0;
  #hasEnded = false;

  constructor(peer: Peer) {
    this.#peer = peer;
  }

  onOpened(stream: Http2Stream): void {
    this.#stream = stream;
    assert.ok(this.#peer.session.streams.open.size <= streamsMax, "too many streams");
  }

  onHead(isEnd: boolean): void {
    const stream = this.#open();
    const { head } = this;
    this.#hasEnded = isEnd;
    const line = head.text(head.lineStart, head.targetEnd);
    assert.match(line, requestLine, "a request line that is none");
    const fields = Array.from({ length: head.count }, (_, at) => at)
      .filter((at) => head.dropped[at] === 0)
      .map((at) => `${head.nameAt(at)}: ${head.valueAt(at)}`);
    for (const field of fields) assert.match(field, soundLine, "smuggled");
    assert.equal(fields.filter((field) => field.startsWith("host: ")).length, 1, "no one Host");
    this.#peer.events.push(`${stream.id} request ${line} ${fields.join("|")} ${head.bodyKind}`);
    // What waits for a window is sent when a chunk was read: that would depend on chunks.
    if (isEnd && head.count % 2 === 0) this.#peer.answer(stream, true);
  }

  onData(_chunk: Buffer, from: number, to: number): void {
    this.#open();
    assert.ok(!this.#hasEnded, "content behind the end");
    this.#content += to - from;
  }

  onEnd(): void {
    const stream = this.#open();
    this.#hasEnded = true;
    if (this.head.bodyKind === "length") {
      assert.equal(this.#content, this.head.bodyLength, "a length that is not the content's");
    }
    this.#peer.events.push(`${stream.id} end ${this.#content}`);
    if (!stream.isLocalEnded && !stream.isEndQueued)
      this.#peer.session.sender.end(stream, undefined);
  }

  #open(): Http2Stream {
    const stream = this.#stream;
    assert.ok(stream !== undefined && !stream.isClosed, "told something behind its end");
    return stream;
  }

  onRoom(): void {}

  onMalformed(error: string): void {
    this.#peer.events.push(`${this.#stream?.id} malformed ${error}`);
  }

  onReset(code: number): void {
    this.#peer.events.push(`${this.#stream?.id} reset ${code}`);
  }

  onClosed(): void {
    this.#peer.events.push(`${this.#stream?.id} closed`);
  }
}

const content = Buffer.alloc(40_000, "x");

class Peer {
  readonly session: Http2Session;
  readonly events: string[] = [];
  sentBytes = 0;

  constructor() {
    this.session = new Http2Session(
      {
        maxConcurrentStreams: streamsMax,
        streamWindow: window,
        connectionWindow: 65_535,
        tableBytes: 4096,
        limits: { headBytesMax: 2000, fieldsMax: 16 },
        floods: defaultFloodLimits,
      },
      {
        memory,
        send: (_memory, length) => {
          this.sentBytes += length;
          return true;
        },
        handler: {
          serve: () => new Owner(this),
          onMalformed: () => true,
          onStreamError: (why) => void this.events.push(why),
          onError: (code, why) => void this.events.push(`error ${code} ${why}`),
          onPingAck: () => {},
        },
      },
    );
    this.session.start();
    this.session.receive(begin, 0);
  }

  answer(stream: Http2Stream, isEnd: boolean): void {
    const { sender } = this.session;
    const writer = sender.beginHead(stream.id);
    sender.encoder.status(writer, 200);
    sender.endHead(stream, isEnd);
  }

  /** Answers what is open, and takes all of it. */
  finish(): void {
    if (this.session.isEnded) return;
    const { sender, streams } = this.session;
    for (const stream of streams.open.values()) {
      this.answer(stream, false);
      sender.data(stream, content, 0, content.length, stream.id % 4 === 1);
      assert.ok(sender.window >= 0, "sends beyond the connection's window");
      if (!stream.isEndQueued && !stream.isLocalEnded) sender.end(stream, undefined);
    }
    sender.window += windowMax / 2;
    for (const stream of streams.open.values()) sender.addStreamWindow(stream, 100_000);
    streams.onDrain();
    sender.flush();
    const left = [...streams.open.values()].filter(({ sendWindow }) => sendWindow > 0);
    for (const stream of left) assert.equal(stream.queuedBytes, 0, "keeps what it may send");
  }
}

function check(input: Buffer, random: Random): void {
  const before = Buffer.from(input);
  const whole = new Peer();
  whole.session.receive(input, 0);
  whole.session.sender.flush();
  const pieces = new Peer();
  const stepMax = random.pick([1, 3, 20, 300]);
  for (let at = 0; at < input.length;) {
    const end = Math.min(input.length, at + 1 + random.below(stepMax));
    pieces.session.receive(Buffer.from(input.subarray(at, end)), 0);
    at = end;
  }
  pieces.session.sender.flush();
  assert.deepEqual(pieces.events, whole.events, "depends on how the bytes arrive");
  assert.equal(pieces.session.isEnded, whole.session.isEnded);
  for (const { session } of [whole, pieces]) {
    for (const stream of session.streams.open.values()) {
      assert.ok(stream.receiveWindow >= 0 && stream.receiveWindow <= window, "a window too wide");
      assert.ok(stream.queuedBytes <= content.length, "a queue too long");
    }
  }
  for (const { streamId, isSound } of readRequests(input)) {
    const isBegun = whole.events.some((event) => event.startsWith(`${streamId} request`));
    assert.equal(isBegun, isSound, "differs from the reference");
    if (!isSound && whole.session.isEnded) break;
  }
  whole.finish();
  assert.ok(before.equals(input), "changes what it reads");
}

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(" ", ""), "hex");
const get = "82 86 84 01 01 61";
const post = "83 86 84 01 01 61";

/** A frame, in hexadecimal. */
function one(
  type: number,
  flags: number,
  ...[payload, id = type === 4 ? 0 : 1]: [string, number?]
): string {
  const bytes = hex(payload);
  const start = Buffer.alloc(9);
  start.writeUIntBE(bytes.length, 0, 3);
  start[3] = type;
  start[4] = flags;
  start.writeUInt32BE(id, 5);
  return Buffer.concat([start, bytes]).toString("hex");
}

function head(block: string, flags = 5): string {
  return one(1, flags, block);
}

function data(text: string): string {
  return one(0, text === "hello" ? 1 : 0, Buffer.from(text).toString("hex"));
}

function field(name: string, value: string): string {
  const text = (one: string): string => {
    const length = Buffer.from(one.length < 127 ? [one.length] : long(one.length));
    return length.toString("hex") + Buffer.from(one).toString("hex");
  };
  return `00${text(name)}${text(value)}`;
}

/** A length of more than seven bits. */
function long(length: number): readonly number[] {
  const rest = length - 127;
  return [127, (rest & 0x7f) | 0x80, rest >> 7];
}

export const http2Target: FuzzTarget = {
  tokens: [
    `00 00 06 01 05 00 00 00 01 ${get}`,
    `00 00 06 01 05 00 00 00 03 ${get}`,
    `00 00 06 01 04 00 00 00 05 ${post}`,
    "00 00 05 00 01 00 00 00 05 68 65 6c 6c 6f",
    "00 00 05 00 00 00 00 00 05 68 65 6c 6c 6f",
    "00 00 06 00 08 00 00 00 05 02 61 62 63 00 00",
    "00 00 04 03 00 00 00 00 01 00 00 00 08",
    "00 00 04 08 00 00 00 00 00 00 00 ff ff",
    "00 00 04 08 00 00 00 00 01 00 00 00 01",
    "00 00 08 06 00 00 00 00 00 31 32 33 34 35 36 37 38",
    "00 00 06 04 00 00 00 00 00 00 04 00 00 00 0a",
    "00 00 06 04 00 00 00 00 00 00 01 00 00 00 00",
    "00 00 00 04 01 00 00 00 00",
    "00 00 05 02 00 00 00 00 01 00 00 00 00 10",
    "00 00 08 07 00 00 00 00 00 00 00 00 00 00 00 00 00",
    "00 00 02 09 04 00 00 00 01 82 86",
    "0f 0d 01 35",
    "40 06 63 6f 6f 6b 69 65 01 31",
    "00 04 68 6f 73 74 01 62",
    "00 02 74 65 08 74 72 61 69 6c 65 72 73",
    "00 06 65 78 70 65 63 74 0c 31 30 30 2d 63 6f 6e 74 69 6e 75 65",
    "00 0a 63 6f 6e 6e 65 63 74 69 6f 6e 01 78",
    "02 07 43 4f 4e 4e 45 43 54",
    "02 07 4f 50 54 49 4f 4e 53",
    "04 01 2a",
    "00 09 3a 70 72 6f 74 6f 63 6f 6c 01 78",
    "ff ff ff ff",
  ].map(hex),
  seeds: [
    head(get),
    head(get) + data("late"),
    head(`${get} ${field("x", "1")}`) + data("late"),
    head(`${post} ${field("content-length", "6")}`, 4) + data("hello"),
    head(post, 4) + data("hello"),
    head(`${post} ${field("content-length", "5")}`, 4) + data("hello"),
    head(`${post} ${field("content-length", "4")}`, 4) + data("hello"),
    head(`${post} ${field("content-length", "5")}`),
    head(post, 4) + head(field("x", "1")),
    head(post, 4) + head(field("x", "1"), 4),
    head(post, 4) + head(field(":path", "/")),
    one(1, 1, "82 86 84") + one(9, 4, "01 01 61"),
    one(1, 0x25, `00 00 00 00 10 ${get}`),
    one(1, 0x25, `00 00 00 01 10 ${get}`),
    one(1, 0x0d, `02 ${get} 00 00`),
    one(1, 0x0d, `ff ${get}`),
    one(1, 0x25, "00 00"),
    head(`${get} ${field("cookie", "a=1")} ${field("cookie", "b=2")} ${field("cookie", "c=3")}`),
    head(`82 86 84 ${field("host", "a")}`),
    head(`82 86 84 ${field("host", "a")} ${field("host", "b")}`),
    head(`${get} ${field("host", "b")} ${field("expect", "100-continue")}`),
    head(`${post} ${field("expect", "100-continue")}`, 4) + data("x"),
    head(`${post} ${field("expect", "other")}`, 4),
    head(`${get} ${field("te", "trailers")}`),
    head(`${get} ${field("te", "gzip")}`),
    head(`${get} ${field("connection", "x")}`),
    head(`${field(":method", "CONNECT")} ${field(":authority", "a:1")}`),
    head(`${field(":method", "CONNECT")} 84 ${field(":authority", "a:1")}`),
    head(`${field(":method", "OPTIONS")} 86 ${field(":path", "*")} ${field(":authority", "a")}`),
    head(`${field(":method", "G T")} 86 84 01 01 61`),
    head(`82 ${field(":scheme", "ftp")} 84 01 01 61`),
    head(`82 87 ${field(":path", "x")} 01 01 61`),
    head(`82 87 ${field(":path", "/ x")} 01 01 61`),
    head(`82 86 84 ${field(":authority", "a b")}`),
    head(`82 86 84 ${field(":authority", "")}`),
    head("82 86 84"),
    head("86 84 01 01 61"),
    head("82 01 01 61"),
    head(`82 82 86 84 01 01 61`),
    head(`${get} ${field(":protocol", "x")}`),
    head(`82 86 ${field("x", "1")} 84 01 01 61`),
    head(`${get} ${field("a".repeat(1900), "1")}`),
    head(`${get} ${field("x", "1").repeat(20)}`),
    head(get) + one(3, 0, "00 00 00 08") + data("late"),
    head(post, 4) + one(3, 0, "00 00 00 08") + data("late") + one(1, 5, field("x", "1")),
    [1, 3, 5, 7, 9, 11].map((id) => one(1, 4, post, id)).join(""),
    head(post, 4) + one(0, 8, "02 61 62 00 00") + one(0, 9, "00"),
    head(post, 4) + one(0, 8, "09 61") + data("x"),
    head(post, 4) + Array.from({ length: 5 }, () => one(0, 0, "61".repeat(300))).join(""),
    one(4, 0, "00 04 00 00 00 0a 00 01 00 00 00 00 00 05 00 00 40 00") + head(get),
    one(4, 0, "00 02 00 00 00 02"),
    one(4, 0, "00 05 00 00 00 01"),
    one(4, 0, "00 04 ff ff ff ff"),
    head(post, 4) + one(8, 0, "7f ff ff ff") + one(4, 0, "00 04 7f ff ff ff"),
    one(4, 1, "") + one(4, 1, "00") + head(get),
    one(2, 0, "00 00 00 00 10") + one(2, 0, "00 00 00 01 10") + one(2, 0, "00"),
    one(6, 0, "01 02 03 04 05 06 07 08", 0) + one(6, 1, "01 02 03 04 05 06 07 08", 0),
    one(7, 0, "00 00 00 00 00 00 00 00", 0) + one(7, 0, "00", 0),
    one(8, 0, "00 00 00 01", 0).repeat(8),
    one(8, 0, "00 00 00 00", 0) + one(8, 0, "7f ff ff ff", 0),
    head(post, 4) + data("").repeat(3),
    one(1, 1, "82") + one(9, 0, "").repeat(3),
    one(1, 1, "82") + one(9, 0, "86").repeat(20),
    one(5, 0, "00 00 00 02") + one(99, 0, "00 00"),
    head("ff"),
    one(1, 5, get, 2) + one(1, 5, get, 0),
    one(1, 5, get, 5) + one(1, 5, get, 3),
    "00 40 01 00 00 00 00 00 01",
  ].map(hex),
  bytesMax: 4000,
  check,
};
