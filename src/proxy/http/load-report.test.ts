import assert from "node:assert/strict";
import { test } from "node:test";

import { OrcaLoadReport } from "../../wire/gen/ts/xds/data/orca/v3/orca_load_report.ts";
import { defaultHeadLimits, Http1Head } from "../../wire/http1-head.ts";
import { feedHead } from "../../wire/http1-parser.ts";
import { readLoadReport } from "./load-report.ts";

const binary = Buffer.from(
  OrcaLoadReport.encode(
    OrcaLoadReport.fromPartial({ cpuUtilization: 0.5, rpsFractional: 10 }),
  ).finish(),
).toString("base64");

function read(...lines: readonly string[]): Partial<OrcaLoadReport> | undefined {
  const head = new Http1Head();
  head.reset("response");
  const bytes = Buffer.from(
    `HTTP/1.1 200 OK\r\n${lines.map((line) => `${line}\r\n`).join("")}\r\n`,
  );
  feedHead(head, bytes, 0, defaultHeadLimits);
  const report = readLoadReport(head);
  if (report === undefined) return undefined;
  const { _unknownFields, rps, ...fields } = OrcaLoadReport.fromPartial(report);
  assert.equal(rps, 0n);
  const isSet = (value: number | object): boolean =>
    typeof value === "number" ? value !== 0 : Object.keys(value).length > 0;
  return Object.fromEntries(Object.entries(fields).filter(([, value]) => isSet(value)));
}

test("readLoadReport() reads what Envoy reads", () => {
  const plain = { cpuUtilization: 0.5, rpsFractional: 10 };
  assert.deepEqual(read(`endpoint-load-metrics-bin: ${binary}`), plain);
  assert.deepEqual(read(`endpoint-load-metrics: BIN ${binary}`), plain);
  assert.deepEqual(
    read("endpoint-load-metrics: TEXT cpu_utilization=0.5,rps_fractional=10"),
    plain,
  );
  assert.deepEqual(
    read("endpoint-load-metrics: TEXT cpu_utilization:0.5, rps_fractional: 10"),
    plain,
  );
  assert.deepEqual(
    read('endpoint-load-metrics: JSON {"cpu_utilization": 0.5, "rpsFractional": "10"}'),
    plain,
  );
  assert.deepEqual(read("endpoint-load-metrics: TEXT named_metrics.a.b=0.25,eps=1e1"), {
    namedMetrics: { "a.b": 0.25 },
    eps: 10,
  });
  assert.deepEqual(
    read('endpoint-load-metrics: JSON {"named_metrics": {"a": 1}, "utilization": {"d": 2}}'),
    { namedMetrics: { a: 1 }, utilization: { d: 2 } },
  );
});

test("readLoadReport() takes nothing from what cannot be read", () => {
  for (const value of [
    "",
    "cpu_utilization=0.5",
    "TEXT cpu_utilization",
    "TEXT cpu_utilization=",
    "TEXT cpu_utilization=NaN",
    "TEXT cpu_utilization=1,cpu_utilization=1",
    "TEXT cpu=1",
    "TEXT named_metrics.=1",
    'JSON {"cpu_utilization": true}',
    'JSON {"other": 1}',
    "JSON [1]",
    "JSON {",
    "BIN /w==",
  ]) {
    assert.equal(read(`endpoint-load-metrics: ${value}`), undefined, value);
  }
  assert.equal(read("server: x"), undefined);
});
