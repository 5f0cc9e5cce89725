import assert from "node:assert/strict";
import { test } from "node:test";
import fc from "fast-check";
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

test("Series.read() gives back every sample, whatever was packed how", () => {
  const value = fc.oneof(
    fc.constant(7),
    fc.integer({ min: 0, max: 1_000_000 }),
    fc.double(),
    fc.constant(undefined),
  );
  fc.assert(
    fc.property(fc.array(value, { maxLength: 400 }), (values) => {
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
  const series = filled(Array.from({ length: 360 }, (_, index) => index));
  const { timesMs } = series.read(130_000, 140_000);
  assert.equal(timesMs[0], 120_000);
  assert.equal(timesMs.at(-1), 239_000);
});

test("Series.bytes() stays small for idle series and counters", () => {
  const idle = filled(Array.from({ length: 1800 }, () => 12_345));
  const counter = filled(Array.from({ length: 1800 }, (_, index) => index * 37));
  assert.ok(idle.bytes() / 1800 < 0.7, `${idle.bytes() / 1800}`);
  assert.ok(counter.bytes() / 1800 < 2, `${counter.bytes() / 1800}`);
});
