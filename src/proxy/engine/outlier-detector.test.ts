import assert from "node:assert/strict";
import test from "node:test";

import { type Fields, message } from "../../../test/support/message.ts";
import { OutlierDetection } from "../../wire/gen/ts/envoy/config/cluster/v3/outlier_detection.ts";
import { compileOutlierDetection, OutlierDetector } from "./outlier-detector.ts";

function detector(
  fields: Fields<OutlierDetection>,
  members: readonly string[] = ["a", "b", "c", "d"],
) {
  const events: string[] = [];
  const settings = compileOutlierDetection(message(OutlierDetection, fields), "outlier_detection");
  const made = new OutlierDetector<string>(
    settings,
    {
      onEject: (member, cause, durationMs) => events.push(`${member} out: ${cause} ${durationMs}`),
      onReturn: (member) => events.push(`${member} back`),
      onDetected: () => undefined,
      onOverflow: () => events.push("too many"),
    },
    () => 0,
  );
  made.setMembers(members);
  const fail = (member: string, times: number, status = 503, nowMs = 0): void => {
    for (let i = 0; i < times; i++) made.report(member, { kind: "response", status }, nowMs);
  };
  return { made, events, fail };
}

const all = { maxEjectionPercent: 100 } as const;

test("report() ejects after consecutive failures, and only consecutive ones", () => {
  const { made, events, fail } = detector({ ...all, consecutive5xx: 3 });
  fail("a", 2);
  made.report("a", { kind: "response", status: 200 }, 0);
  fail("a", 2);
  assert.deepEqual(events, []);
  fail("a", 1);
  assert.deepEqual(events, ["a out: consecutive_5xx 30000"]);
  assert.equal(made.isEjected("a"), true);
  assert.equal(made.ejectedCount, 1);
});

test("report() tells gateway errors from others", () => {
  const fields = {
    ...all,
    consecutive5xx: 0,
    consecutiveGatewayFailure: 2,
    enforcingConsecutiveGatewayFailure: 100,
  };
  const { events, fail } = detector(fields);
  fail("a", 5, 500);
  assert.deepEqual(events, []);
  fail("a", 2, 502);
  assert.deepEqual(events, ["a out: consecutive_gateway_failure 30000"]);
});

test("report() counts failures of our own apart when told to", () => {
  const { made, events } = detector({
    ...all,
    splitExternalLocalOriginErrors: true,
    consecutiveLocalOriginFailure: 2,
  });
  made.report("a", { kind: "local-failure" }, 0);
  made.report("a", { kind: "local-failure" }, 0);
  assert.deepEqual(events, ["a out: consecutive_local_origin_failure 30000"]);
  const together = detector({ ...all, consecutive5xx: 2 });
  together.made.report("b", { kind: "local-failure" }, 0);
  together.fail("b", 1, 500);
  assert.deepEqual(together.events, ["b out: consecutive_5xx 30000"]);
});

test("onInterval() lets endpoints back, and each ejection lasts longer", () => {
  const { made, events, fail } = detector({ ...all, consecutive5xx: 1 });
  fail("a", 1, 503, 0);
  made.onInterval(10_000);
  assert.equal(made.isEjected("a"), true);
  made.onInterval(30_000);
  assert.equal(made.isEjected("a"), false);
  fail("a", 1, 503, 30_000);
  assert.deepEqual(events, [
    "a out: consecutive_5xx 30000",
    "a back",
    "a out: consecutive_5xx 60000",
  ]);
});

test("onInterval() forgives with every healthy interval", () => {
  const { made, events, fail } = detector({ ...all, consecutive5xx: 1 });
  fail("a", 1);
  made.onInterval(30_000);
  made.onInterval(40_000);
  fail("a", 1, 503, 40_000);
  assert.equal(events.at(-1), "a out: consecutive_5xx 30000");
});

test("report() keeps within the share that may be ejected", () => {
  const half = detector({ consecutive5xx: 1, maxEjectionPercent: 50 });
  half.fail("a", 1);
  half.fail("b", 1);
  half.fail("c", 1);
  assert.equal(half.made.ejectedCount, 2);
  assert.equal(half.events.at(-1), "too many");
  const standard = detector({ consecutive5xx: 1 });
  standard.fail("a", 1);
  assert.deepEqual(standard.events, ["too many"]);
  const one = detector({ consecutive5xx: 1, alwaysEjectOneHost: true });
  one.fail("a", 1);
  assert.equal(one.made.ejectedCount, 1);
});

