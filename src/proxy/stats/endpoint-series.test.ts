import assert from "node:assert/strict";
import { test } from "node:test";

import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { clusterSeries } from "./envoy-series.ts";

function exposed(text: string, name: string): readonly string[] {
  return text.split("\n").filter((line) => line.startsWith(`envoy_cluster_endpoint_${name}{`));
}

test("endpoint() counts for an endpoint as long as some version of its cluster has it", () => {
  const metrics = createMetricRegistry();
  const series = clusterSeries(metrics, "shop");
  const before = series.endpoint("192.0.2.1:80", "shop.example");
  before.onRequest(1);
  const after = series.endpoint("192.0.2.1:80", "shop.example");
  before.close();
  after.onRequest(1);
  const labels =
    'cluster_name="shop",envoy_endpoint_address="192.0.2.1:80",envoy_endpoint_hostname="shop.example"';
  assert.deepEqual(exposed(metrics.expose(), "rq_total"), [
    `envoy_cluster_endpoint_rq_total{${labels}} 2`,
  ]);
  after.close();
  before.onRequest(-1);
  assert.doesNotMatch(metrics.expose(), /^envoy_cluster_endpoint_/m);
});

test("endpoint() leaves nothing when its cluster goes", () => {
  const metrics = createMetricRegistry();
  const series = clusterSeries(metrics, "shop");
  const stats = series.endpoint("192.0.2.1:80", "");
  series.remove();
  stats.onAnswer(true);
  stats.close();
  assert.doesNotMatch(metrics.expose(), /^envoy_cluster_endpoint_/m);
});
