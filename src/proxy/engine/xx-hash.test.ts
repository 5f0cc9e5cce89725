import assert from "node:assert/strict";
import test from "node:test";

import xxhash from "xxhash-wasm";

import { xxHash64 } from "./xx-hash.ts";

test("xxHash64() agrees with another implementation at every length", async () => {
  const peer = await xxhash();
  for (let length = 0; length < 100; length++) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 37 + length) & 0xff);
    const text = Buffer.from(bytes).toString("latin1");
    assert.equal(xxHash64(text), peer.h64Raw(bytes), `length ${length}`);
    assert.equal(xxHash64(text, 1n), peer.h64Raw(bytes, 1n), `length ${length}, seed 1`);
  }
});
