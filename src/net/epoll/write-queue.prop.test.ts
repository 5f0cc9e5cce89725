import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { ScriptedKernel } from "../../../test/support/scripted-kernel.ts";
import type { ByteStream } from "./byte-stream.ts";
import { ChunkPool } from "./chunk-pool.ts";
import type { Block } from "./native/block.ts";
import { WriteQueue } from "./write-queue.ts";

const eagain = -11;
const epipe = -32;

const kernel = new ScriptedKernel();
const pool = new ChunkPool();
const slab = kernel.syscalls.allocate(64 * 1024);

type Written = (bytes: number, tell: (count: number) => string) => number;

class ScriptedStream implements ByteStream {
  readonly buffers = false;
  readonly writeVector?: (chunks: readonly Uint8Array[]) => number;
  readonly #written: Written;

  constructor(hasVectors: boolean, written: Written) {
    this.#written = written;
    if (!hasVectors) return;
    this.writeVector = (chunks) => {
      const whole = Buffer.concat(chunks);
      return written(whole.length, (count) => whole.toString("latin1", 0, count));
    };
  }

  write(from: Block, bytes: number): number {
    return this.#written(bytes, (count) => from.bytes.toString("latin1", 0, count));
  }

  read(): number {
    return 0;
  }

  holds(): boolean {
    return false;
  }

  end(): void {}

  free(): void {}
}

test("WriteQueue sends every byte once and in order, however much the kernel takes", () => {
  const size = fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 1, max: 300 }) },
    { weight: 1, arbitrary: fc.constantFrom(16_384, 16_385, 65_536, 70_000) },
  );
  const sizes = fc.array(size, { minLength: 1, maxLength: 150 });
  // How much the kernel takes of each write, in parts of what it is offered; 0 is "no more now".
  const parts = fc.infiniteStream(fc.constantFrom(0, 0.1, 0.5, 1, 1, 1));
  fc.assert(
    fc.property(sizes, parts, fc.boolean(), (lengths, taken, hasVectors) => {
      const queue = new WriteQueue(pool);
      const chunks = lengths.map((length, index) => Buffer.alloc(length, 33 + (index % 90)));
      let offered = 0;
      let text = "";
      const answer = {
        shift: () => {
          const part = taken.next().value ?? 1;
          return part === 0 ? eagain : Math.max(1, Math.floor(offered * part));
        },
      };
      const written = (bytes: number, tell: (count: number) => string): number => {
        offered = bytes;
        const count = answer.shift();
        if (count > 0) text += tell(count);
        return count;
      };
      const stream = new ScriptedStream(hasVectors, written);
      for (const chunk of chunks) {
        // Of two in three only a copy is its own.
        if (chunk.length % 3 === 1) queue.push(chunk);
        else {
          const shared = Buffer.from(chunk);
          queue.pushCopy(shared);
          shared.fill(0);
        }
        if (chunk.length % 3 === 0) assert.equal(queue.flush(stream, slab), 0);
      }
      for (let turn = 0; queue.bytes > 0; turn++) {
        assert.ok(turn < 100_000);
        assert.equal(queue.flush(stream, slab), 0);
      }
      assert.equal(text, Buffer.concat(chunks).toString("latin1"));
    }),
    { numRuns: 300 },
  );
});

class CountingPool extends ChunkPool {
  given = 0;

  override give(part: Uint8Array): void {
    this.given++;
    super.give(part);
  }
}

test("WriteQueue keeps few chunks of a peer that sends each byte by itself", () => {
  for (const isCopied of [true, false]) {
    const counting = new CountingPool();
    const queue = new WriteQueue(counting);
    for (let at = 0; at < 20_000; at++) {
      const byte = Buffer.from([at & 0xff]);
      if (isCopied) queue.pushCopy(byte);
      else queue.push(byte);
    }
    assert.equal(queue.bytes, 20_000);
    // All of them, one by one.
    queue.clear();
    assert.ok(counting.given <= 40, `${counting.given} chunks`);
  }
});

test("WriteQueue.flush() answers the error of a broken connection", () => {
  const queue = new WriteQueue(pool);
  queue.push(Buffer.from("x"));
  assert.equal(queue.flush(new ScriptedStream(true, () => epipe), slab), epipe);
  assert.equal(queue.bytes, 1);
});
