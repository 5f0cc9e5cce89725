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
  return { clock, writes, drops, writer };
}

test("append() gathers lines until the flush time", () => {
  const { clock, writes, writer } = open();
  writer.append("a\n");
  writer.append("b\n");
  assert.equal(writes.length, 0);
  clock.advance(10);
  assert.equal(writes[0]?.text, "a\nb\n");
});

test("append() has one write in flight and sends the rest after it", () => {
  const { clock, writes, writer } = open();
  writer.append("a\n");
  clock.advance(10);
  writer.append("b\n");
  clock.advance(100);
  assert.equal(writes.length, 1);
  writes[0]?.done({ kind: "written" });
  assert.equal(writes[1]?.text, "b\n");
});

test("append() drops and counts when a full pipe does not empty", () => {
  const { clock, writes, drops, writer } = open(20);
  writer.append("x".repeat(15));
  clock.advance(10);
  writes[0]?.done({ kind: "busy", writtenBytes: 5 });
  writer.append("y".repeat(15));
  writer.append("z");
  assert.deepEqual(drops, ["1 full"]);
  clock.advance(20);
  assert.equal(writes[1]?.text, "x".repeat(10));
});

test("flush() calls back when everything is written; close() hands out what is not", () => {
  const { writes, writer } = open();
  let isDone = false;
  writer.append("a\n");
  writer.flush(() => {
    isDone = true;
  });
  writes[0]?.done({ kind: "written" });
  assert.ok(isDone);
  writer.append("b\n");
  assert.equal(writer.close().toString(), "b\n");
});