test("onInterval() ejects by success rate", () => {
  const members = ["a", "b", "c", "d", "e"];
  const { made, events } = detector(
    { ...all, consecutive5xx: 0, successRateRequestVolume: 10 },
    members,
  );
  for (const member of members) {
    for (let i = 0; i < 20; i++) {
      const status = member === "e" && i % 2 === 0 ? 500 : 200;
      made.report(member, { kind: "response", status }, 0);
    }
  }
  made.onInterval(10_000);
  assert.deepEqual(events, ["e out: success_rate 30000"]);
});

test("setMembers() forgets endpoints that left", () => {
  const { made, fail } = detector({ ...all, consecutive5xx: 1 });
  fail("a", 1);
  made.setMembers(["b", "c"]);
  assert.equal(made.ejectedCount, 0);
  made.setMembers(["a", "b"]);
  assert.equal(made.isEjected("a"), false);
});

test("onInterval() ejects who fails more than it may", () => {
  const members = ["a", "b", "c", "d", "e"];
  const fields = { ...all, consecutive5xx: 0, enforcingFailurePercentage: 100 };
  const { made, events, fail } = detector({ ...fields, enforcingSuccessRate: 0 }, members);
  for (const member of members) {
    fail(member, member === "a" ? 50 : 40);
    for (let i = 0; i < 10; i++) made.report(member, { kind: "response", status: 200 }, 0);
  }
  // 83 per cent of a's, 80 of the others'.
  made.onInterval(1000);
  assert.deepEqual(events, []);
  for (const member of members) fail(member, member === "a" ? 49 : 51);
  made.onInterval(2000);
  assert.deepEqual(events, [], "one has too few requests, so too few have enough");
  for (const member of members) fail(member, 51, member === "b" ? 200 : 500);
  made.onInterval(3000);
  assert.deepEqual(
    events,
    ["a", "c", "d", "e"].map((each) => `${each} out: failure_percentage 30000`),
  );
});

test("onInterval() counts whether endpoints were reached apart, where that is asked for", () => {
  const members = ["a", "b", "c", "d", "e"];
  const { made, events } = detector(
    {
      ...all,
      consecutiveLocalOriginFailure: 0,
      splitExternalLocalOriginErrors: true,
      enforcingFailurePercentageLocalOrigin: 100,
      enforcingLocalOriginSuccessRate: 0,
      failurePercentageThreshold: 50,
      failurePercentageRequestVolume: 10,
    },
    members,
  );
  for (const member of members) {
    for (let i = 0; i < 10; i++) {
      const isLost = member === "c" && i < 5;
      made.report(
        member,
        isLost ? { kind: "local-failure" } : { kind: "response", status: 500 },
        0,
      );
      made.report(member, { kind: "response", status: 200 }, 0);
    }
  }
  made.onInterval(1000);
  assert.deepEqual(events, []);
  for (const member of members) {
    for (let i = 0; i < 10; i++) {
      const isLost = member === "c" && i < 5;
      made.report(
        member,
        isLost ? { kind: "local-failure" } : { kind: "response", status: 200 },
        0,
      );
    }
  }
  made.onInterval(2000);
  assert.deepEqual(events, ["c out: failure_percentage_local_origin 30000"]);
});

test("onChecked() lets an endpoint back unless it is told not to", () => {
  for (const [isWanted, expected] of [
    [undefined, true],
    [true, true],
    [false, false],
  ] as const) {
    const fields = { ...all, consecutive5xx: 1 };
    const { made, fail } = detector(
      isWanted === undefined
        ? fields
        : { ...fields, successfulActiveHealthCheckUnejectHost: isWanted },
    );
    fail("a", 1);
    assert.equal(made.onChecked("a"), expected);
    assert.equal(made.isEjected("a"), !expected);
    assert.equal(made.onChecked("b"), false);
  }
});
