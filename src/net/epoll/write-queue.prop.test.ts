import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { ScriptedKernel } from "../../../test/support/scripted-kernel.ts";
import { WriteQueue } from "./write-queue.ts";

const eagain = -11;
const epipe = -32;

const kernel = new ScriptedKernel();
const slab = kernel.syscalls.allocate(64 * 1024);

test("WriteQueue sends every byte once and in order, however much the kernel takes", () => {
  const size = fc.oneof(
    { weight: 6, arbitrary: fc.integer({ min: 1, max: 300 }) },
    { weight: 1, arbitrary: fc.constantFrom(16_384, 16_385, 65_536, 70_000) },
  );
  const sizes = fc.array(size, { minLength: 1, maxLength: 150 });
  // How much the kernel takes of each write, in parts of what it is offered; 0 is "no more now".
  const parts = fc.infiniteStream(fc.constantFrom(0, 0.1, 0.5, 1, 1, 1));
  fc.assert(
    fc.property(sizes, parts, (lengths, taken) => {
      const queue = new WriteQueue();
      const chunks = lengths.map((length, index) => Buffer.alloc(length, 33 + (index % 90)));
      let offered = 0;
      kernel.written = "";
      const answer = {
        shift: () => {
          const part = taken.next().value ?? 1;
          return part === 0 ? eagain : Math.max(1, Math.floor(offered * part));
        },
      };
      // The script answers after it has seen how much it is offered.
      const watch = (bytes: number): void => void (offered = bytes);
      const real = kernel.syscalls;
      const syscalls = {
        ...real,
        write: (fd: number, from: typeof slab, bytes: number) => {
          watch(bytes);
          kernel.answers["write"] = [answer.shift()];
          return real.write(fd, from, bytes);
        },
        writeVector: (fd: number, vector: readonly Uint8Array[]) => {
          watch(vector.reduce((sum, { length }) => sum + length, 0));
          kernel.answers["writeVector"] = [answer.shift()];
          return real.writeVector(fd, vector);
        },
      };
      for (const chunk of chunks) {
        queue.push(chunk);
        if (chunk.length % 3 === 0) assert.equal(queue.flush(1, syscalls, slab), 0);
      }
      for (let turn = 0; queue.bytes > 0; turn++) {
        assert.ok(turn < 100_000);
        assert.equal(queue.flush(1, syscalls, slab), 0);
      }
      assert.equal(kernel.written, Buffer.concat(chunks).toString("latin1"));
    }),
    { numRuns: 300 },
  );
});

test("WriteQueue.flush() answers the error of a broken connection", () => {
  const queue = new WriteQueue();
  queue.push(Buffer.from("x"));
  kernel.answers["write"] = [epipe];
  assert.equal(queue.flush(1, kernel.syscalls, slab), epipe);
  assert.equal(queue.bytes, 1);
});
