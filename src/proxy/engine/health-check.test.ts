import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { HealthCheck } from "../../wire/gen/ts/envoy/config/core/v3/health_check.ts";
import { Duration } from "../../wire/gen/ts/google/protobuf/duration.ts";
import {
  CheckedHealth,
  compileHealthSettings,
  firstCheckMs,
  type HealthSettings,
  healthFlag,
  nextCheckMs,
} from "./health-check.ts";

const seconds = (value: number): Duration => Duration.create({ seconds: BigInt(value) });
const given = {
  timeout: seconds(1),
  interval: seconds(10),
  unhealthyThreshold: 3,
  healthyThreshold: 2,
};
const compile = (more: Partial<HealthCheck> = {}): HealthSettings =>
  compileHealthSettings({ ...HealthCheck.create(), ...given, ...more }, "health_checks[0]");
const settings = compile();
const { failed, degraded, pending, excluded, timedOut } = healthFlag;

function passed(): CheckedHealth {
  const health = new CheckedHealth(settings, false);
  health.pass(false);
  return health;
}

describe("CheckedHealth", () => {
  test("pass() the first time makes an endpoint fit at once", () => {
    const health = new CheckedHealth(settings, false);
    assert.equal(health.flags, failed);
    assert.equal(health.pass(false), "changed");
    assert.equal(health.flags, 0);
  });

  test("fail() on the way counts to the threshold", () => {
    const health = passed();
    assert.deepEqual(
      [1, 2, 3, 4].map(() => health.fail("network", false)),
      ["pending", "pending", "changed", "none"],
    );
  });

  test("fail() with an answer counts at once, unless it may be asked again", () => {
    assert.equal(passed().fail("active", false), "changed");
    assert.equal(passed().fail("active", true), "pending");
    assert.equal(passed().fail("passive", false), "changed");
  });

  test("pass() after a failure counts to the threshold, and begins anew with each failure", () => {
    const health = new CheckedHealth(settings, false);
    assert.equal(health.fail("active", false), "none");
    assert.equal(health.pass(false), "pending");
    assert.equal(health.fail("active", false), "none");
    assert.equal(health.pass(false), "pending");
    assert.equal(health.pass(false), "changed");
  });

  test("pass() ends a series of failures", () => {
    const health = passed();
    health.fail("network", false);
    health.fail("network", false);
    health.pass(false);
    assert.equal(health.fail("network", false), "pending");
  });

  test("flags tell a timeout while it is the last thing that happened", () => {
    const health = new CheckedHealth(settings, false);
    health.fail("network-timeout", false);
    assert.equal(health.flags, failed | timedOut);
    health.fail("network", false);
    assert.equal(health.flags, failed);
  });

  test("flags tell of degradation, which changes back and forth at once", () => {
    const health = passed();
    assert.equal(health.pass(true), "changed");
    assert.equal(health.flags, degraded);
    assert.equal(health.pass(true), "none");
    assert.equal(health.pass(false), "changed");
    assert.equal(health.flags, 0);
  });

  test("the first check, passed or not, ends that an endpoint is not counted", () => {
    const health = new CheckedHealth(settings, true);
    assert.equal(health.flags, failed | pending);
    assert.equal(health.fail("active", false), "changed");
    assert.equal(health.flags, failed);
  });

  test("an exclusion ends when the endpoint is fit again", () => {
    const health = passed();
    health.flags |= excluded;
    health.fail("passive", false);
    health.pass(false);
    assert.equal(health.flags, failed | excluded);
    health.pass(false);
    assert.equal(health.flags, 0);
  });
});

describe("nextCheckMs()", () => {
  const own = compile({
    noTrafficInterval: seconds(60),
    noTrafficHealthyInterval: seconds(90),
    unhealthyInterval: seconds(5),
    unhealthyEdgeInterval: seconds(2),
    healthyEdgeInterval: seconds(3),
  });
  const after = (
    hasPassed: boolean,
    change: "changed" | "pending" | "none",
    hasTraffic: boolean,
  ): number => nextCheckMs(own, { hasPassed, change, hasTraffic }, () => 0);

  test("each state has its interval", () => {
    assert.equal(after(true, "none", true), 10_000);
    assert.equal(after(true, "pending", true), 3000);
    assert.equal(after(false, "none", true), 5000);
    assert.equal(after(false, "pending", true), 2000);
    assert.equal(after(true, "none", false), 90_000);
    assert.equal(after(true, "pending", false), 60_000);
    assert.equal(after(false, "changed", false), 60_000);
  });

  test("what is not given follows from what is", () => {
    const outcome = { hasPassed: false, change: "pending", hasTraffic: true } as const;
    assert.equal(
      nextCheckMs(settings, outcome, () => 0),
      10_000,
    );
    const idle = { hasPassed: true, change: "none", hasTraffic: false } as const;
    assert.equal(
      nextCheckMs(settings, idle, () => 0),
      60_000,
    );
  });

  test("jitters add up", () => {
    const jittery = compile({ intervalJitter: seconds(1), intervalJitterPercent: 50 });
    const outcome = { hasPassed: true, change: "none", hasTraffic: true } as const;
    assert.equal(
      nextCheckMs(jittery, outcome, () => 0.5),
      10_000 + 2500 + 500,
    );
    assert.equal(
      nextCheckMs(jittery, outcome, () => 0),
      10_000,
    );
  });
});

test("firstCheckMs() spreads first checks, where that is asked for", () => {
  assert.equal(
    firstCheckMs(settings, () => 0.5),
    0,
  );
  assert.equal(
    firstCheckMs(compile({ initialJitter: seconds(4) }), () => 0.5),
    2000,
  );
});

test("compileHealthSettings() refuses what Envoy does", () => {
  for (const field of ["timeout", "interval", "unhealthyThreshold", "healthyThreshold"]) {
    assert.throws(() => compile({ [field]: undefined }), /health_checks\[0\]/);
  }
});
