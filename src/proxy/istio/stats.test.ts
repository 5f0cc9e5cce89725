import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { type Fields, message } from "../../../test/support/message.ts";
import { requestRecord } from "../../../test/support/request-record.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import { PluginConfig } from "../../wire/gen/ts/envoy/extensions/stats/config.ts";
import { compileIstioStats } from "./stats.ts";

type ConfigFields = Fields<PluginConfig>;

function statsOf(fields: ConfigFields) {
  const clock = new FakeClock();
  const metrics = createMetricRegistry();
  const bytes = PluginConfig.encode(message(PluginConfig, fields)).finish();
  const node = { WORKLOAD_NAME: "cart", NAMESPACE: "shop" };
  const sink = compileIstioStats(bytes, "", { clock, metrics, node, direction: "outbound" });
  return { clock, metrics, sink };
}

/** Labels of the only series of a metric; undefined where nothing was counted. */
function labelsAfter(
  fields: ConfigFields,
  { metric, record }: { readonly metric: string; readonly record: RequestRecord },
): Readonly<Record<string, string>> | undefined {
  const { metrics, sink } = statsOf(fields);
  sink.onEnd(record);
  const lines = metrics.expose().split("\n");
  const [line] = lines.filter((one) => one.startsWith(`${metric}{`));
  if (line === undefined) return undefined;
  const pairs = [...line.matchAll(/(\w+)="([^"]*)"/g)].map(([, name = "", value = ""]) => [
    name,
    value,
  ]);
  return Object.fromEntries(pairs);
}

const requests = "istio_requests_total";
const bytes = "istio_request_bytes_count";

test("compileIstioStats() changes, adds and removes labels of the metrics that are named", () => {
  const record = requestRecord({ path: "/items?q=1" }, { "x-tenant": "north" });
  const cases: readonly [ConfigFields["metrics"], string, Readonly<Record<string, string>>][] = [
    [[{ dimensions: { tenant: "request.headers['x-tenant']" } }], requests, { tenant: "north" }],
    [[{ dimensions: { tenant: "request.headers['x-tenant']" } }], bytes, { tenant: "north" }],
    [[{ dimensions: { port: "string(destination.port)" } }], requests, { port: "80" }],
    [[{ dimensions: { response_code: '"all"' } }], requests, { response_code: "all" }],
    // What an expression fails for is unknown, as in Envoy.
    [[{ dimensions: { none: "request.headers['x-none']" } }], requests, { none: "unknown" }],
    // A name that Prometheus does not take is written as Envoy writes it.
    [[{ dimensions: { "url.path": "request.url_path" } }], requests, { url_path: "/items" }],
    [[{ name: "requests_total", dimensions: { a: "'b'" } }], requests, { a: "b" }],
    // The later entry wins.
    [
      [{ dimensions: { a: "'first'" } }, { name: "requests_total", dimensions: { a: "'second'" } }],
      requests,
      { a: "second" },
    ],
  ];
  for (const [metrics = [], metric, expected] of cases) {
    assert.partialDeepStrictEqual(labelsAfter({ metrics }, { metric, record }), expected);
  }
  const named = [{ name: "requests_total", dimensions: { a: "'b'" }, tagsToRemove: ["reporter"] }];
  const others = labelsAfter({ metrics: named }, { metric: bytes, record });
  assert.equal(others?.["a"], undefined);
  assert.equal(others?.["reporter"], "source");
  const changed = labelsAfter({ metrics: named }, { metric: requests, record });
  assert.equal(changed?.["reporter"], undefined);
  assert.equal(changed?.["source_workload"], "cart");
});

test("compileIstioStats() does not count what is dropped", () => {
  const metrics = [
    { name: "requests_total", drop: true },
    { name: "of_another", drop: true },
  ];
  const record = requestRecord();
  assert.equal(labelsAfter({ metrics }, { metric: requests, record }), undefined);
  assert.notEqual(labelsAfter({ metrics }, { metric: bytes, record }), undefined);
});

test("compileIstioStats() refuses by name what it would not do", () => {
  const cases: readonly [ConfigFields, RegExp][] = [
    [{ metrics: [{ dimensions: { a: "request.nothing" } }] }, /metrics\[0\]\.dimensions\[a\]/],
    [{ metrics: [{ dimensions: { a: "1 +" } }] }, /metrics\[0\]\.dimensions\[a\]/],
    [{ metrics: [{ name: "mine", tagsToRemove: ["a"] }] }, /metrics\[0\]\.name/],
    [{ metrics: [{ drop: true }] }, /metrics\[0\]\.drop/],
    [{ metrics: [{ match: "true" }] }, /metrics\[0\]\.match/],
    [{ definitions: [{ name: "mine", value: "1" }] }, /definitions/],
    [{ reporter: 1 }, /reporter/],
  ];
  for (const [fields, pattern] of cases) {
    assert.throws(() => statsOf(fields), { code: "xds.refused", message: pattern });
  }
  const dimensions = Object.fromEntries(Array.from({ length: 101 }, (_, i) => [`a${i}`, `"${i}"`]));
  assert.throws(() => statsOf({ metrics: [{ dimensions }] }), /more than 100 expressions/);
});

function bytesOfTcp(text: string): string | undefined {
  return /^istio_tcp_received_bytes_total\{.*\} (\d+)$/m.exec(text)?.[1];
}

test("compileIstioStats() tells bytes of a connection while it lives, as often as it is told to", () => {
  const check = (
    tcpReportingDuration: ConfigFields["tcpReportingDuration"],
    received: readonly number[],
    expected: readonly (string | undefined)[],
  ): void => {
    const { clock, metrics, sink } = statsOf({ tcpReportingDuration });
    const record = requestRecord({ kind: "tcp", startMonotonicMs: clock.monotonicMs() });
    record.bytesReceived = 0;
    record.bytesSent = 0;
    const seen = received.map((bytesReceived) => {
      // Timers may be early.
      clock.advance(4_999);
      record.bytesReceived = bytesReceived;
      sink.onProgress?.(record);
      return bytesOfTcp(metrics.expose());
    });
    assert.deepEqual(seen, expected);
    sink.onEnd(record);
    assert.equal(bytesOfTcp(metrics.expose()), String(received.at(-1)));
    assert.match(metrics.expose(), /^istio_tcp_connections_opened_total\{.*\} 1$/m);
  };
  check(undefined, [10, 20, 30], ["10", "20", "30"]);
  check({ seconds: 10n, nanos: 0 }, [10, 20, 30], [undefined, "20", "20"]);
  // What came before is told when it is due, whether or not more has come.
  check({ seconds: 10n, nanos: 0 }, [10, 10, 30], [undefined, "10", "10"]);
  check({ seconds: 0n, nanos: 0 }, [10, 20, 30], [undefined, undefined, undefined]);
  check(undefined, [0, 0, 10], [undefined, undefined, "10"]);
});

test("compileIstioStats() refuses labels that Prometheus has for itself", () => {
  for (const label of ["le", "__name__", "--name"]) {
    const metrics = [{ dimensions: { [label]: '"x"' } }];
    const message = `metrics[0].dimensions[${label}]: is a label that Prometheus keeps for itself`;
    assert.throws(() => statsOf({ metrics }), { code: "xds.refused", message });
  }
});
