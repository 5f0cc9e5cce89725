/** Windows that are given back: in few frames, and as much as was taken. */
import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { Http1Head } from "./http1-head.ts";
import { defaultFloodLimits } from "./http2-floods.ts";
import { FrameMemory } from "./http2-frame-memory.ts";
import { frameStep, FrameReader } from "./http2-frame-reader.ts";
import { frameType, preface } from "./http2-frames.ts";
import { Http2Session } from "./http2-session.ts";
import type { Http2Stream, StreamOwner } from "./http2-stream.ts";

const streamWindow = 65_535;
const connectionWindow = 256 * 1024;

function frame(type: number, flags: number, id: number, payload: Buffer): Buffer {
  const head = Buffer.alloc(9);
  head.writeUIntBE(payload.length, 0, 3);
  head[3] = type;
  head[4] = flags;
  head.writeUInt32BE(id, 5);
  return Buffer.concat([head, payload]);
}

/** POST http://a/ */
const request = Buffer.from([0x83, 0x86, 0x84, 0x01, 0x01, 0x61]);

class Taker implements StreamOwner {
  readonly head: Http1Head = new Http1Head();
  readonly trailers: Http1Head = new Http1Head();
  readonly #streams: Http2Stream[];
  constructor(streams: Http2Stream[]) {
    this.#streams = streams;
  }
  onOpened(stream: Http2Stream): void {
    this.#streams.push(stream);
  }
  onHead(): void {}
  onData(): void {}
  onEnd(): void {}
  onRoom(): void {}
  onMalformed(): void {}
  onReset(): void {}
  onClosed(): void {}
}

/** A server, and what its peer may still send by its word. */
class Server {
  readonly session: Http2Session;
  readonly streams: Http2Stream[] = [];
  readonly updates: { readonly streamId: number; readonly bytes: number }[] = [];
  readonly #reader = new FrameReader();

  constructor() {
    this.session = new Http2Session(
      {
        maxConcurrentStreams: 100,
        streamWindow,
        connectionWindow,
        tableBytes: 4096,
        limits: { headBytesMax: 60 * 1024, fieldsMax: 100 },
        floods: defaultFloodLimits,
      },
      {
        memory: new FrameMemory(),
        send: (memory, length) => this.#read(Buffer.from(memory.subarray(0, length))),
        handler: {
          serve: () => new Taker(this.streams),
          onMalformed: () => true,
          onStreamError: (why) => assert.fail(why),
          onError: (_code, why) => assert.fail(why),
          onPingAck: () => {},
        },
      },
    );
    this.session.start();
    this.give(Buffer.from(preface), frame(frameType.settings, 0, 0, Buffer.alloc(0)));
    this.updates.length = 0;
  }

  give(...frames: readonly Buffer[]): void {
    for (const one of frames) this.session.receive(one, 0);
    this.session.sender.flush();
  }

  #read(bytes: Buffer): boolean {
    let at = 0;
    for (;;) {
      const step = this.#reader.next(bytes, at);
      if (step === frameStep.more) return true;
      at = this.#reader.position;
      const { type, streamId, start } = this.#reader;
      if (type !== frameType.windowUpdate) continue;
      this.updates.push({ streamId, bytes: this.#reader.bytes.readUInt32BE(start) });
    }
  }

  returned(streamId: number): number {
    return this.updates
      .filter((update) => update.streamId === streamId)
      .reduce((sum, { bytes }) => sum + bytes, 0);
  }
}

test("ReceiveWindow gives a megabyte of small frames back in a frame for each half window", () => {
  const server = new Server();
  server.give(frame(frameType.headers, 4, 1, request));
  const part = Buffer.alloc(1024);
  for (let at = 0; at < 1024; at++) server.give(frame(frameType.data, 0, 1, part));
  const total = 1024 * 1024;
  const ofStream = server.updates.filter(({ streamId }) => streamId === 1).length;
  const ofConnection = server.updates.filter(({ streamId }) => streamId === 0).length;
  assert.equal(ofStream, Math.floor(total / (32 * 1024)));
  assert.equal(ofConnection, total / (connectionWindow / 2));
  assert.equal(server.returned(1), total);
  assert.equal(server.returned(0), total);
});

test("ReceiveWindow always leaves a sender more than half of both windows, whatever is paused", () => {
  const steps = fc.array(
    fc.oneof(
      fc.record({ kind: fc.constant("data" as const), bytes: fc.integer({ min: 1, max: 16_384 }) }),
      fc.record({ kind: fc.constant("pause" as const) }),
      fc.record({ kind: fc.constant("release" as const) }),
    ),
    { maxLength: 60 },
  );
  fc.assert(
    fc.property(steps, (sequence) => {
      const server = new Server();
      server.give(frame(frameType.headers, 4, 1, request));
      const [stream] = server.streams;
      assert.ok(stream !== undefined);
      let sent = 0;
      for (const step of sequence) {
        if (step.kind === "pause") stream.isPaused = true;
        else if (step.kind === "release") server.session.streams.window.release(stream);
        else if (streamWindow + server.returned(1) - sent >= step.bytes) {
          sent += step.bytes;
          server.give(frame(frameType.data, 0, 1, Buffer.alloc(step.bytes)));
        }
        server.session.sender.flush();
        const taken: number = sent - stream.held;
        assert.ok(taken - server.returned(1) < streamWindow / 2 + 1);
        assert.ok(taken - server.returned(0) < connectionWindow / 2);
        assert.ok(server.returned(1) <= taken);
      }
    }),
    { numRuns: 100 },
  );
});
