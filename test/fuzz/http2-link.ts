/** A session under search, with what it sends read by its side. */
import assert from "node:assert/strict";

import type { Deferred } from "../../src/base/turn-end.ts";
import { HpackDecoder } from "../../src/wire/hpack-decoder.ts";
import { Http1Head } from "../../src/wire/http1-head.ts";
import { FrameMemory } from "../../src/wire/http2-frame-memory.ts";
import type { Flood } from "../../src/wire/http2-floods.ts";
import type { Violation } from "../../src/wire/http2-frames.ts";
import { Http2Session, type SessionHandler } from "../../src/wire/http2-session.ts";
import type { Http2Stream, StreamOwner } from "../../src/wire/http2-stream.ts";
import { frameEnds, type Mode, settingsOf } from "./http2-mode.ts";
import { content, SentFrames } from "./http2-sent.ts";
import { hex, one } from "./http2-words.ts";
import type { Random } from "./random.ts";

const promptMemory = new FrameMemory();
const noTrailers = new Http1Head();
noTrailers.reset("trailers");
const trailers: Http1Head = new Http1Head();
trailers.reset("trailers");
new HpackDecoder({ headBytesMax: 1000, fieldsMax: 10 }, 4096).decode(
  hex("00 01 78 01 31 00 01 79 01 32"),
  0,
  10,
  trailers,
);
trailers.dropped[1] = 1;

export class Link {
  readonly session: Http2Session;
  readonly mode: Mode;
  readonly events: string[] = [];
  readonly sent: SentFrames;
  /** Content handed over, by stream. */
  readonly #handed = new Map<number, number>();
  #isExact = false;
  /** What leaves at the end of a turn of the loop. */
  #due: Deferred[] = [];
  /** The peer takes some of what is written, and then no more for a while. */
  #slowness = 0;
  #writes = 0;

