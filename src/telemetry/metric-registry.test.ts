import assert from "node:assert/strict";
import { test } from "node:test";

import { createMetricRegistry } from "./metric-registry.ts";

test("counter() gives the same series for the same labels, in any order", () => {
  const registry = createMetricRegistry();
  registry.counter("a_total", "A.", { x: "1", y: "2" }).add(2);
  registry.counter("a_total", "A.", { y: "2", x: "1" }).add();
  assert.equal(registry.counter("a_total", "A.", { x: "1", y: "2" }).value, 3);
  assert.equal(
    registry.expose(),
    '# HELP a_total A.\n# TYPE a_total counter\na_total{x="1",y="2"} 3\n',
  );
});

test("expose() escapes label values", () => {
  const registry = createMetricRegistry();
  registry.gauge("g", "G.", { v: 'a"b\\c\nd' }).set(-1.5);
  assert.match(registry.expose(), /^g\{v="a\\"b\\\\c\\nd"\} -1\.5$/m);
});

test("histogram() exposes cumulative buckets, sum and count", () => {
  const registry = createMetricRegistry();
  const histogram = registry.histogram("h", "H.", [1, 10], { a: "b" });
  for (const value of [0.5, 1, 2, 100]) histogram.record(value);
  const lines = registry.expose().split("\n").slice(2, -1);
  assert.deepEqual(lines, [
    'h_bucket{a="b",le="1"} 2',
    'h_bucket{a="b",le="10"} 3',
    'h_bucket{a="b",le="+Inf"} 4',
    'h_sum{a="b"} 103.5',
    'h_count{a="b"} 4',
  ]);
});

test("remove() forgets a series, and its handle writes nowhere", () => {
  const registry = createMetricRegistry();
  const dead = registry.counter("c", "C.", { a: "1" });
  registry.remove("c", { a: "1" });
  const next = registry.counter("c", "C.", { a: "2" });
  dead.add(5);
  assert.equal(next.value, 0);
  assert.equal(dead.value, 0);
  assert.equal(registry.seriesCount, 1);
});

test("expireIdle() drops what did not change between two calls, and a change brings it back", () => {
  const registry = createMetricRegistry();
  const names = new Set(["c"]);
  const idle = registry.counter("c", "C.", { a: "idle" });
  const busy = registry.counter("c", "C.", { a: "busy" });
  idle.add(7);
  registry.expireIdle(names);
  busy.add(1);
  registry.expireIdle(names);
  assert.equal(registry.seriesCount, 1);
  idle.add(1);
  assert.match(registry.expose(), /a="idle"\} 1$/m);
});

test("a metric past its series limit folds new label sets into one, and counts them", () => {
  const registry = createMetricRegistry({ maxSeriesPerMetric: 2 });
  for (let i = 0; i < 5; i++) registry.counter("c", "C.", { path: `/${i}` }).add(1);
  const text = registry.expose();
  assert.match(text, /^c\{path="overflow"\} 3$/m);
  assert.match(text, /^heddle_metrics_folded_total\{metric="c"\} 3$/m);
});

test("a label has so many values; one too many is folded, counted, and has room again later", () => {
  const registry = createMetricRegistry({ maxValuesPerLabel: 2 });
  const count = (path: string) => registry.counter("c", "C.", { path, method: "GET" }).add(1);
  for (const path of ["/a", "/b", "/c", "/d", "/a"]) count(path);
  const text = registry.expose();
  assert.match(text, /^c\{method="GET",path="overflow"\} 2$/m);
  assert.match(text, /^c\{method="GET",path="\/a"\} 2$/m);
  assert.match(
    text,
    /^heddle_metrics_label_values_total\{how="folded",label="path",metric="c"\} 2$/m,
  );
  registry.remove("c", { path: "/a", method: "GET" });
  registry.remove("c", { path: "overflow", method: "GET" });
  count("/e");
  assert.match(registry.expose(), /^c\{method="GET",path="\/e"\} 1$/m);
});

test("a long label value is cut, and the series can be removed by the whole one", () => {
  const registry = createMetricRegistry();
  const labels = { host: "x".repeat(1000) };
  registry.counter("c", "C.", labels).add(1);
  registry.counter("c", "C.", labels).add(1);
  assert.match(registry.expose(), /^c\{host="x{256}"\} 2$/m);
  assert.match(registry.expose(), /how="cut",label="host",metric="c"\} 2$/m);
  registry.remove("c", labels);
  assert.doesNotMatch(registry.expose(), /^c\{/m);
});

test("labels of Envoy's series come from configuration, and are kept as they are", () => {
  const registry = createMetricRegistry({ maxValuesPerLabel: 1 });
  for (const cluster of ["a".repeat(300), "b", "c"]) {
    registry.counter("envoy_cluster_x", "X.", { cluster }).add(1);
  }
  assert.equal(registry.seriesCount, 3);
});

test("MetricRegistry.exposePieces() says the same as expose(), in pieces of bounded length", () => {
  const metrics = createMetricRegistry();
  metrics.onExpose(() => metrics.gauge("fresh", "Set as it is asked.").set(1));
  assert.deepEqual(
    [...metrics.exposePieces()],
    ["# HELP fresh Set as it is asked.\n# TYPE fresh gauge\nfresh 1\n"],
  );
  for (let i = 0; i < 2000; i++) {
    metrics.counter("requests_total", "How many.", { cluster: `c${i}` }).add(i);
    metrics.histogram("took", "Time.", [1, 10], { cluster: `c${i}` }).record(i);
  }
  const pieces = [...metrics.exposePieces()];
  assert.equal(pieces.join(""), metrics.expose());
  assert(pieces.length > 5 && pieces.every(({ length }) => length < 20_000));
});
