import assert from "node:assert/strict";
import { test } from "node:test";

import { type Fields, message } from "../../../test/support/message.ts";
import { ClientSideWeightedRoundRobin } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin.ts";
import { OrcaLoadReport } from "../../wire/gen/ts/xds/data/orca/v3/orca_load_report.ts";
import {
  compileLoadWeights,
  type LoadWeights,
  ReportedWeight,
  settleWeights,
  weightOf,
} from "./load-weights.ts";

type Config = Fields<ClientSideWeightedRoundRobin>;
const rulesOf = (config: Config): LoadWeights =>
  compileLoadWeights(message(ClientSideWeightedRoundRobin, config), "p");

test("weightOf() is requests per second by the share of itself that an endpoint uses for them", () => {
  const check = (report: Fields<OrcaLoadReport>, config: Config, expected: number | undefined) =>
    assert.equal(weightOf(message(OrcaLoadReport, report), rulesOf(config)), expected);
  const all = { applicationUtilization: 0.5, cpuUtilization: 0.25, rpsFractional: 100 };
  check(all, {}, 200);
  check({ ...all, applicationUtilization: 0 }, {}, 400);
  check({ cpuUtilization: 0.5 }, {}, undefined);
  check({ rpsFractional: 100 }, {}, undefined);
  check({ rpsFractional: 1e300, cpuUtilization: 0.1 }, {}, 4_294_967_295);
  check({ rpsFractional: 10, cpuUtilization: 0.3 }, {}, 33);
  const metrics = { metricNamesForComputingUtilization: ["named_metrics.queue", "utilization.*"] };
  const named = { rpsFractional: 100, cpuUtilization: 0.1, namedMetrics: { queue: 0.25 } };
  check(named, metrics, 400);
  check({ ...named, utilization: { disk: 0.5, net: 0.2 } }, metrics, 200);
  check({ ...named, namedMetrics: {} }, metrics, 1000);
  check(named, { metricNamesForComputingUtilization: ["named_metrics.toString"] }, 1000);
  // Half of them fail: 0.5 + 2 × 0.5.
  check({ ...all, eps: 50 }, { errorUtilizationPenalty: 2 }, 66);
});

test("compileLoadWeights() has Envoy's defaults, and refuses what would not be done", () => {
  assert.deepEqual(rulesOf({}), {
    blackoutMs: 10_000,
    expiryMs: 180_000,
    updateMs: 1000,
    errorPenalty: 0,
    metrics: [],
  });
  assert.equal(rulesOf({ weightUpdatePeriod: { seconds: 0n, nanos: 1_000_000 } }).updateMs, 100);
  assert.throws(() => rulesOf({ enableOobLoadReport: true }), /p\.enable_oob_load_report/);
  assert.throws(() => rulesOf({ errorUtilizationPenalty: -1 }), /p\.error_utilization_penalty/);
});

test("ReportedWeight counts after its blackout, until its reports are too old, and then begins anew", () => {
  const rules = { ...rulesOf({}), blackoutMs: 100, expiryMs: 1000 };
  const reported = new ReportedWeight();
  assert.equal(reported.validAt(0, rules), undefined);
  reported.set(5, 0);
  assert.equal(reported.validAt(99, rules), undefined);
  assert.equal(reported.validAt(100, rules), 5);
  reported.set(7, 500);
  assert.equal(reported.validAt(1500, rules), 7);
  assert.equal(reported.validAt(1501, rules), undefined);
  reported.set(9, 2000);
  assert.equal(reported.validAt(2050, rules), undefined);
  assert.equal(reported.validAt(2100, rules), 9);
});

test("settleWeights() gives those that report nothing the weight in the middle", () => {
  assert.deepEqual(settleWeights([10, undefined, 30, 20]), [10, 20, 30, 20]);
  assert.deepEqual(settleWeights([10, 40, undefined]), [10, 40, 40]);
  assert.deepEqual(settleWeights([undefined, undefined]), [1, 1]);
  assert.deepEqual(settleWeights([0, 5]), [1, 5]);
});
