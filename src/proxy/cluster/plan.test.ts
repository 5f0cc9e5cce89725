import assert from "node:assert/strict";
import { test } from "node:test";

import { Cluster } from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
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
