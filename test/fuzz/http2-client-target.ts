/**
 * What the HTTP/2 session promises on its client's side: that of the server's (`http2-target.ts`), for
 * answers. An input is a byte that chooses how the session is driven, then what the server says to five
 * requests.
 */
import assert from "node:assert/strict";

import { Http1Head } from "../../src/wire/http1-head.ts";
import type { Http2Stream, StreamOwner } from "../../src/wire/http2-stream.ts";
import type { FuzzTarget } from "./fuzzer.ts";
import { type Asked, readAnswers } from "./http2-answers-reference.ts";
import { Link } from "./http2-link.ts";
import { inflate, type Mode, modeOf, muchContent } from "./http2-mode.ts";
import { data, field, head, hex, one } from "./http2-words.ts";
import type { Random } from "./random.ts";

const begin = Buffer.from([0, 0, 0, 4, 0, 0, 0, 0, 0]);
/** Requests begun in all, where each that is over is followed by another. */
const askedMax = 12;

const soundLine = /^[\x21-\x39\x3b-\x40\x5b-\x7e]+: [\t\x20-\x7e\x80-\xff]*$/;
const asked: ReadonlyMap<number, Asked> = new Map([
  [1, { isHead: false, isWhole: true }],
  [3, { isHead: true, isWhole: true }],
  [5, { isHead: false, isWhole: true }],
  [7, { isHead: false, isWhole: false }],
  [9, { isHead: false, isWhole: true }],
]);

class Owner implements StreamOwner {
  readonly head: Http1Head = new Http1Head();
  readonly trailers: Http1Head = new Http1Head();
  readonly #peer: Peer;
  #stream: Http2Stream | undefined;
  #id = 0;
  #content = 0;
  #isAnswered = false;
  #hasEnded = false;

  constructor(peer: Peer) {
    this.#peer = peer;
  }

  onOpened(stream: Http2Stream): void {
    this.#stream = stream;
    this.#id = stream.id;
  }

