/** What leaves together: content of one stream in as few frames as hold it, in order, within its windows. */
import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { Http1Head } from "./http1-head.ts";
import { defaultFloodLimits, FloodGuard } from "./http2-floods.ts";
import { FrameMemory } from "./http2-frame-memory.ts";
import { frameStep, FrameReader } from "./http2-frame-reader.ts";
import { frameFlag, frameType } from "./http2-frames.ts";
import { Http2Sender } from "./http2-sender.ts";
import { Http2Stream, type StreamOwner } from "./http2-stream.ts";

class Silent implements StreamOwner {
  readonly head: Http1Head = new Http1Head();
  readonly trailers: Http1Head = new Http1Head();
  onOpened(): void {}
  onHead(): void {}
  onData(): void {}
  onEnd(): void {}
  onRoom(): void {}
  onMalformed(): void {}
  onReset(): void {}
  onClosed(): void {}
}

interface Frame {
  readonly type: number;
  readonly streamId: number;
  readonly isEnd: boolean;
  readonly content: string;
}

class Peer {
  readonly sender: Http2Sender;
  readonly streams: readonly Http2Stream[];
  #sent = Buffer.alloc(0);

  constructor(windowBytes = 1_000_000) {
    const send = (memory: Buffer, length: number): boolean => {
      this.#sent = Buffer.concat([this.#sent, memory.subarray(0, length)]);
      return true;
    };
    this.sender = new Http2Sender(new FrameMemory(), send, new FloodGuard(defaultFloodLimits));
    this.sender.window = windowBytes;
    this.streams = [1, 3].map((id) => {
      const stream = new Http2Stream(new Silent());
      stream.begin(id, 65_535, windowBytes);
      return stream;
    });
  }

  say(which: number, text: string, isEnd = false): void {
    const stream = this.streams[which];
    assert.ok(stream !== undefined);
    this.sender.data(stream, Buffer.from(text, "latin1"), 0, text.length, isEnd);
  }

  end(which: number): void {
    const stream = this.streams[which];
    assert.ok(stream !== undefined);
    this.sender.end(stream, undefined);
  }

  frames(): readonly Frame[] {
    this.sender.flush();
    const reader = new FrameReader();
    const frames: Frame[] = [];
    let content = "";
    for (let at = 0; ;) {
      const step = reader.next(this.#sent, at);
      at = reader.position;
      const { type, streamId, flags, bytes, start, end } = reader;
      if (step === frameStep.more) return frames;
      if (step === frameStep.data) content += bytes.toString("latin1", start, end);
      if (step !== frameStep.frame && step !== frameStep.dataEnd) continue;
      frames.push({ type, streamId, isEnd: (flags & frameFlag.endStream) !== 0, content });
      content = "";
    }
  }
}

const data = (streamId: number, content: string, isEnd = false): Frame => ({
  type: frameType.data,
  streamId,
  isEnd,
  content,
});

test("Http2Sender puts what a stream says at once into one frame, and its end", () => {
  const peer = new Peer();
  for (const text of ["one ", "two ", "three"]) peer.say(0, text);
  peer.end(0);
  assert.deepEqual(peer.frames(), [data(1, "one two three", true)]);
});

test("Http2Sender keeps what others say in between where it was said", () => {
  const peer = new Peer();
  peer.say(0, "a");
  peer.say(1, "b");
  peer.say(0, "c");
  peer.sender.ping(Buffer.alloc(8), 0, true);
  peer.say(0, "d", true);
  const said = peer.frames().filter(({ type }) => type === frameType.data);
  assert.deepEqual(said, [data(1, "a"), data(3, "b"), data(1, "c"), data(1, "d", true)]);
});

test("Http2Sender begins another frame after it has sent, and beyond 16 KiB", () => {
  const peer = new Peer();
  peer.say(0, "a");
  peer.sender.flush();
  peer.say(0, "b".repeat(10_000));
  peer.say(0, "c".repeat(10_000));
  peer.say(0, "d", true);
  const lengths = peer.frames().map(({ content, isEnd }) => [content.length, isEnd]);
  assert.deepEqual(lengths, [
    [1, false],
    [10_000, false],
    [10_001, true],
  ]);
});

test("Http2Sender lets streams whose content waits take turns, a frame each", () => {
  const peer = new Peer();
  peer.sender.window = 0;
  peer.say(0, "a".repeat(60_000));
  peer.say(1, "b".repeat(40_000), true);
  peer.sender.window = 1_000_000;
  peer.sender.pump();
  const said = peer.frames().map(({ streamId, content }) => [streamId, content.length]);
  assert.deepEqual(said, [
    [1, 16_384],
    [3, 16_384],
    [1, 16_384],
    [3, 16_384],
    [1, 16_384],
    [3, 7_232],
    [1, 10_848],
  ]);
});

test("Http2Sender keeps what is said byte by byte in few pieces", () => {
  const peer = new Peer(0);
  for (let at = 0; at < 10_000; at++) peer.say(0, "x");
  const [stream] = peer.streams;
  assert.equal(stream?.queuedBytes, 10_000);
  assert.ok(stream.queue.length <= 4, `${stream.queue.length} pieces`);
});

test("Http2Sender loses, adds and reorders nothing, whatever is said and however windows are", () => {
  const steps = fc.array(
    fc.oneof(
      fc.record({
        kind: fc.constant("say" as const),
        which: fc.integer({ min: 0, max: 1 }),
        bytes: fc.integer({ min: 0, max: 20_000 }),
      }),
      fc.record({ kind: fc.constant("flush" as const) }),
      fc.record({ kind: fc.constant("ping" as const) }),
      fc.record({
        kind: fc.constant("window" as const),
        which: fc.integer({ min: 0, max: 1 }),
        bytes: fc.integer({ min: 1, max: 30_000 }),
      }),
    ),
    { maxLength: 40 },
  );
  fc.assert(
    fc.property(steps, fc.integer({ min: 0, max: 60_000 }), (sequence, windowBytes) => {
      const peer = new Peer(windowBytes);
      peer.sender.window = 10_000_000;
      const said = ["", ""];
      const room = [windowBytes, windowBytes];
      for (const [at, step] of sequence.entries()) {
        if (step.kind === "flush") peer.sender.flush();
        else if (step.kind === "ping") peer.sender.ping(Buffer.alloc(8), 0, true);
        else if (step.kind === "window") {
          const stream = peer.streams[step.which];
          assert.ok(stream !== undefined);
          peer.sender.addStreamWindow(stream, step.bytes);
          room[step.which] = (room[step.which] ?? 0) + step.bytes;
          peer.sender.pump();
        } else {
          const text = String.fromCharCode(0x41 + at).repeat(step.bytes);
          said[step.which] += text;
          peer.say(step.which, text);
        }
      }
      const heard = ["", ""];
      for (const { type, streamId, content } of peer.frames()) {
        if (type !== frameType.data) continue;
        assert.ok(content.length <= 16_384);
        heard[streamId === 1 ? 0 : 1] += content;
      }
      for (const which of [0, 1]) {
        const wanted = said[which]?.slice(0, room[which]);
        assert.equal(heard[which], wanted);
        assert.equal(
          peer.streams[which]?.queuedBytes,
          (said[which] ?? "").length - (heard[which] ?? "").length,
        );
      }
    }),
    { numRuns: 150 },
  );
});
