import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { decodeFamilies } from "../../test/support/prometheus-protobuf.ts";
import { MergedMetrics } from "./merged-metrics.ts";
import { createMetricRegistry, createSharedMetricRegistry } from "./metric-registry.ts";
import { bucketOf } from "./metrics/native-buckets.ts";

test("bucketOf() puts a value above the bound below it, and not above its own", () => {
  fc.assert(
    fc.property(fc.double({ min: 2 ** -9, max: 2 ** 50, noNaN: true }), (value) => {
      const bucket = bucketOf(value);
      assert.ok(value <= 2 ** (bucket / 8) * (1 + 1e-12));
      assert.ok(value > 2 ** ((bucket - 1) / 8) * (1 - 1e-12));
    }),
  );
  for (const [value, bucket] of [
    [1, 0],
    [2, 8],
    [1.0000001, 1],
    [1024, 80],
    [Number.POSITIVE_INFINITY, 431],
  ] as const) {
    assert.equal(bucketOf(value), bucket);
  }
});

test("exposeProtobuf() tells counters, gauges and both kinds of buckets", () => {
  const registry = createMetricRegistry();
  registry.counter("c_total", "C.", { a: 'x"\n\\é' }).add(3);
  registry.gauge("g", "G.").set(-1.5);
  const histogram = registry.histogram("h", "H.", [1, 10], { path: "/" });
  // Before anybody asked: these stand at the bounds of their classic buckets.
  histogram.record(0.5);
  histogram.record(7);
  registry.exposeProtobuf();
  for (const value of [0, 1.5, 1.5, 100, 1_000_000]) histogram.record(value);
  const [counter, gauge, latencies] = decodeFamilies(registry.exposeProtobuf());
  assert.deepEqual(counter, {
    name: "c_total",
    type: "counter",
    series: [{ labels: { a: 'x"\n\\é' }, value: 3 }],
  });
  assert.deepEqual(gauge?.series, [{ labels: {}, value: -1.5 }]);
  const [series] = latencies?.series ?? [];
  assert.deepEqual(series?.labels, { path: "/" });
  assert.deepEqual(series?.histogram, {
    count: 7,
    sum: 0.5 + 7 + 3 + 100 + 1_000_000,
    classic: [
      [1, 2],
      [10, 5],
    ],
    schema: 3,
    zeros: 1,
    native: [
      [0, 1],
      [bucketOf(1.5), 2],
      [bucketOf(10), 1],
      [bucketOf(100), 1],
      [bucketOf(1_000_000), 1],
    ],
  });
});

test("histograms have classic buckets alone until somebody asks", () => {
  const registry = createMetricRegistry();
  registry.histogram("h", "H.", [1]).record(0.3);
  assert.match(registry.expose(), /^h_bucket\{le="1"\} 1$/m);
  registry.exposeProtobuf();
  assert.match(registry.expose(), /^h_bucket\{le="1"\} 1$/m);
});

test("native buckets of threads are added up, and stay when one ends", () => {
  const merged = new MergedMetrics();
  merged.wantNative();
  const threads = Array.from({ length: 2 }, () => {
    const registry = createSharedMetricRegistry();
    const block = merged.attach(registry.flags);
    const sync = (): void => {
      const news = registry.takeNews();
      if (news !== undefined) block.apply(structuredClone(news));
    };
    return { registry, block, sync };
  });
  const record = (value: number): void => {
    for (const { registry, sync } of threads) {
      sync();
      registry.histogram("h", "H.", [1], { a: 'b,c="d' }).record(value);
      sync();
    }
  };
  const read = () => decodeFamilies(merged.exposeProtobuf())[0]?.series[0];
  for (const value of [2, 4]) record(value);
  const expected = [
    [8, 2],
    [16, 2],
  ];
  assert.deepEqual(read()?.histogram?.native, expected);
  assert.deepEqual(read()?.labels, { a: 'b,c="d' });
  threads[0]?.block.detach();
  assert.deepEqual(read()?.histogram?.native, expected);
  threads[1]?.registry.remove("h", { a: 'b,c="d' });
  threads[1]?.sync();
  assert.equal(merged.exposeProtobuf().length, 0);
});
