import assert from "node:assert/strict";
import { test } from "node:test";

import { chunkBytes, ChunkPool } from "./chunk-pool.ts";

test("ChunkPool lends memory again that was given back, once, and takes nobody else's", () => {
  const pool = new ChunkPool();
  const chunk = pool.take();
  assert.equal(chunk.length, chunkBytes);
  pool.give(new Uint8Array(chunkBytes));
  assert.equal(pool.free, 0);
  pool.give(chunk.subarray(100, 200));
  pool.give(chunk);
  assert.equal(pool.free, 1);
  assert.equal(pool.take().buffer, chunk.buffer);
  assert.notEqual(pool.take().buffer, chunk.buffer);
});

test("ChunkPool keeps a megabyte at most", () => {
  const pool = new ChunkPool();
  const chunks = Array.from({ length: 100 }, () => pool.take());
  for (const chunk of chunks) pool.give(chunk);
  assert.equal(pool.free * chunkBytes, 1024 * 1024);
});
