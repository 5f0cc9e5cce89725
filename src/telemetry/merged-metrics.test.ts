import assert from "node:assert/strict";
import { test } from "node:test";

import { MergedMetrics } from "./merged-metrics.ts";
import { createSharedMetricRegistry, type SharedMetricRegistry } from "./metric-registry.ts";

/** `count` registries that one reader merges; `sync` passes their news on. */
function makeThreads(count: number, merged: MergedMetrics = new MergedMetrics()) {
  const threads = Array.from({ length: count }, () => {
    const registry = createSharedMetricRegistry({ maxValuesPerLabel: 10_000 });
    const block = merged.attach(registry.flags);
    return { registry, block, sync: () => passNews(registry, block) };
  });
  return {
    merged,
    threads,
    sync: () => {
      for (const thread of threads) thread.sync();
    },
  };
}

function passNews(registry: SharedMetricRegistry, block: ReturnType<MergedMetrics["attach"]>) {
  const news = registry.takeNews();
  // As a port would: a copy, except of shared memory.
  if (news !== undefined) block.apply(structuredClone(news));
}

function linesOf(merged: MergedMetrics): string[] {
  return merged
    .expose()
    .split("\n")
    .filter((line) => line !== "" && !line.startsWith("#"));
}

test("expose() adds up what threads count, without news for each number", () => {
  const { merged, threads, sync } = makeThreads(2);
  const counters = threads.map(({ registry }) => registry.counter("c_total", "C.", { a: "1" }));
  const histograms = threads.map(({ registry }) => registry.histogram("h", "H.", [1, 10]));
  sync();
  counters[0]?.add(2);
  counters[1]?.add(3);
  histograms[0]?.record(0.5);
  histograms[1]?.record(100);
  assert.deepEqual(linesOf(merged), [
    'c_total{a="1"} 5',
    'h_bucket{le="1"} 1',
    'h_bucket{le="10"} 1',
    'h_bucket{le="+Inf"} 2',
    "h_sum 100.5",
    "h_count 2",
  ]);
});

test("expose() takes the greatest of gauges that are said to be facts", () => {
  const gaugeMerge = (name: string) => (name === "members" ? "greatest" : "sum");
  const { merged, threads, sync } = makeThreads(2, new MergedMetrics({ gaugeMerge }));
  for (const { registry } of threads) {
    registry.gauge("members", "M.").set(7);
    registry.gauge("active", "A.").set(7);
  }
  sync();
  assert.deepEqual(linesOf(merged), ["members 7", "active 14"]);
});

test("a counter does not fall when a thread drops an idle series, or ends", () => {
  const { merged, threads, sync } = makeThreads(2);
  const [first, second] = threads;
  first?.registry.counter("c", "C.").add(7);
  second?.registry.counter("c", "C.").add(1);
  sync();
  for (let i = 0; i < 2; i++) first?.registry.expireIdle(new Set(["c"]));
  sync();
  merged.expireIdle(new Set(["c"]));
  assert.deepEqual(linesOf(merged), ["c 8"]);
  first?.registry.counter("c", "C.").add(1);
  sync();
  assert.deepEqual(linesOf(merged), ["c 9"]);
  second?.block.detach();
  assert.deepEqual(linesOf(merged), ["c 9"]);
});

test("expireIdle() forgets what no thread holds any more", () => {
  const { merged, threads, sync } = makeThreads(1);
  const [thread] = threads;
  thread?.registry.counter("c", "C.").add(7);
  sync();
  for (let i = 0; i < 2; i++) thread?.registry.expireIdle(new Set(["c"]));
  sync();
  merged.expireIdle(new Set(["c"]));
  assert.equal(merged.seriesCount, 0);
});

test("a removed series leaves when its last thread has removed it", () => {
  const { merged, threads, sync } = makeThreads(2);
  for (const { registry } of threads) registry.gauge("g", "G.", { cluster: "a" }).set(1);
  sync();
  threads[0]?.registry.remove("g", { cluster: "a" });
  sync();
  assert.deepEqual(linesOf(merged), ['g{cluster="a"} 1']);
  threads[1]?.registry.remove("g", { cluster: "a" });
  sync();
  assert.equal(merged.expose(), "");
});

test("slots of an ended series are used again only when the reader knows", () => {
  const { merged, threads, sync } = makeThreads(1);
  const [thread] = threads;
  thread?.registry.counter("c", "C.", { a: "old" }).add(5);
  sync();
  thread?.registry.remove("c", { a: "old" });
  thread?.registry.counter("c", "C.", { a: "new" }).add(900);
  assert.deepEqual(linesOf(merged), ['c{a="old"} 5']);
  sync();
  assert.deepEqual(linesOf(merged), ['c{a="new"} 900']);
});

test("a registry that nobody read yet tells all it has to the first reader", () => {
  const { merged, threads, sync } = makeThreads(1);
  const [thread] = threads;
  for (const a of ["1", "2"]) thread?.registry.counter("c", "C.", { a }).add(1);
  thread?.registry.remove("c", { a: "1" });
  thread?.registry.counter("c", "C.", { a: "3" }).add(4);
  sync();
  thread?.registry.counter("c", "C.", { a: "3" }).add(1);
  assert.deepEqual(linesOf(merged), ['c{a="2"} 1', 'c{a="3"} 5']);
});

test("more series than a segment holds are all counted", () => {
  const { merged, threads, sync } = makeThreads(1);
  const [thread] = threads;
  for (let i = 0; i < 9000; i++) thread?.registry.counter("c", "C.", { i: String(i) }).add(i + 1);
  sync();
  for (let i = 0; i < 9000; i++) thread?.registry.counter("c", "C.", { i: String(i) }).add(1);
  const sum = linesOf(merged).reduce((total, line) => total + Number(line.split(" ")[1]), 0);
  assert.equal(sum, (9000 * 9001) / 2 + 9000);
  assert.equal(merged.seriesCount, 9000);
});
