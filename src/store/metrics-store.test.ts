import assert from "node:assert/strict";
import { test } from "node:test";
import { createMetricRegistry } from "../telemetry/metric-registry.ts";
import { embeddedMetrics } from "./embedded-metrics.ts";
import { labelSetOf } from "./label-set.ts";
import {
  defaultMetricsStoreOptions,
  MetricsStore,
  type MetricsStoreOptions,
} from "./metrics-store.ts";

const minuteMs = 60_000;

function storeWith(options: Partial<MetricsStoreOptions> = {}): MetricsStore {
  const store = new MetricsStore(
    { ...defaultMetricsStoreOptions, ...options },
    createMetricRegistry(),
  );
  store.addTarget("a", labelSetOf([["instance", "a"]]));
  return store;
}

async function valuesOf(
  store: MetricsStore,
  expr: string,
  atMs: number,
): Promise<readonly number[]> {
  const result = await embeddedMetrics(store).query(expr, atMs);
  return result.kind === "scalar" ? [result.value] : result.samples.map(({ value }) => value);
}

test("MetricsStore adds the target's labels and keeps the sample's own beside them", async () => {
  const store = storeWith();
  store.ingest("a", 'x{instance="mine"} 1', 1000);
  assert.deepEqual(await embeddedMetrics(store).series(["x"]), [
    { __name__: "x", exported_instance: "mine", instance: "a" },
  ]);
});

test("MetricsStore takes a counter that appears between two scrapes for one that was 0", async () => {
  const store = storeWith();
  store.ingest("a", "# TYPE x counter\n# TYPE g gauge\n", 0);
  store.ingest("a", "# TYPE x counter\n# TYPE g gauge\nx 10\ng 10\n", 10_000);
  assert.deepEqual(await valuesOf(store, "rate(x[10s1ms])", 10_000), [10 / 10.001]);
  assert.deepEqual(await valuesOf(store, "rate(g[10s1ms])", 10_000), []);
});

test("MetricsStore ends a series that a scrape no longer has, and all when the target is down", async () => {
  const store = storeWith();
  store.ingest("a", "x 1\ny 2\n", 0);
  store.ingest("a", "y 2\n", 1000);
  assert.deepEqual(await valuesOf(store, "x", 1000), []);
  assert.deepEqual(await valuesOf(store, "y", 1000), [2]);
  store.markDown("a", 2000);
  assert.deepEqual(await valuesOf(store, "y", 2000), []);
  assert.deepEqual(await valuesOf(store, "up", 2000), [0]);
  store.ingest("a", "x 3\n", 3000);
  assert.deepEqual(await valuesOf(store, "x", 3000), [3]);
  assert.deepEqual(await valuesOf(store, "x", 500), [1]);
});

test("MetricsStore refuses a scrape whole", async () => {
  const store = storeWith();
  const outcome = store.ingest("a", "x 1\ny{ 2\n", 0);
  assert.equal(outcome.kind, "refused");
  assert.deepEqual(await valuesOf(store, "x", 0), []);
});

test("MetricsStore counts what its limits keep out", () => {
  const store = storeWith({ seriesPerTargetMax: 3 });
  store.ingest("a", "x 1\ny 1\nz 1\nv 1\nw 1\n", 0);
  store.ingest("a", "x 1\ny 1\nz 1\nv 1\nw 1\n", 1);
  assert.ok(store.seriesCount <= 3 + 2);
  assert.ok(store.droppedSeries >= 2);
});

test("MetricsStore forgets what is older than its retention, and gone targets entirely", () => {
  const store = storeWith({ retentionMs: 10 * minuteMs });
  store.ingest("a", "x 1\ny 1\n", 0);
  for (let atMs = 1000; atMs < 20 * minuteMs; atMs += 1000) store.ingest("a", "y 1\n", atMs);
  assert.equal(
    store.select([]).some(({ labels }) => labels.get("__name__") === "x"),
    false,
  );
  store.removeTarget("a", 20 * minuteMs);
  store.expire(25 * minuteMs);
  assert.notEqual(store.seriesCount, 0);
  store.expire(31 * minuteMs);
  assert.equal(store.seriesCount, 0);
});
