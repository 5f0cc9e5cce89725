/** What a client may do to a session at most: each class of abuse meets its number, and memory stays. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { Http1Head } from "./http1-head.ts";
import { defaultFloodLimits } from "./http2-floods.ts";
import { preface } from "./http2-frames.ts";
import { FrameMemory } from "./http2-frame-memory.ts";
import { Http2Session } from "./http2-session.ts";
import type { Http2Stream, StreamOwner } from "./http2-stream.ts";

function frame(type: number, flags: number, ...[id, payload]: [number, number[]]): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, Buffer.from(payload)]);
}

/** GET http://a/ */
const request = [0x82, 0x86, 0x84, 0x01, 0x01, 0x61];

class Quiet implements StreamOwner {
  readonly head: Http1Head = new Http1Head();
  readonly trailers: Http1Head = new Http1Head();
  readonly #server: Server;
  constructor(server: Server) {
    this.#server = server;
  }
  onOpened(stream: Http2Stream): void {
    this.#server.streams.push(stream);
  }
  onHead(): void {
    this.#server.requests++;
  }
  onData(_chunk: Buffer, from: number, to: number): void {
    this.#server.content += to - from;
  }
  onEnd(): void {}
  onRoom(): void {}
  onMalformed(): void {}
  onReset(): void {
    this.#server.resets++;
  }
  onClosed(): void {}
}

class Server {
  readonly session: Http2Session;
  readonly streams: Http2Stream[] = [];
  requests = 0;
  resets = 0;
  content = 0;
  sentBytes = 0;
  error: string | undefined;
  /** What the client does not read. */
  reads = true;

  constructor(maxConcurrentStreams = 100) {
    this.session = new Http2Session(
      {
        maxConcurrentStreams,
        streamWindow: 65_535,
        connectionWindow: 65_535,
        tableBytes: 4096,
        limits: { headBytesMax: 60 * 1024, fieldsMax: 100 },
        floods: defaultFloodLimits,
      },
      {
        memory: new FrameMemory(),
        send: (_memory, length) => {
          this.sentBytes += length;
          return this.reads;
        },
        handler: {
          serve: () => new Quiet(this),
          onMalformed: () => true,
          onStreamError: () => {},
          onError: (_code, why) => (this.error = why),
          onPingAck: () => {},
        },
      },
    );
    this.session.start();
    this.give(Buffer.from(preface), frame(4, 0, 0, []));
  }

  give(...frames: readonly Buffer[]): void {
    for (const one of frames) this.session.receive(one, 0);
    this.session.sender.flush();
  }

  /** How many of these frames it takes until the connection ends. */
  count(make: (turn: number) => readonly Buffer[], max: number): number {
    for (let turn = 0; turn < max; turn++) {
      if (this.session.isEnded) return turn;
      this.give(...make(turn));
    }
    return max;
  }
}

test("Http2Session ends a connection that breaks off stream after stream (CVE-2023-44487)", () => {
  const server = new Server();
  const turns = server.count(
    (turn) => [frame(1, 5, 2 * turn + 1, request), frame(3, 0, 2 * turn + 1, [0, 0, 0, 8])],
    5000,
  );
  assert.equal(turns, 1001);
  assert.equal(server.error, "resets");
});

test("Http2Session counts streams that it is made to reset just so (CVE-2025-8671)", () => {
  const bait: readonly ((id: number) => Buffer)[] = [
    (id) => frame(8, 0, id, [0, 0, 0, 0]),
    (id) => frame(8, 0, id, [0x7f, 0xff, 0xff, 0xff]),
    (id) => frame(2, 0, id, [0, 0, 0, id & 0xff, 1]),
    (id) => frame(0, 1, id, [1]),
    (id) => frame(1, 5, id, request),
  ];
  for (const [kind, make] of bait.entries()) {
    const server = new Server();
    const turns = server.count((turn) => {
      const id = 2 * turn + 1;
      return [frame(1, 5, id, request), make(id)];
    }, 5000);
    const most = { 0: 1001, 1: 1001, 2: 5000, 3: 1001, 4: 1001 }[kind];
    assert.ok(turns <= (most ?? 0), `kind ${kind} took ${turns}`);
  }
});

test("Http2Session forgives resets as time goes by", () => {
  const server = new Server();
  for (let turn = 0; turn < 3000; turn++) {
    const id = 2 * turn + 1;
    server.session.receive(frame(1, 5, id, request), turn * 40);
    server.session.receive(frame(3, 0, id, [0, 0, 0, 8]), turn * 40);
  }
  assert.equal(server.error, undefined);
});

test("Http2Session refuses streams beyond its number, and counts them, too", () => {
  const server = new Server(10);
  const turns = server.count((turn) => [frame(1, 5, 2 * turn + 1, request)], 5000);
  assert.equal(server.requests, 10);
  assert.equal(turns, 1011);
});

test("Http2Session ends a header block in too many pieces (CVE-2024-27919)", () => {
  const server = new Server();
  server.give(frame(1, 1, 1, [0x82]));
  const turns = server.count(() => [frame(9, 0, 1, [0x82])], 1000);
  assert.ok(turns <= 16);
  assert.equal(server.error, "header-frames");
});

test("Http2Session ends a header block that is too large as it comes", () => {
  const server = new Server();
  const part = Array.from({ length: 16_384 }, () => 0x82);
  server.give(frame(1, 1, 1, part));
  const turns = server.count(() => [frame(9, 0, 1, part)], 1000);
  assert.ok(turns <= 16);
});