  /** `serve`: of a server. */
  constructor(mode: Mode, serve?: () => StreamOwner | undefined) {
    this.mode = mode;
    const isClient = serve === undefined;
    const settings = settingsOf(mode);
    const { connectionWindow, streamWindow } = settings;
    this.sent = new SentFrames({ isClient, streamWindow, connectionWindow });
    const memory = mode.isSmallTable
      ? new FrameMemory({ defer: (due) => void this.#due.push(due) })
      : promptMemory;
    const send = (bytes: Buffer, length: number): boolean => {
      this.sent.take(Buffer.from(bytes.subarray(0, length)), this.#isExact);
      return this.#slowness === 0 || ++this.#writes % this.#slowness !== 0;
    };
    const handler = this.#handler();
    const onGoAway = (code: number): void => void this.events.push(`farewell ${code}`);
    const client = { ...handler, onPeerSettings: () => {}, onGoAway };
    this.session =
      serve === undefined
        ? new Http2Session(settings, { memory, send, side: "client", handler: client })
        : new Http2Session(settings, { memory, send, handler: { ...handler, serve } });
  }

  #handler(): SessionHandler {
    return {
      onMalformed: () => !this.mode.isStrict,
      onStreamError: (why) => void this.events.push(why),
      onError: (code: number, why: Violation | Flood) => {
        this.events.push(`error ${code} ${why}`);
        if (why === "connection-window") assert.ok(this.sent.isTooMuchOfAll, "blames the peer");
      },
      onPingAck: () => void this.events.push("pong"),
    };
  }

  /** Sends content, so much of it in pieces; `isEnd`: nothing follows. */
  send(stream: Http2Stream, bytes: number, isEnd: boolean): void {
    const from = this.#handed.get(stream.id) ?? 0;
    const to = Math.min(content.length, from + bytes);
    this.#handed.set(stream.id, to);
    this.session.sender.data(stream, content, from, to, isEnd);
  }

  /** With trailers, none of them, or none at all. */
  end(stream: Http2Stream): void {
    if (stream.isClosed || stream.isLocalEnded || stream.isEndQueued) return;
    const kinds = [undefined, trailers, noTrailers];
    // Not by the number of a request alone: some are never ended by us.
    this.session.sender.end(stream, kinds[((stream.id >> 1) + (stream.id >> 3)) % 3]);
  }

  /** All at once. */
  receive(bytes: Buffer): void {
    this.sent.give(bytes);
    this.session.receive(bytes, 0);
  }

  /** In pieces of chance, none of which holds more than one frame where all is checked frame by frame. */
  receivePieces(input: Buffer, random: Random, from = 0): void {
    const stepMax = random.pick(input.length > 8000 ? [300, 3000] : [1, 3, 20, 300]);
    const { flows } = this.mode;
    const ends = flows ? frameEnds(input, from) : [];
    this.#isExact = flows && !this.mode.isSmallTable;
    if (flows) this.#slowness = random.below(4);
    let frame = 0;
    for (let at = 0; at < input.length;) {
      while (frame < ends.length && (ends[frame] ?? 0) <= at) frame++;
      const last = flows ? (ends[frame] ?? input.length) : input.length;
      const end = Math.min(last, at + 1 + random.below(stepMax));
      this.receive(Buffer.from(input.subarray(at, end)));
      at = end;
      if (random.below(16) === 0) this.session.trim();
      if (flows) this.#betweenFrames(random);
    }
  }

  #betweenFrames(random: Random): void {
    const { session, mode } = this;
    if (mode.isSmallTable) session.sender.flushSoon();
    else session.sender.flush();
    if (random.below(3) === 0) this.#endTurn();
    if (session.isEnded) return;
    if (random.below(32) === 0) session.sender.ping(hex("01 02 03 04 05 06 07 08"), 0, false);
    if (!session.sender.hasRoom && random.below(3) === 0) session.streams.onDrain();
    const open = session.streams.open.values();
    if (random.below(mode.isTight ? 400 : 4) === 0) {
      for (const stream of open) if (stream.isPaused) session.streams.window.release(stream);
    }
    if (open.length > 0 && random.below(16) === 0) {
      const stream = random.pick(open);
      session.streams.breakOff(stream, 8);
      // An owner may not have heard of it yet, and breaks off what is over.
      session.streams.breakOff(stream, 8);
    }
    if (!mode.isSmallTable) session.sender.flush();
  }

  #endTurn(): void {
    for (const due of this.#due.splice(0)) due.runDeferred();
  }

  /** The peer gives all that is waited for: then nothing waits. */
  finish(): void {
    const { session } = this;
    this.#slowness = 0;
    session.sender.flush();
    if (!session.isEnded && this.mode.flows) this.#openWindows();
    session.sender.flush();
    this.sent.finish(session.isEnded);
    session.sender.close();
  }

  #openWindows(): void {
    const { session } = this;
    if (!this.sent.isAtFrame || session.isInHead) return;
    session.streams.onDrain();
    // Who is told that there is room says more, once.
    for (let round = 0; round < 3 && !session.isEnded; round++) this.#giveWhatIsMissing();
    session.sender.flush();
    if (session.isEnded) return;
    for (const stream of session.streams.open.values()) {
      assert.equal(stream.queuedBytes, 0, "keeps what it may send");
      const handed = this.#handed.get(stream.id) ?? 0;
      assert.equal(this.sent.of(stream.id).content, handed, "loses content");
    }
  }

  #giveWhatIsMissing(): void {
    const { session } = this;
    const waiting = session.streams.open.values().filter(({ queuedBytes }) => queuedBytes > 0);
    const all = waiting.reduce((sum, { queuedBytes }) => sum + queuedBytes, 0);
    if (all > session.sender.window) this.#give(0, all);
    for (const stream of waiting) {
      const missing = stream.queuedBytes - stream.sendWindow;
      if (missing > 0 && !stream.isClosed) this.#give(stream.id, missing);
    }
  }

  #give(id: number, bytes: number): void {
    if (this.session.isEnded) return;
    this.receive(hex(one(8, 0, bytes.toString(16).padStart(8, "0"), id)));
    this.session.sender.flush();
  }

  /** What has to hold whatever came. */
  checkStreams(): void {
    for (const stream of this.session.streams.open.values()) {
      assert.ok(
        stream.receiveWindow >= 0 && stream.receiveWindow <= settingsOf(this.mode).streamWindow,
        "a window too wide",
      );
      assert.ok(stream.queuedBytes <= content.length, "a queue too long");
    }
  }
}