  onInterim(status: number): void {
    this.#open();
    assert.ok(!this.#isAnswered && status >= 100 && status < 200 && status !== 101);
    this.#peer.tell(`${this.#id} interim ${status}`);
  }

  onHead(isEnd: boolean): void {
    this.#open();
    const { head } = this;
    assert.ok(!this.#isAnswered, "answered twice");
    assert.ok(head.status >= 200 && head.status <= 999, "a status that is none");
    this.#isAnswered = true;
    const fields = Array.from({ length: head.count }, (_, at) => at)
      .filter((at) => head.dropped[at] === 0)
      .map((at) => `${head.nameAt(at)}: ${head.valueAt(at)}`);
    for (const field of fields) assert.match(field, soundLine, "smuggled");
    this.#peer.tell(`${this.#id} answer ${head.status}`);
    this.#peer.tell(`fields ${fields.join("|")} ${head.bodyKind} ${head.lacksLength} ${isEnd}`);
  }

  onData(_chunk: Buffer, from: number, to: number): void {
    const stream = this.#open();
    assert.ok(this.#isAnswered && !this.#hasEnded, "content where none is");
    this.#content += to - from;
    if (!this.#peer.mode.flows) return;
    if (this.#id % 8 === 1) stream.isPaused = true;
    if (this.#id % 8 === 5 && this.#content > 700) this.#peer.breakOff(stream);
  }

  onEnd(trailers: Http1Head | undefined): void {
    this.#open();
    const { head } = this;
    this.#hasEnded = true;
    if (head.bodyKind === "length") {
      assert.equal(this.#content, head.bodyLength, "a length that is not the content's");
    } else if (head.bodyKind === "none") assert.equal(this.#content, 0, "content of nothing");
    this.#peer.tell(`${this.#id} end ${this.#content} ${trailers?.count ?? "-"}`);
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
    this.#peer.tell(`${this.#id} malformed`);
    this.#peer.tell(`malformed ${error}`);
  }

  onReset(code: number, why?: string): void {
    if (why === "stream-window") {
      assert.ok(this.#peer.link.sent.isTooMuch(this.#id), "blames the peer");
    }
    this.#peer.tell(`${this.#id} reset`);
    this.#peer.tell(`reset ${code} ${why}`);
    this.#leave();
  }

  onClosed(): void {
    assert.ok(this.#hasEnded, "closed before its end");
    this.#peer.tell(`${this.#id} closed`);
    this.#leave();
  }

  #leave(): void {
    if (this.#stream === undefined) return;
    this.#stream = undefined;
    this.#peer.onOver();
  }
}

class Peer {
  readonly mode: Mode;
  readonly link: Link;
  #asked = 0;

  constructor(mode: Mode) {
    this.mode = mode;
    this.link = new Link(mode);
    this.link.session.start();
    for (const one of asked.values()) this.#ask(one);
    this.link.session.sender.flush();
    if (!mode.isRaw) this.link.receive(begin);
  }

  tell(event: string): void {
    this.link.events.push(event);
  }

  #ask({ isHead, isWhole }: Asked): void {
    const { link, mode } = this;
    const number = this.#asked++;
    const owner = new Owner(this);
    const stream = link.session.streams.beginOwn(owner, isHead);
    const { sender } = link.session;
    const writer = sender.beginHead(stream.id);
    const hasContent = !isWhole || number === 2;
    sender.encoder.field(writer, ":method", isHead ? "HEAD" : hasContent ? "POST" : "GET");
    sender.encoder.field(writer, ":path", `/${number}`);
    if (mode.isTight && number > 6) sender.encoder.field(writer, "x-long", "\u00ff".repeat(40_000));
    sender.endHead(stream, !hasContent);
    if (!hasContent) return;
    if (!mode.flows) link.send(stream, 10, isWhole);
    else if (isWhole) {
      for (let piece = 0; piece < 4; piece++) link.send(stream, 10_000, piece === 3);
    } else {
      link.send(stream, 39_000, false);
      if (stream.queuedBytes > 0 && number % 2 === 0) stream.isWaiting = true;
    }
  }

  breakOff(stream: Http2Stream): void {
    this.link.session.streams.breakOff(stream, 8);
  }

  onOver(): void {
    if (!this.mode.flows || this.link.session.isEnded || this.#asked >= askedMax) return;
    this.#ask({ isHead: false, isWhole: this.#asked % 3 !== 0 });
  }

  finish(): void {
    const { session } = this.link;
    if (!session.isEnded) {
      for (const stream of session.streams.open.values()) {
        if (!stream.isWaiting) this.link.end(stream);
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
  pieces.link.receivePieces(said, random);
  pieces.link.session.sender.flush();
  pieces.link.checkStreams();
  if (!mode.flows) {
    const whole = new Peer(mode);
    whole.link.receive(said);
    whole.link.session.sender.flush();
    whole.link.checkStreams();
    assert.deepEqual(pieces.link.events, whole.link.events, "depends on how the bytes arrive");
    if (!mode.isRaw && !mode.isSmallTable) compare(whole, said);
    whole.finish();
  }
  pieces.finish();
  assert.ok(before.equals(input), "changes what it reads");
}

function compare({ link, mode }: Peer, said: Buffer): void {
  const events = link.events.filter((event) => /^\d/.test(event));
  const expected = readAnswers(said, asked, mode.isStrict);
  for (const [at, event] of expected.entries()) {
    if (event === undefined) assert.ok(link.session.isEnded, "goes on behind an error");
    assert.equal(events[at], event, "differs from the reference");
  }
}

const answer = "88";
const created = field(":status", "201");
const length = (bytes: number): string =>
  `0f 0d ${(0x0100 + 0x30 + bytes).toString(16).padStart(4, "0")}`;
const noWindow = one(4, 0, "00 04 00 00 00 00");
const moreOfAll = one(8, 0, "00 00 ff ff", 0);
const moreOf = (id: number): string => one(8, 0, "00 00 ff ff", id);
const ping = one(6, 0, "01 02 03 04 05 06 07 08", 0);
const interim = head(field(":status", "103"), 4);

/** Answers to plain requests. */
const answers = [
  head(answer),
  head(answer, 4) + data("hello"),
  head(answer, 4) + data("late") + data("hello"),
  head(`${answer} ${length(5)}`, 4) + data("hello"),
  head(`${answer} ${length(4)}`, 4) + data("hello"),
  head(`${answer} ${length(6)}`, 4) + data("hello"),
  head(`${answer} ${length(5)}`),
  head(`${answer} ${length(0)}`),
  head(`${answer} ${length(5)} ${length(5)}`, 4),
  head(`${answer} ${field("content-length", "05")}`, 4),
  head(`${answer} ${length(5)}`, 5, 3),
  head(answer, 4, 3) + data("hello", 3),
  head(`${field(":status", "204")} ${length(0)}`, 4) + data("x"),
  head(`${field(":status", "304")} ${length(5)}`, 4) + data("hello"),
  head(answer, 5, 7) + data("x", 7),
  head(answer, 5, 7) + head(field("x", "1"), 5, 7),
  head(created, 4, 5) + data("x", 5) + head(field("x", "1"), 5, 5),
  head(answer, 4) + head(field("x", "1"), 4),
  head(answer, 4) + head(field(":status", "200")),
  head(answer, 4) + head(""),
  head(answer, 4) + head(field("connection", "x")),
  head(answer, 4) + head(field("x", "1").repeat(20)),
  interim + head(answer),
  interim.repeat(17) + head(answer),
  head(field(":status", "103")),
  head(`${field(":status", "100")} ${length(5)}`, 4) + head(answer),
  head(field(":status", "101"), 4),
  head(field(":status", "20")),
  head(field(":status", "2000")),
  head(field(":status", "2x0")),
  head(field(":status", "099")),
  head(`${answer} ${answer}`),
  head(`${field("x", "1")} ${answer}`),
  head(field("x", "1")),
  head(""),
  head(`${answer} ${field("transfer-encoding", "chunked")}`),
  head(`${answer} ${field("te", "gzip")}`),
  head(`${answer} ${field("te", "trailers")}`),
  head(`${answer} ${field("x".repeat(1990), "1")}`),
  head(`${answer} ${field("x", "1").repeat(20)}`),
  head("ff"),
  data("x"),
  data("hello", 9) + head(answer, 5, 9),
  head(answer) + data("x"),
  head(answer) + head(answer),
  head(answer, 5, 2),
  head(answer, 5, 0),
  head(answer, 5, 11),
  data("x", 11) + data("x", 0),
  one(7, 0, "00 00 00 03 00 00 00 00", 0) + head(answer, 5, 5) + head(answer, 5, 3),
  one(7, 0, "00 00 00 00 00 00 00 02", 0) + data("x") + head(answer),
  one(7, 0, "00 00 00 00", 0),
  one(7, 0, "00 00 00 00 00 00 00 02", 1),
  head(answer, 4) + one(3, 0, "00 00 00 08") + data("x"),
  one(3, 0, "00 00 00 07") + head(answer),
  one(3, 0, "00 00 00 08", 11) + one(3, 0, "00 00", 1),
  one(3, 0, "00 00 00 08", 0),
  one(5, 4, "00 00 00 02 82 86"),
  one(1, 0x2d, `02 00 00 00 10 10 ${answer} 00 00`),
  one(1, 0x25, `00 00 00 01 10 ${answer}`) + one(1, 0x25, "00 00"),
  one(1, 1, "88") + one(9, 4, "40 01 61 01 62"),
  one(1, 1, "88") + one(9, 0, "").repeat(3),
  one(1, 1, "88") + one(9, 4, "88", 3),
  one(9, 4, "88"),
  one(4, 0, "00 01 00 00 00 10 00 03 00 00 00 01 00 05 00 00 40 00 00 06 00 00 00 01"),
  one(4, 0, "00 02 00 00 00 02") + one(4, 0, "00"),
  one(4, 0, "00 05 00 00 00 01"),
  one(4, 0, "00 04 ff ff ff ff"),
  one(4, 0, "", 1) + one(4, 1, "00"),
  one(4, 1, "") + one(4, 1, "") + ping + one(6, 1, "01 02 03 04 05 06 07 08", 0),
  one(6, 0, "01", 0) + one(6, 0, "01 02 03 04 05 06 07 08", 1),
  one(8, 0, "00 00 00 00", 0) + one(8, 0, "00 00 00 00", 7) + one(8, 0, "00", 7),
  one(8, 0, "7f ff ff ff", 0),
  one(8, 0, "7f ff ff ff", 7) + one(8, 0, "00 00 00 01", 11),
  one(8, 0, "00 00 00 00", 7) + one(8, 0, "00 00 00 01", 7),
  one(2, 0, "00 00 00 07 10", 7) + one(2, 0, "00", 7) + one(2, 0, "00 00 00 01 10", 0),
  head(answer, 4) + one(0, 8, "02 61 62 00 00") + one(0, 9, "00"),
  head(answer, 4) + one(0, 8, "09 61") + one(0, 8, ""),
  head(answer, 4) + data("").repeat(3),
  head(answer, 4) + Array.from({ length: 5 }, () => one(0, 0, "61".repeat(300))).join(""),
  one(8, 0, "7f ff 00 00", 7) + one(4, 0, "00 04 00 01 00 00"),
  one(0, 0, "61", 2) + one(3, 0, "00 00 00 08", 2) + one(8, 0, "00 00 00 08", 2),
  one(99, 0, "00 00") + "00 40 01 00 00 00 00 00 01",
];

/** By the byte that says how. */
const driven = [
  `01 ${one(4, 0, "")} ${head(answer)}`,
  `01 ${one(4, 1, "")} ${head(answer)}`,
  `01 ${head(answer)}`,
  `04 ${one(4, 1, "")} ${head(`3f 45 ${answer}`)} ${head(answer, 5, 5)}`,
  `04 ${one(4, 1, "")} ${head(answer)}`,
  `08 ${moreOfAll} ${moreOf(5)} ${moreOf(7)} ${head(answer)}`,
  `08 ${moreOfAll} ${[5, 7, 13].map(moreOf).join("")} ${one(3, 0, "00 00 00 08", 9)} ${one(3, 0, "00 00 00 08", 1)}`,
  `08 ${noWindow} ${moreOfAll} ${one(4, 0, "00 04 00 00 40 00")}`,
  `08 ${noWindow} ${moreOfAll} ${one(8, 0, "00 00 01 00", 7)} ${head(answer, 5, 7)} ${moreOf(7)}`,
  `08 ${[1, 3, 5, 9].map((id) => head(answer, 5, id)).join("")} ${moreOfAll} ${head(answer, 5, 11)}`,
  `08 ${head(answer, 4)} ${one(0, 0, "61".repeat(400)).repeat(3)}`,
  `08 ${head(answer, 4, 9)} ${one(0, 0, "61".repeat(400), 9).repeat(3)} ${data("hello", 9)}`,
  `08 ${head(answer, 4, 7)} ${one(0, 0, "61".repeat(400), 7).repeat(2)} ${moreOfAll}`,
  `08 ${one(3, 0, "00 00 00 08", 5)} ${moreOfAll} ${one(3, 0, "00 00 00 07", 7)}`,
  `08 ${moreOfAll.repeat(4)} ${[5, 7].map(moreOf).join("")} ${[1, 3, 5, 9].map((id) => head(answer, 5, id)).join("")}${[7, 11, 13, 15, 17].map((id) => moreOf(id) + head(answer, 5, id)).join("")}`,
  `08 ${[1, 3, 5, 7, 9, 11, 13, 15, 17, 19].map((id) => one(3, 0, "00 00 00 08", id)).join("")}`,
  `10 ${head(field(":status", "20"))} ${head(answer, 5, 5)}`,
  `10 ${head(`${answer} ${field("x", "1").repeat(20)}`)} ${head(answer, 5, 5)}`,
  `88 ${ping.repeat(12)}`,
  `88 ${one(2, 0, "00 00 00 00 10").repeat(30)}`,
  `88 ${one(8, 0, "00 00 00 01", 0).repeat(60)}`,
  `88 ${[1, 3, 5, 7].map((id) => one(3, 0, "00 00 00 08", id)).join("")}`,
  `88 ${moreOfAll} ${[1, 3, 5, 9].map((id) => head(answer, 5, id)).join("")} ${moreOf(5)} ${ping}`,
  `88 ${one(1, 1, "88")} ${one(9, 0, "86").repeat(20)}`,
  `88 ${[1, 3, 5].map((id) => head("86", 5, id)).join("")}`,
  `88 ${head(answer, 4, 9)} ${one(muchContent, 0, "", 9).repeat(6)}`,
  `88 ${head(answer, 4, 7)} ${one(muchContent, 0, "", 7).repeat(6)} ${one(muchContent, 1, "", 7)}`,
  `88 ${head(`${answer} 40 01 78 7f a1 17 ${"76".repeat(3104)} ${"be".repeat(400)}`)}`,
  `88 ${head(`${answer} 40 01 78 7f a1 17 ${"76".repeat(3104)} ${"be".repeat(21)}`)}`,
  `8c ${[1, 3, 5, 9].map((id) => head(answer, 5, id)).join("")} ${moreOfAll}`,
  `0c ${[1, 3, 5, 9].map((id) => head(answer, 5, id)).join("")} ${moreOfAll} ${moreOf(7)}`,
];

export const http2ClientTarget: FuzzTarget = {
  tokens: [
    head(answer, 5, 1),
    head(answer, 4, 5),
    head(answer, 4, 7),
    head(answer, 5, 9),
    data("hello", 5),
    data("late", 7),
    one(0, 8, "02 61 62 00 00", 5),
    one(3, 0, "00 00 00 08", 5),
    one(7, 0, "00 00 00 05 00 00 00 00", 0),
    noWindow,
    moreOfAll,
    moreOf(5),
    moreOf(7),
    one(8, 0, "00 00 00 01", 7),
    ping,
    one(4, 1, ""),
    one(4, 0, "00 04 00 00 00 0a"),
    one(4, 0, "00 01 00 00 00 00"),
    interim,
    length(5),
    "40 06 63 6f 6f 6b 69 65 01 31",
    field("x", "1"),
    field(":status", "204"),
    field("connection", "x"),
    "ff ff ff ff",
  ].map(hex),
  seeds: answers
    .map((text) => `00${text}`)
    .concat(driven)
    .map(hex),
  bytesMax: 4000,
  check,
};