test("Http2Session ends frames without content (CVE-2019-9518)", () => {
  const server = new Server();
  server.give(frame(1, 4, 1, request));
  assert.equal(
    server.count(() => [frame(0, 0, 1, [])], 100),
    2,
  );
  assert.equal(server.error, "empty-frames");
  const padded = new Server();
  padded.give(frame(1, 4, 1, request));
  assert.equal(
    padded.count(() => [frame(0, 8, 1, [3, 0, 0, 0])], 100),
    2,
  );
});

test("Http2Session ends floods of PRIORITY and WINDOW_UPDATE", () => {
  const priority = new Server();
  assert.equal(
    priority.count(() => [frame(2, 0, 1, [0, 0, 0, 0, 1])], 1000),
    101,
  );
  assert.equal(priority.error, "priority");
  const updates = new Server();
  assert.equal(
    updates.count(() => [frame(8, 0, 0, [0, 0, 0, 1])], 1000),
    6,
  );
  assert.equal(updates.error, "window-updates");
});

test("Http2Session ends PING and SETTINGS whose answers are not read (CVE-2019-9512, 9515)", () => {
  for (const [type, payload] of [
    [6, [1, 2, 3, 4, 5, 6, 7, 8]],
    [4, []],
  ] as const) {
    const server = new Server();
    server.reads = false;
    const turns = server.count(() => [frame(type, 0, 0, [...payload])], 5000);
    assert.ok(turns > 900 && turns < 1010, `${type} took ${turns}`);
    assert.equal(server.error, "control-frames");
    const reading = new Server();
    assert.equal(
      reading.count(() => [frame(type, 0, 0, [...payload])], 3000),
      3000,
    );
  }
});

test("Http2Session holds no more of what it sends than the peer takes", () => {
  const server = new Server();
  server.give(frame(4, 0, 0, [0, 4, 0, 0, 0, 0]), frame(1, 5, 1, request));
  const [stream] = server.streams;
  assert.ok(stream !== undefined);
  const { sender } = server.session;
  const writer = sender.beginHead(1);
  sender.encoder.status(writer, 200);
  sender.endHead(stream, false);
  sender.flush();
  const before = server.sentBytes;
  sender.data(stream, Buffer.alloc(1000), 0, 1000, true);
  sender.flush();
  assert.equal(server.sentBytes, before);
  assert.equal(stream.queuedBytes, 1000);
  server.give(frame(8, 0, 1, [0, 0, 0, 10]));
  assert.equal(server.sentBytes, before + 19);
  server.give(frame(3, 0, 1, [0, 0, 0, 8]));
  assert.equal(stream.queuedBytes, 0);
});

test("Http2Session keeps windows for streams that are paused, and takes no byte beyond them", () => {
  const server = new Server();
  server.give(frame(1, 4, 1, request));
  const [stream] = server.streams;
  assert.ok(stream !== undefined);
  stream.isPaused = true;
  const part = Array.from({ length: 16_000 }, () => 0);
  const before = server.sentBytes;
  server.give(...Array.from({ length: 4 }, () => frame(0, 0, 1, part)));
  assert.equal(server.content, 64_000);
  assert.equal(server.sentBytes, before);
  server.session.streams.window.release(stream);
  server.session.sender.flush();
  assert.equal(server.sentBytes, before + 2 * 13);
  stream.isPaused = true;
  const turns = server.count(() => [frame(0, 0, 1, part)], 20);
  assert.ok(turns < 6);
});

test("Http2Session takes turns between streams", () => {
  const server = new Server();
  server.reads = false;
  server.give(frame(1, 5, 1, request), frame(1, 5, 3, request));
  const { sender } = server.session;
  for (const stream of server.streams) {
    const writer = sender.beginHead(stream.id);
    sender.encoder.status(writer, 200);
    sender.endHead(stream, false);
    sender.flush();
    sender.data(stream, Buffer.alloc(50_000), 0, 50_000, true);
  }
  server.reads = true;
  const left = (): readonly number[] => server.streams.map(({ queuedBytes }) => queuedBytes);
  assert.deepEqual(left(), [50_000, 50_000]);
  // The connection's window is the bound now: both have had their share of it.
  server.session.streams.onDrain();
  const [one = 0, other = 0] = left();
  assert.ok(Math.abs(one - other) <= 16_384, String(left()));
  assert.equal(100_000 - one - other, 65_535);
});

test("Http2Session lets a client have enough of answers that have begun", () => {
  const server = new Server();
  for (let turn = 0; turn < 3000; turn++) {
    const id = 2 * turn + 1;
    server.give(frame(1, 5, id, request));
    const stream = server.streams.at(-1);
    assert.ok(stream !== undefined);
    stream.isAnswered = true;
    server.give(frame(3, 0, id, [0, 0, 0, 8]));
  }
  assert.equal(server.error, undefined);
});

test("Http2Session ends a header block that names a large entry again and again (CVE-2016-6581)", () => {
  const server = new Server();
  const large = [0x40, 1, 0x78, 0x7f, 0xbd, 0x1d, ...Array.from({ length: 3900 }, () => 0x78)];
  const block = [...request, ...large, ...Array.from({ length: 1000 }, () => 0xbe)];
  server.give(frame(1, 5, 1, block));
  assert.equal(server.error, "head-limit");
});

test("Http2Session applies the last window that a SETTINGS frame says, and to streams once", () => {
  const server = new Server();
  server.give(frame(1, 5, 1, request));
  const [stream] = server.streams;
  const largest = [0, 4, 0x7f, 0xff, 0xff, 0xff];
  server.give(frame(4, 0, 0, [...largest, 0, 4, 0, 0, 0, 10, ...largest, 0, 4, 0, 0, 0, 20]));
  assert.equal(stream?.sendWindow, 20);
  assert.equal(server.error, undefined);
});
