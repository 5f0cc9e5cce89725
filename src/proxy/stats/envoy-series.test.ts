import assert from "node:assert/strict";
import { test } from "node:test";

import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import { clusterSeries } from "./envoy-series.ts";

test("clusterSeries() leaves nothing behind, whatever last connections do", () => {
  const metrics = createMetricRegistry();
  const series = clusterSeries(metrics, "gone");
  const { counters } = series;
  counters.onConnectionOpened();
  assert.match(metrics.expose(), /gone/);
  series.remove();
  counters.onConnected(1);
  counters.onConnectionClosed({ lengthMs: 1, by: "local", isBusy: true });
  counters.onResponse(503, 1);
  counters.onTryTimeout(false);
  counters.changeActive("upstream_rq_active", -1);
  counters.onNamedResponse("other", 200, 1);
  series.requests().active.add(-1);
  series.clientsDropped().add(1);
  assert.doesNotMatch(metrics.expose(), /gone/);
});

test("clusterSeries() of a cluster that is gone leaves its namesake alone", () => {
  const metrics = createMetricRegistry();
  const before = clusterSeries(metrics, "app");
  before.remove();
  const after = clusterSeries(metrics, "app");
  after.clientsDropped().add(1);
  before.clientsDropped().add(1);
  before.remove();
  assert.match(metrics.expose(), /proxy_header_clients_dropped\{cluster_name="app"\} 1\n/);
});

test("clusterSeries() remembers each of its series once, however often it counts", () => {
  const metrics = createMetricRegistry();
  const removed: string[] = [];
  const watched: MetricRegistry = {
    counter: (name, help, labels) => metrics.counter(name, help, labels),
    gauge: (name, help, labels) => metrics.gauge(name, help, labels),
    histogram: (name, help, buckets, labels) => metrics.histogram(name, help, buckets, labels),
    remove: (name, labels) => {
      removed.push(`${name} ${JSON.stringify(labels)}`);
      metrics.remove(name, labels);
    },
    expose: () => metrics.expose(),
  };
  const series = clusterSeries(watched, "app");
  for (let i = 0; i < 3; i++) {
    series.serverNamesDropped().add(1);
    series.statesDropped().add(1);
    series.clientsDropped().add(1);
    series.poolOverflow().add(1);
  }
  series.remove();
  assert.equal(new Set(removed).size, removed.length);
});
