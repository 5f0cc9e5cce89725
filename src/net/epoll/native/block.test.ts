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
