/**
 * What the HTTP/2 session promises on its server's side: the same whatever pieces the bytes arrive in,
 * nothing thrown, no stream told anything after its end, windows and numbers of streams kept, and what it
 * sends is sound. An input is a byte that chooses how the session is driven (`http2-mode.ts`), then what the
 * client says.
 */
import assert from "node:assert/strict";

import { Http1Head } from "../../src/wire/http1-head.ts";
import { preface } from "../../src/wire/http2-frames.ts";
import type { Http2Stream, StreamOwner } from "../../src/wire/http2-stream.ts";
import type { FuzzTarget } from "./fuzzer.ts";
import { Link } from "./http2-link.ts";
import { inflate, type Mode, modeOf, muchContent, streamsMax } from "./http2-mode.ts";
import { readRequests } from "./http2-reference.ts";
import { data, field, head, hex, one } from "./http2-words.ts";
import type { Random } from "./random.ts";

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
    assert.ok(this.#peer.link.session.streams.open.size <= streamsMax, "too many streams");
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
    this.#peer.tell(`${stream.id} request ${line} ${fields.join("|")} ${head.bodyKind}`);
    this.#peer.onRequest(stream, head, isEnd);
  }

  onData(_chunk: Buffer, from: number, to: number): void {
    const stream = this.#open();
    assert.ok(!this.#hasEnded, "content behind the end");
    this.#content += to - from;
    if (this.#peer.mode.flows && stream.id % 8 === 1) stream.isPaused = true;
    const isEnough = stream.id % 8 === 5 && this.#content > 300;
    if (this.#peer.mode.flows && isEnough) this.#peer.breakOff(stream);
  }

  onEnd(trailers: Http1Head | undefined): void {
    const stream = this.#open();
    this.#hasEnded = true;
    if (this.head.bodyKind === "length") {
      assert.equal(this.#content, this.head.bodyLength, "a length that is not the content's");
    }
    this.#peer.tell(`${stream.id} end ${this.#content} ${trailers?.count ?? "-"}`);
    this.#peer.onRequestEnd(stream, this.head);
  }

  #open(): Http2Stream {
    const stream = this.#stream;
    assert.ok(stream !== undefined && !stream.isClosed, "told something behind its end");
    return stream;
  }

  onRoom(): void {
    const stream = this.#open();
    if (!stream.isEndQueued && !stream.isLocalEnded) this.#peer.link.send(stream, 500, true);
  }

  onMalformed(error: string): void {
    this.#peer.tell(`${this.#stream?.id} malformed ${error}`);
  }

  onReset(code: number, why?: string): void {
    const id = this.#stream?.id ?? 0;
    if (why === "stream-window") assert.ok(this.#peer.link.sent.isTooMuch(id), "blames the peer");
    this.#peer.tell(`${id} reset ${code}`);
    this.#stream = undefined;
  }

  onClosed(): void {
    this.#peer.tell(`${this.#stream?.id} closed`);
    this.#stream = undefined;
  }
}

class Peer {
  readonly mode: Mode;
  readonly link: Link;
  #served = 0;

  constructor(mode: Mode) {
    this.mode = mode;
    this.link = new Link(mode, () => this.#serve());
    this.link.session.start();
    if (!mode.isRaw) this.link.receive(begin);
  }

  #serve(): StreamOwner | undefined {
    this.#served++;
    if (this.mode.leaves && this.#served === 2) {
      const { session } = this.link;
      session.goAway(session.streams.lastId);
    }
    return this.mode.refuses && this.#served % 3 === 0 ? undefined : new Owner(this);
  }

  tell(event: string): void {
    this.link.events.push(event);
  }

  onRequest(stream: Http2Stream, head: Http1Head, isEnd: boolean): void {
    if (this.mode.flows) return this.#answerAtLength(stream);
    // What waits for a window is sent when a chunk was read: that would depend on chunks.
    if (isEnd && head.count % 2 === 0) this.answer(stream, true);
  }

  onRequestEnd(stream: Http2Stream, head: Http1Head): void {
    if (!this.mode.flows) {
      this.answer(stream, false);
      this.link.end(stream);
    } else if (stream.isAnswered || head.count % 2 === 0) {
      this.answer(stream, false);
      this.link.send(stream, 700, head.count % 3 === 0);
      this.link.end(stream);
    }
  }

  #answerAtLength(stream: Http2Stream): void {
    const { link } = this;
    switch ((stream.id >> 1) % 4) {
      case 0:
        this.answer(stream, false);
        for (let piece = 0; piece < 4; piece++) link.send(stream, 10_000, piece === 3);
        return;
      case 1:
        this.answer(stream, false);
        link.send(stream, 20_000, false);
        return link.end(stream);
      case 2:
        this.answer(stream, false);
        link.send(stream, 19_000, false);
        link.send(stream, 400, false);
        if (stream.queuedBytes > 0) stream.isWaiting = true;
        else link.end(stream);
        return;
      default:
    }
  }

  breakOff(stream: Http2Stream): void {
    this.link.session.streams.breakOff(stream, 8);
  }

  answer(stream: Http2Stream, isEnd: boolean): void {
    if (stream.isClosed || stream.isAnswered || stream.isLocalEnded) return;
    const { sender } = this.link.session;
    const writer = sender.beginHead(stream.id);
    sender.encoder.status(writer, 200);
    if (this.mode.isTight) sender.encoder.field(writer, "x-long", "\u00ff".repeat(40_000));
    stream.isAnswered = true;
    sender.endHead(stream, isEnd);
  }

  /** Answers what is open. */
  finish(): void {
    const { session } = this.link;
    if (!session.isEnded && !this.mode.flows) {
      for (const stream of session.streams.open.values()) {
        this.answer(stream, false);
        this.link.send(stream, 10, stream.id % 4 === 1);
        this.link.end(stream);
      }
    }
    this.link.finish();
  }
}

function check(input: Buffer, random: Random): void {
  const before = Buffer.from(input);
  const mode = modeOf(input[0]);
  const said = mode.isTight ? inflate(input.subarray(1)) : input.subarray(1);
  const pieces = new Peer(mode);
  pieces.link.receivePieces(said, random, mode.isRaw ? preface.length : 0);
  pieces.link.session.sender.flush();
  pieces.link.checkStreams();
  if (!mode.flows) {
    const whole = new Peer(mode);
    whole.link.receive(said);
    whole.link.session.sender.flush();
    whole.link.checkStreams();
    assert.deepEqual(pieces.link.events, whole.link.events, "depends on how the bytes arrive");
    assert.equal(pieces.link.session.isEnded, whole.link.session.isEnded);
    if (!mode.isRaw && !mode.allowsConnect && !mode.isSmallTable) compare(whole, said);
    whole.finish();
  }
  pieces.finish();
  assert.ok(before.equals(input), "changes what it reads");
}

function compare({ link, mode }: Peer, said: Buffer): void {
  if (mode.refuses || mode.leaves) return;
  for (const { streamId, isSound } of readRequests(said)) {
    const isBegun = link.events.some((event) => event.startsWith(`${streamId} request`));
    assert.equal(isBegun, isSound, "differs from the reference");
    if (!isSound && (link.session.isEnded || mode.isStrict)) break;
  }
}

const get = "82 86 84 01 01 61";
const post = "83 86 84 01 01 61";

const greeting = Buffer.from(preface).toString("hex") + one(4, 0, "");
const three = [1, 3, 5].map((id) => head(get, 5, id)).join("");
const noWindow = one(4, 0, "00 04 00 00 00 00");
const moreOfAll = one(8, 0, "00 00 ff ff", 0);
const ping = one(6, 0, "01 02 03 04 05 06 07 08", 0);
const connect = field(":method", "CONNECT");

/** A string as HPACK writes it, of one character. */
function long(character: string, bytes: number): string {
  const rest = bytes - 127;
  const size = Buffer.from([127, (rest & 127) | 128, rest >> 7]).toString("hex");
  return size + Buffer.from(character.repeat(bytes)).toString("hex");
}

/** By the byte that says how. */
const driven = [
  `01 ${greeting} ${head(get)}`,
  `01 ${Buffer.from("PRI * HTTP/1.1\r\n").toString("hex")}`,
  `01 ${greeting.slice(0, 48)} ${head(get)}`,
  `02 ${head(`${connect} ${field(":authority", "a:1")}`, 4)} ${data("hello")}`,
  `02 ${head(`${connect} ${field(":protocol", "websocket")} 86 84 01 01 61`, 4)} ${data("x")}`,
  `02 ${head(`${connect} ${field(":protocol", "a b")} 86 84 01 01 61`, 4)}`,
  `02 ${head(`${connect} ${field(":authority", "a:1")} ${field("content-length", "3")}`, 4)}`,
  `02 ${head(`${get} ${field(":protocol", "websocket")}`, 4)}`,
  `02 ${head(`${field(":protocol", "websocket")} 86 84 01 01 61`, 4)}`,
  `04 ${one(4, 1, "")} ${head(`3f 45 ${get}`)} ${head(get, 5, 3)}`,
  `04 ${one(4, 1, "")} ${head(get)}`,
  `08 ${three} ${one(8, 0, "00 00 ff ff", 1)} ${moreOfAll} ${moreOfAll}`,
  `08 ${three} ${noWindow} ${moreOfAll} ${one(4, 0, "00 04 00 00 40 00")}`,
  `08 ${noWindow} ${three} ${one(8, 0, "00 00 01 00", 1)} ${one(8, 0, "00 00 01 00", 3)}`,
  `08 ${head(post, 4)} ${one(0, 0, "61".repeat(200))} ${one(0, 0, "61".repeat(200))} ${data("x")}`,
  `08 ${[1, 3, 5].map((id) => head(post, 4, id)).join("")} ${one(0, 8, "02 61 62 00 00", 5)}`,
  `08 ${three} ${one(3, 0, "00 00 00 08", 5)} ${moreOfAll} ${head(get, 5, 7)}`,
  `08 ${head(post, 4)} ${data("x".repeat(100))} ${ping.repeat(4)} ${data("hello")}`,
  `08 ${[1, 9, 17].map((id) => head(post, 4, id) + data("x".repeat(300), id)).join("")} ${ping.repeat(9)} ${data("hello", 17)}`,
  `10 ${head("82 86 84")} ${head(get, 5, 3)}`,
  `20 ${[1, 3, 5, 7].map((id) => head(post, 4, id)).join("")} ${data("x", 5)}`,
  `40 ${[1, 3, 5].map((id) => head(post, 4, id)).join("")} ${data("x", 5)}`,
  `88 ${three} ${ping.repeat(5)}`,
  `88 ${three} ${one(2, 0, "00 00 00 00 10").repeat(12)}`,
  `88 ${one(8, 0, "00 00 00 01", 0).repeat(20)}`,
  `88 ${head(post, 4)} ${data("").repeat(3)}`,
  `88 ${[1, 3, 5].map((id) => head(post, 4, id) + one(3, 0, "00 00 00 08", id)).join("")}`,
  `88 ${head(get)} ${head(get, 5, 3)} ${ping} ${moreOfAll}`,
  `88 ${one(1, 1, "82")} ${one(9, 0, "86").repeat(20)}`,
  `88 ${[1, 3, 5].map((id) => head("82 86 84", 5, id)).join("")}`,
  `88 ${[7, 15, 23].map((id) => head(post, 4, id) + one(3, 0, "00 00 00 08", id)).join("")}`,
  `88 ${head(post, 4, 9)} ${one(muchContent, 0, "", 9).repeat(6)}`,
  `88 ${head(post, 4, 7)} ${one(muchContent, 0, "", 7).repeat(6)} ${one(muchContent, 1, "", 7)}`,
  `88 ${head(`${post} ${field("x", "1").repeat(90)}`, 4)} ${head(`${post} ${field("x", "1").repeat(60)}`, 4, 3)}`,
  `88 ${head(`82 86 01 01 61 04 ${long("/", 3000)}`)} ${head(`${get} 40 01 78 ${long("v", 3000)} ${"be".repeat(4)}`, 5, 3)}`,
  `88 ${head(`${get} 40 01 78 ${long("v", 3000)} ${"be".repeat(400)}`)}`,
  `8c ${three} ${moreOfAll}`,
  `0c ${three} ${moreOfAll} ${head(get, 5, 7)}`,
];

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
    head(post, 4) + one(8, 0, "7f ff 00 00") + one(4, 0, "00 04 00 01 00 00"),
    head(post, 4) + head(field("connection", "x")),
    head(`${post} ${field("content-length", "5")} ${field("content-length", "5")}`, 4),
    head(`${post} ${field("content-length", "")}`, 4),
    head(`${post} ${field("content-length", "05")}`, 4),
    head(`${post} ${field("content-length", "5x")}`, 4),
    head(`${post} ${field("content-length", "1234567890123456")}`, 4),
    one(0, 0, "61", 2) + one(3, 0, "00 00 00 08", 2) + one(8, 0, "00 00 00 08", 2),
  ]
    .map((text) => `00${text}`)
    .concat(driven)
    .map(hex),
  bytesMax: 4000,
  check,
};
