import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { CircuitBreakers } from "../../wire/gen/ts/envoy/config/cluster/v3/circuit_breaker.ts";
import { RoutingPriority } from "../../wire/gen/ts/envoy/config/core/v3/base.ts";
import type { UpstreamEndpoint } from "../context.ts";
import type { LimitedPool } from "../http/pool-permit.ts";
import { compileLimits, type CountedKind } from "../engine/circuit-breakers.ts";
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
    clock: new FakeClock(),
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
  const [one, other] = [poolOf(endpointWith(0)), poolOf(endpointWith(0))];
  assert.deepEqual([pools?.try(one), pools?.try(other)], [true, false]);
  pools?.release(one);
  pools?.release(one);
  assert.deepEqual([pools?.try(other), pools?.try(one)], [true, false]);
  assert.equal(limitsOf("high").pools, undefined);
});

function poolOf(endpoint: UpstreamEndpoint, isIdle = true): LimitedPool {
  return { endpoint, giveUp: () => isIdle };
}

test("makeLimits() takes an idle pool's place for another of the same endpoint, and no other's", () => {
  const { pools } = limitsOf("default");
  assert.ok(pools !== undefined);
  const origin = endpointWith(0);
  const idle: LimitedPool = {
    endpoint: { ...endpointWith(0), origin },
    giveUp() {
      pools.release(this);
      return true;
    },
  };
  const further = poolOf({ ...endpointWith(0), origin }, false);
  assert.equal(pools.try(idle), true);
  assert.equal(pools.try(poolOf(endpointWith(0))), false);
  assert.equal(pools.try(further), true);
  assert.equal(pools.try(poolOf({ ...endpointWith(0), origin })), false, "it has requests");
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

/** Retries may be a fifth of what began in the last ten seconds. */
const budget = compileLimits(
  CircuitBreakers.fromPartial({
    thresholds: [
      {
        retryBudget: {
          budgetPercent: { value: 20 },
          budgetInterval: { seconds: 10n, nanos: 0 },
          minRetryConcurrency: 0,
        },
        trackRemaining: true,
      },
    ],
  }),
  "circuit_breakers",
);

function budgeted(shared?: SharedLimits) {
  const clock = new FakeClock();
  const metrics = createMetricRegistry();
  const limits = makeLimits({
    cluster: "shop",
    limits: budget,
    priority: "default",
    series: clusterSeries(metrics, "shop"),
    shared,
    clock,
  });
  const ask = (count: number): void => {
    for (let i = 0; i < count; i++) {
      assert.equal(limits.tryRequest(), true);
      limits.releaseRequest();
    }
  };
  return { clock, metrics, limits, ask };
}

test("tryRetry() looks back as far as the budget's interval, also where threads share it", () => {
  const counts = new SharedCounts(2, 0);
  for (const shared of [undefined, (_: string, kind: CountedKind) => counts.of(0, kind)]) {
    const { clock, limits, ask } = budgeted(shared);
    ask(4);
    assert.equal(limits.tryRetry(), false);
    ask(1);
    assert.deepEqual([limits.tryRetry(), limits.tryRetry()], [true, false]);
    limits.releaseRetry();
    clock.advance(9_900);
    assert.equal(limits.tryRetry(), true);
    limits.releaseRetry();
    clock.advance(1_200);
    assert.equal(limits.tryRetry(), false);
    ask(5);
    limits.close();
    assert.equal(limits.tryRetry(), false);
    assert.equal(counts.of(0, "recent").total(), 0);
  }
});

test("tryRetry() counts what other threads have begun", () => {
  const first = new SharedCounts(2, 0);
  const second = new SharedCounts(2, 1, first.memory);
  const one = budgeted((_, kind) => first.of(0, kind));
  const other = budgeted((_, kind) => second.of(0, kind));
  one.ask(5);
  assert.equal(other.limits.tryRetry(), true);
  other.limits.releaseRetry();
  one.clock.advance(11_100);
  assert.equal(other.limits.tryRetry(), false);
});

test("what is left of limits is told from the beginning", () => {
  const { metrics, limits } = budgeted();
  const left = (): readonly string[] =>
    [...metrics.expose().matchAll(/remaining_(\w+)\{[^}]*\} (\d+)/g)].map(
      ([, name, value]) => `${name} ${value}`,
    );
  assert.deepEqual(left().toSorted(), [
    "cx 1024",
    "cx_pools 18446744073709552000",
    "pending 1024",
    "retries 0",
    "rq 1024",
  ]);
  limits.tryPending();
  limits.tryRequest();
  limits.tryConnection();
  assert.ok(["cx 1023", "pending 1023", "rq 1023"].every((one) => left().includes(one)));
  limits.releaseRequest();
  assert.ok(left().includes("rq 1024"));
});

test("compileLimits() refuses a budget that is no share", () => {
  for (const value of [-1, 101, Number.NaN]) {
    const thresholds = [{ retryBudget: { budgetPercent: { value } } }];
    assert.throws(
      () => compileLimits(CircuitBreakers.fromPartial({ thresholds }), "circuit_breakers"),
      /thresholds\[0\]\.retry_budget\.budget_percent: must be from 0 to 100/,
      String(value),
    );
  }
});
