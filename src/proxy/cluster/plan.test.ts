import assert from "node:assert/strict";
import { test } from "node:test";

import {
  Cluster,
  Cluster_LbPolicy as LbPolicy,
} from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { ClusterConfig as AggregateConfig } from "../../wire/gen/ts/envoy/extensions/clusters/aggregate/v3/cluster.ts";
import { aggregateUrl } from "./aggregate.ts";
import { compileCluster } from "./plan.ts";

const none = { seconds: 0n, nanos: 0 };
const second = { seconds: 1n, nanos: 0 };

test("compileCluster() refuses times that are none", () => {
  const refused = (fields: object, why: RegExp): void => {
    assert.throws(() => compileCluster(Cluster.fromPartial({ name: "shop", ...fields })), why);
  };
  refused({ connectTimeout: none }, /connect_timeout: must be greater than 0/);
  refused({ type: 1, dnsRefreshRate: none }, /dns_refresh_rate: must be more than a millisecond/);
  refused({ type: 4, cleanupInterval: none }, /cleanup_interval: must be greater than 0/);
  for (const [field, name] of [
    ["noTrafficInterval", "no_traffic_interval"],
    ["noTrafficHealthyInterval", "no_traffic_healthy_interval"],
    ["unhealthyInterval", "unhealthy_interval"],
    ["unhealthyEdgeInterval", "unhealthy_edge_interval"],
    ["healthyEdgeInterval", "healthy_edge_interval"],
  ] as const) {
    const check = {
      timeout: second,
      interval: second,
      unhealthyThreshold: 1,
      healthyThreshold: 1,
      tcpHealthCheck: {},
      [field]: none,
    };
    const why = new RegExp(`health_checks\\[0\\]\\.${name}: must be greater than 0`);
    refused({ healthChecks: [check] }, why);
  }
});

test("compileCluster() refuses what an aggregate has nobody to use for", () => {
  const clusters = AggregateConfig.encode({ clusters: ["shop"] }).finish();
  const typedConfig = { typeUrl: aggregateUrl, value: clusters };
  const aggregate = {
    lbPolicy: LbPolicy.CLUSTER_PROVIDED,
    clusterType: { name: "aggregate", typedConfig },
  };
  const made = (fields: object): unknown =>
    compileCluster(Cluster.fromPartial({ name: "all", ...aggregate, ...fields }));
  made({});
  for (const [fields, name] of [
    [{ loadAssignment: {} }, "load_assignment"],
    [{ edsClusterConfig: {} }, "eds_cluster_config"],
    [{ outlierDetection: {} }, "outlier_detection"],
    [{ transportSocketMatches: [{ name: "any" }] }, "transport_socket_matches"],
    [{ upstreamBindConfig: {} }, "upstream_bind_config"],
  ] as const) {
    assert.throws(() => made(fields), new RegExp(`${name}: means nothing in an aggregate`), name);
  }
});
