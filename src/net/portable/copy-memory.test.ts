import assert from "node:assert/strict";
import { test } from "node:test";

import { giveCopyMemoryBack, takeCopyMemory } from "./copy-memory.ts";

test("takeCopyMemory() gives memory of at most twice the length, and to one at a time", () => {
  for (const length of [1, 4095, 4096, 4097, 16_384, 40_000, 65_536, 65_537]) {
    const first = takeCopyMemory(length);
    const second = takeCopyMemory(length);
    assert.ok(first.length >= length && first.length < 2 * length);
    assert.ok(first.buffer !== second.buffer || first.byteOffset !== second.byteOffset);
  }
});

test("giveCopyMemoryBack() lets the next copy of such a length have it", () => {
  const first = takeCopyMemory(16_000);
  giveCopyMemoryBack(first);
  assert.equal(takeCopyMemory(9000), first);
  assert.notEqual(takeCopyMemory(9000), first);
});
