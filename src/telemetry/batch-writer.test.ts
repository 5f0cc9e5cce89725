import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../test/support/fake-clock.ts";
import { BatchWriter, type WriteOutcome } from "./batch-writer.ts";

function open(pendingBytesMax = 100) {
  const clock = new FakeClock();
  const writes: { readonly text: string; readonly done: (outcome: WriteOutcome) => void }[] = [];
  const drops: string[] = [];
  const writer = new BatchWriter({
    clock,
    pendingBytesMax,
    flushBytes: 50,
    flushAfterMs: 10,
    write: (bytes, done) => void writes.push({ text: bytes.toString(), done }),
    onDrop: (lines, reason) => void drops.push(`${lines} ${reason}`),
  });
  const append = (lines: string): void => writer.append(Buffer.from(lines), lines.length);
  return { clock, writes, drops, writer, append };
}

test("append() gathers lines until the flush time", () => {
  const { clock, writes, append } = open();
  append("a\n");
  append("b\n");
  assert.equal(writes.length, 0);
  clock.advance(10);
  assert.equal(writes[0]?.text, "a\nb\n");
});

test("append() has one write in flight, and what came meanwhile waits for company after it", () => {
  const { clock, writes, append } = open();
  append("a\n");
  clock.advance(10);
  append("b\n");
  clock.advance(100);
  assert.equal(writes.length, 1);
  writes[0]?.done({ kind: "written" });
  append("c\n");
  assert.equal(writes.length, 1);
  clock.advance(10);
  assert.equal(writes[1]?.text, "b\nc\n");
});

test("append() does not wait after a write that as much as fills another has come behind", () => {
  const { writes, append } = open();
  append("a".repeat(50));
  append("b".repeat(50));
  assert.equal(writes.length, 1);
  writes[0]?.done({ kind: "written" });
  assert.equal(writes[1]?.text, "b".repeat(50));
});

test("flush() waits for no company", () => {
  const { writes, writer, append } = open();
  append("a".repeat(50));
  append("b");
  let isDone = false;
  writer.flush(() => {
    isDone = true;
  });
  writes[0]?.done({ kind: "written" });
  assert.equal(writes[1]?.text, "b");
  writes[1]?.done({ kind: "written" });
  assert.ok(isDone);
});

test("append() drops and counts when a full pipe does not empty", () => {
  const { clock, writes, drops, append } = open(20);
  append("x".repeat(15));
  clock.advance(10);
  writes[0]?.done({ kind: "busy", writtenBytes: 5 });
  append("y".repeat(15));
  append("z");
  assert.deepEqual(drops, ["1 full"]);
  clock.advance(20);
  assert.equal(writes[1]?.text, "x".repeat(10));
});

test("append() asks again soon what takes some of it, and later what takes nothing", () => {
  const { clock, writes, append } = open();
  append("x".repeat(30));
  clock.advance(10);
  writes[0]?.done({ kind: "busy", writtenBytes: 10 });
  clock.advance(2);
  assert.equal(writes[1]?.text, "x".repeat(20));
  writes[1]?.done({ kind: "busy", writtenBytes: 0 });
  clock.advance(19);
  assert.equal(writes.length, 2);
  clock.advance(1);
  assert.equal(writes[2]?.text, "x".repeat(20));
});

test("flush() calls back when everything is written; close() hands out what is not", () => {
  const { writes, writer, append } = open();
  let isDone = false;
  append("a\n");
  writer.flush(() => {
    isDone = true;
  });
  writes[0]?.done({ kind: "written" });
  assert.ok(isDone);
  append("b\n");
  assert.equal(writer.close().toString(), "b\n");
});

test("append() keeps a batch as it was while it is written, and uses its memory again", () => {
  const { clock, writes, append } = open(10_000);
  for (let round = 0; round < 5; round++) {
    append(`${round}`.repeat(3000));
    clock.advance(10);
    append("next");
    assert.equal(writes.at(-1)?.text, `${round}`.repeat(3000));
    writes.at(-1)?.done({ kind: "written" });
    clock.advance(10);
    assert.equal(writes.at(-1)?.text, "next");
    writes.at(-1)?.done({ kind: "written" });
  }
});
