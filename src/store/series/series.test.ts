import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
import { chunkSamplesMax } from "./chunk.ts";
import { ScrapeTimes } from "./scrape-times.ts";
import { Series } from "./series.ts";

function filled(values: readonly (number | undefined)[]): Series {
  const times = new ScrapeTimes();
  const series = new Series(new Map(), times);
  for (const value of values) {
    const scrape = times.push(times.next * 1000);
    if (value !== undefined) series.append(scrape, value);
    else if (series.lastScrape === scrape - 1) series.markStale();
  }
  return series;
}

const decimals = fc.tuple(fc.integer(), fc.integer({ min: 0, max: 5 }));
const anything = fc.oneof(
  { weight: 4, arbitrary: fc.constant(7) },
  fc.integer({ min: 0, max: 1_000_000 }),
  fc.maxSafeInteger(),
  decimals.map(([units, places]) => units / 10 ** places),
  fc.double(),
  fc.constantFrom(-0, 0, NaN, Infinity, -Infinity, Number.MIN_VALUE, 2 ** 53, 0.1 + 0.2),
  fc.constant(undefined),
);

test("Series.read() gives back every sample, whatever was packed how", () => {
  fc.assert(
    fc.property(fc.array(anything, { maxLength: 400 }), (values) => {
      const { timesMs, values: read } = filled(values).read(-1, Infinity);
      const expected = [...values.entries()].filter(([, one]) => one !== undefined);
      assert.deepEqual(
        [...timesMs],
        expected.map(([index]) => index * 1000),
      );
      assert.deepEqual(
        [...read],
        expected.map(([, one]) => one),
      );
    }),
  );
});

test("Series.read() says when the series ended", () => {
  const { staleAtMs } = filled([1, 2, undefined, undefined, 3, undefined]).read(-1, Infinity);
  assert.deepEqual(staleAtMs, [2000, 5000]);
});

test("Series.read() leaves out chunks outside the time asked for", () => {
  const series = filled(Array.from({ length: 3 * chunkSamplesMax }, (_, index) => index));
  const { timesMs } = series.read((chunkSamplesMax + 10) * 1000, (chunkSamplesMax + 20) * 1000);
  assert.equal(timesMs[0], chunkSamplesMax * 1000);
  assert.equal(timesMs.at(-1), (2 * chunkSamplesMax - 1) * 1000);
});

test("Series.bytes() stays small for idle series and counters", () => {
  const idle = filled(Array.from({ length: 1800 }, () => 12_345));
  const counter = filled(Array.from({ length: 1800 }, (_, index) => index * 37));
  const sums = filled(
    Array.from({ length: 1800 }, (_, index) => Math.round(index * 7123.4) / 1000),
  );
  const noise = filled(Array.from({ length: 1800 }, (_, index) => Math.sin(index)));
  assert.equal(idle.bytes(), 0);
  assert.ok(counter.bytes() / 1800 < 1.1, `${counter.bytes() / 1800}`);
  assert.ok(sums.bytes() / 1800 < 2.3, `${sums.bytes() / 1800}`);
  assert.ok(noise.bytes() / 1800 < 8.5, `${noise.bytes() / 1800}`);
});
