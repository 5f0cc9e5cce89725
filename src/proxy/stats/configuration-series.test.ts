import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { typeUrls, type XdsUpdate } from "../../xds/feed.ts";
import { ConfigurationSeries } from "./configuration-series.ts";

const users = [
  { statPrefix: "front", routes: "80" },
  { statPrefix: "front", routes: "80" },
  { statPrefix: "back", routes: "80" },
  { statPrefix: "front", routes: "other" },
];

/** Without a version it is nobody's. */
function answer(typeUrl: string, version: string, ...names: string[]): XdsUpdate {
  const resources = names.map((name) => ({ name, version, bytes: new Uint8Array(0) }));
  const of = version === "" ? {} : { version };
  return { typeUrl, ...of, resources, removed: [], respond: () => undefined };
}

test("ConfigurationSeries counts answers by kind, and of routes by who asks for them", () => {
  const metrics = createMetricRegistry();
  const series = new ConfigurationSeries(metrics, new FakeClock());
  series.onAnswer(answer(typeUrls.cluster, "", "a"), false, users);
  assert.doesNotMatch(metrics.expose(), /cds_update/, "what stands in a file is nobody's answer");
  series.onAnswer(answer(typeUrls.cluster, "v1", "a"), false, users);
  series.onAnswer(answer(typeUrls.cluster, "v2", "a"), true, users);
  series.onAnswer(answer(typeUrls.listener, "v1", "l"), false, users);
  series.onAnswer(answer(typeUrls.route, "v1", "80"), false, users);
  const again = { ...answer(typeUrls.route, "v2"), unchanged: ["80"] };
  series.onAnswer(again, false, users);
  const shown = metrics.expose();
  const expected = [
    // The first was not an answer, but the asking.
    "envoy_cluster_manager_cds_update_attempt 3",
    "envoy_cluster_manager_cds_config_reload 1",
    "envoy_cluster_manager_cds_update_success 1",
    "envoy_cluster_manager_cds_update_rejected 1",
    "envoy_listener_manager_lds_update_success 1",
    'envoy_http_rds_update_attempt{http_conn_manager_prefix="front",rds_route_config="80"} 3',
    'envoy_http_rds_update_success{http_conn_manager_prefix="front",rds_route_config="80"} 2',
    'envoy_http_rds_update_attempt{http_conn_manager_prefix="front",rds_route_config="other"} 1',
    'envoy_http_rds_config_reload{http_conn_manager_prefix="back",rds_route_config="80"} 1',
  ];
  for (const line of expected) assert.ok(shown.includes(`${line}\n`), `${line}\n${shown}`);
  assert.doesNotMatch(shown, /update_success\{.*rds_route_config="other"/);
});

test("ConfigurationSeries counts what came, changed and went, and shows what serves", () => {
  const metrics = createMetricRegistry();
  const series = new ConfigurationSeries(metrics, new FakeClock());
  series.onResource(typeUrls.cluster, "added");
  series.onResource(typeUrls.cluster, "modified");
  series.onResource(typeUrls.listener, "added");
  series.onResource(typeUrls.listener, "removed");
  series.onResource(typeUrls.endpoint, "added");
  series.show("cluster", { active: 3, warming: 1 });
  const shown = metrics.expose();
  for (const line of [
    "envoy_cluster_manager_cluster_added 1",
    "envoy_cluster_manager_cluster_modified 1",
    "envoy_cluster_manager_cluster_removed 0",
    "envoy_listener_manager_listener_removed 1",
    "envoy_listener_manager_listener_create_success 1",
    "envoy_cluster_manager_active_clusters 3",
    "envoy_cluster_manager_warming_clusters 1",
  ]) {
    assert.ok(shown.includes(`${line}\n`), `${line}\n${shown}`);
  }
});
