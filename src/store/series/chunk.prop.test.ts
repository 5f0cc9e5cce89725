import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { Chunk, chunkSamplesMax, type Packing, packingFor } from "./chunk.ts";

function check(values: readonly number[], least: Packing): void {
  const [first = 0, ...rest] = values;
  const chunk = new Chunk(0, first, packingFor(first, least));
  const kept = [first];
  for (const value of rest) if (chunk.append(value)) kept.push(value);
  if (chunk.packing === "binary") {
    assert.equal(chunk.length, Math.min(values.length, chunkSamplesMax));
  }
  for (const when of ["open", "sealed"]) {
    const read = new Float64Array(chunk.length + 2).fill(-7);
    chunk.read(read, 1);
    // Nothing is written beside them; NaN and -0 come back as what they were.
    assert.deepEqual([...read], [-7, ...kept, -7], when);
    chunk.seal();
  }
}

const runs = fc
  .array(fc.tuple(fc.integer({ min: -5, max: 300 }), fc.integer({ min: 1, max: 200 })), {
    minLength: 1,
  })
  .map((all) => all.flatMap(([value, count]) => Array<number>(count).fill(value)));
const decimal = fc
  .tuple(fc.maxSafeInteger(), fc.constantFrom(1, 10, 100, 1000))
  .map(([units, scale]) => units / scale);
const packing = fc.constantFrom<Packing>(0, 1, 2, 3, "binary");

test("Chunk.read() gives back what append() took: any number", () => {
  fc.assert(fc.property(fc.array(fc.double(), { minLength: 1, maxLength: 400 }), packing, check));
});

test("Chunk.read() gives back what append() took: decimals and whole numbers", () => {
  const values = fc.array(fc.oneof(decimal, fc.maxSafeInteger(), fc.integer()), {
    minLength: 1,
    maxLength: 400,
  });
  fc.assert(fc.property(values, packing, check));
});

test("Chunk.read() gives back what append() took: runs", () => {
  fc.assert(fc.property(runs, packing, check));
});

test("Chunk.append() refuses what its packing cannot hold, and keeps what it has", () => {
  const chunk = new Chunk(0, 1, packingFor(1, 0));
  for (const value of [0.5, -0, NaN, Infinity, 2 ** 53]) assert.equal(chunk.append(value), false);
  assert.equal(chunk.append(2), true);
  assert.deepEqual(
    [packingFor(0.5, 0), packingFor(0.1 + 0.2, 0), packingFor(3, 2)],
    [1, "binary", 2],
  );
});
