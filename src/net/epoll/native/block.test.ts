import assert from "node:assert/strict";
import { test } from "node:test";

import { Block } from "./block.ts";

test("Block.addressOf() gives no address for more than the block has", () => {
  const block = Block.allocate(16, () => 4096n);
  assert.equal(Block.addressOf(block, 16), 4096n);
  assert.equal(Block.addressOf(block, 0), 4096n);
  for (const bytes of [17, -1, Number.NaN, Number.POSITIVE_INFINITY]) {
    assert.throws(() => Block.addressOf(block, bytes), /outside of a native block/);
  }
});

test("Block.addressOf() gives no address of memory that was taken away", () => {
  const block = Block.allocate(16, () => 4096n);
  const { buffer } = block.bytes;
  assert.ok(buffer instanceof ArrayBuffer);
  structuredClone(buffer, { transfer: [buffer] });
  assert.throws(() => Block.addressOf(block, 1), /outside of a native block/);
});

test("Block.allocate() makes memory that V8 does not move, however small", () => {
  const seen: Buffer[] = [];
  const block = Block.allocate(4, (bytes) => {
    seen.push(bytes);
    return 1n;
  });
  assert.equal(seen[0], block.bytes);
  assert.equal(block.bytes.byteOffset, 0);
  assert.equal(block.bytes.buffer.byteLength, 4);
});

test("Block.put() and Block.view() are of the block's own bytes, whole sources and parts", () => {
  const block = Block.allocate(4096, () => 1n);
  block.put(Buffer.from("abc"), 3);
  assert.equal(block.view(3).toString(), "abc");
  block.put(Buffer.from("xyz"), 2);
  assert.equal(block.view(3).toString(), "xyc");
  block.put(Uint8Array.from([0x31, 0x32]), 1);
  assert.equal(block.view(2).toString(), "1y");
  assert.equal(block.view(3000).length, 3000);
  assert.equal(block.view(0).length, 0);
  assert.equal(block.startsWith(block.view(3000)), true);
  assert.equal(block.startsWith(block.view(3000).subarray(1)), false);
  assert.equal(block.startsWith(Buffer.alloc(8)), false);
});

test("Block.parts() are blocks of the same memory, each with bounds of its own", () => {
  const block = Block.allocate(40, () => 4096n);
  const parts = block.parts(16);
  assert.deepEqual(
    parts.map((part) => Block.addressOf(part, 16)),
    [4096n, 4112n],
  );
  for (const part of parts) {
    assert.throws(() => Block.addressOf(part, 17), /outside of a native block/);
  }
  parts[1]?.put(Buffer.from("abc"), 3);
  assert.equal(block.bytes.toString("latin1", 16, 19), "abc");
  assert.equal(parts[1]?.startsWith(block.bytes.subarray(16)), true);
  assert.equal(parts[0]?.startsWith(block.bytes.subarray(16)), false);
});

test("Block.wipe() leaves zeros for all of a length", () => {
  for (const length of [1, 7, 8, 9, 63, 64]) {
    const block = Block.allocate(64, () => 1n);
    block.bytes.fill(0x61);
    block.wipe(length);
    assert.ok(block.view(length).every((byte) => byte === 0));
    assert.equal(block.bytes.indexOf(0x61), length > 56 ? -1 : Math.ceil(length / 8) * 8);
  }
});
