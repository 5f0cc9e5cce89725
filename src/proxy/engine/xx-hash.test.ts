import assert from "node:assert/strict";
import test from "node:test";

import fc from "fast-check";
import xxhash from "xxhash-wasm";

import { Hash64 } from "./xx-hash.ts";

test("Hash64 agrees with another implementation at every length", async () => {
  const peer = await xxhash();
  const hash = new Hash64();
  for (let length = 0; length < 100; length++) {
    const bytes = Uint8Array.from({ length }, (_, i) => (i * 37 + length) & 0xff);
    const text = Buffer.from(bytes).toString("latin1");
    assert.equal(hash.ofText(text).toBigInt(), peer.h64Raw(bytes), `length ${length}`);
    assert.equal(
      hash.ofText(text, 1).toBigInt(),
      peer.h64Raw(bytes, 1n),
      `length ${length}, seed 1`,
    );
  }
});

test("Hash64 agrees with another implementation on any bytes", async () => {
  const peer = await xxhash();
  const hash = new Hash64();
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      const wanted = peer.h64Raw(bytes);
      hash.ofText(Buffer.from(bytes).toString("latin1"));
      assert.equal(hash.toBigInt(), wanted);
      assert.equal(hash.toNumber(), Number(wanted >> 11n));
    }),
    { numRuns: 1000 },
  );
});
