import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { PieceJoiner } from "./joined-pieces.ts";

const lengths = fc.oneof(
  fc.integer({ min: 1, max: 3 }),
  fc.integer({ min: 1, max: 3000 }),
  fc.integer({ min: 4000, max: 9000 }),
);

test("PieceJoiner keeps what it is given, in order, while it is taken from the front", () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(lengths, fc.nat(9000)), { maxLength: 60 }), (steps) => {
      const joiner = new PieceJoiner();
      const pieces: Buffer[] = [];
      let expected = "";
      let taken = "";
      let next = 0;
      for (const [length, take] of steps) {
        const text = String.fromCharCode(97 + (next++ % 26)).repeat(length);
        const chunk = Buffer.from(`<${text}>`);
        joiner.add(pieces, chunk, 1, chunk.length - 1);
        chunk.fill("!");
        expected += text;
        const first = pieces[0] ?? assert.fail("nothing is kept");
        taken += first.toString("latin1", 0, take);
        if (take >= first.length) pieces.shift();
        else pieces[0] = first.subarray(take);
      }
      assert.equal(taken + Buffer.concat(pieces).toString("latin1"), expected);
    }),
  );
});

test("PieceJoiner keeps few pieces of many bytes, and little more memory than they need", () => {
  const joiner = new PieceJoiner();
  const pieces: Buffer[] = [];
  const byte = Buffer.from("x");
  for (let at = 0; at < 100_000; at++) joiner.add(pieces, byte, 0, 1);
  assert.ok(pieces.length <= 26, `${pieces.length} pieces`);
  // The first may share memory with others' pieces.
  const memory = new Set(pieces.slice(1).map((piece) => piece.buffer));
  let bytes = 0;
  for (const one of memory) bytes += one.byteLength;
  assert.ok(bytes <= 110_000, `${bytes} bytes`);
});
