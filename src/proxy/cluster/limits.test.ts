import assert from "node:assert/strict";
import { test } from "node:test";

import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { CircuitBreakers } from "../../wire/gen/ts/envoy/config/cluster/v3/circuit_breaker.ts";
import { RoutingPriority } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type { UpstreamEndpoint } from "../context.ts";
import { compileLimits } from "../engine/circuit-breakers.ts";
import { SharedCounts } from "../engine/shared-counts.ts";
import { clusterSeries } from "../stats/envoy-series.ts";
import { type ClusterLimits, makeLimits, type SharedLimits } from "./limits.ts";

const config = CircuitBreakers.fromPartial({
  thresholds: [
    { priority: RoutingPriority.DEFAULT, maxRequests: 1, maxConnectionPools: 1 },
    { priority: RoutingPriority.HIGH, maxRequests: 2 },
  ],
  perHostThresholds: [{ priority: RoutingPriority.DEFAULT, maxConnections: 4 }],
});

function limitsOf(priority: "default" | "high", shared?: SharedLimits): ClusterLimits {
  const asked = priority === "high" ? RoutingPriority.HIGH : RoutingPriority.DEFAULT;
  return makeLimits({
    cluster: "shop",
    limits: compileLimits(config, "circuit_breakers", asked),
    priority,
    series: clusterSeries(createMetricRegistry(), "shop"),
    shared,
  });
}

function endpointWith(connections: number): UpstreamEndpoint {
  return {
    address: { address: "10.0.0.1", port: 80 },
    hostname: "",
    metadata: {},
    tls: undefined,
    active: 0,
    connections,
    report: () => undefined,
  };
}

test("makeLimits() has limits of its own for each priority, also where threads share them", () => {
  const counts = new SharedCounts(2, 0);
  const both: SharedLimits = (_, kind) => counts.of(0, kind);
  for (const shared of [undefined, both]) {
    const usual = limitsOf("default", shared);
    const high = limitsOf("high", shared);
    assert.deepEqual([usual.tryRequest(), usual.tryRequest()], [true, false]);
    assert.deepEqual(
      [high.tryRequest(), high.tryRequest(), high.tryRequest()],
      [true, true, false],
    );
    usual.releaseRequest();
    assert.equal(usual.tryRequest(), true);
  }
});

test("makeLimits() counts pools only where there may be so many", () => {
  const { pools } = limitsOf("default");
  assert.deepEqual([pools?.try(), pools?.try()], [true, false]);
  pools?.release();
  assert.equal(pools?.try(), true);
  assert.equal(limitsOf("high").pools, undefined);
});

test("tryConnection() keeps to what one endpoint may have, each thread to its part", () => {
  const alone = limitsOf("default");
  assert.equal(alone.tryConnection(endpointWith(3)), true);
  assert.equal(alone.tryConnection(endpointWith(4)), false);
  const counts = new SharedCounts(3, 0);
  const one = limitsOf("default", (_, kind) => counts.of(0, kind));
  assert.equal(one.tryConnection(endpointWith(1)), true);
  assert.equal(one.tryConnection(endpointWith(2)), false);
  assert.equal(limitsOf("high").tryConnection(endpointWith(100)), true);
});

test("compileLimits() refuses limits on an endpoint that Envoy does not know", () => {
  const wrong = CircuitBreakers.fromPartial({ perHostThresholds: [{ maxRequests: 1 }] });
  assert.throws(
    () => compileLimits(wrong, "circuit_breakers"),
    /circuit_breakers\.per_host_thresholds\[0\]\.max_requests: limits no endpoint/,
  );
});
