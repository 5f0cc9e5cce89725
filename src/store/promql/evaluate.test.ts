import assert from "node:assert/strict";
import { test } from "node:test";
import { HeddleError } from "../../base/error.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { embeddedMetrics } from "../embedded-metrics.ts";
import { labelSetOf } from "../label-set.ts";
import { defaultMetricsStoreOptions, MetricsStore } from "../metrics-store.ts";

const stepMs = 10_000;
const endMs = 600_000;

/** Series by text; the value at step i (every 10 s) is a function of i, undefined leaves it out. */
type Load = Readonly<Record<string, (step: number) => number | undefined>>;

const shop: Load = {
  'requests{from="a",to="b",code="200"}': (i) => i * 100,
  'requests{from="a",to="b",code="503"}': (i) => i * 10,
  'requests{from="a",to="c",code="200"}': (i) => i * 50,
  "resets{}": (i) => (i < 30 ? i * 10 : (i - 30) * 10),
  'size{unit="b"}': () => 7,
  idle: () => 5,
  ended: (i) => (i < 55 ? 1 : undefined),
  'latency_bucket{le="10"}': (i) => i * 5,
  'latency_bucket{le="20"}': (i) => i * 9,
  'latency_bucket{le="+Inf"}': (i) => i * 10,
};

function source(load: Load): ReturnType<typeof embeddedMetrics> {
  const store = new MetricsStore(defaultMetricsStoreOptions, createMetricRegistry());
  store.addTarget("t", labelSetOf([]));
  for (let step = 0; step * stepMs <= endMs; step++) {
    const lines = Object.entries(load).flatMap(([series, value]) => {
      const found = value(step);
      return found === undefined ? [] : [`${series} ${found}`];
    });
    store.ingest("t", lines.join("\n"), step * stepMs);
  }
  return embeddedMetrics(store);
}

const metrics = source(shop);

async function check(expr: string, expected: Readonly<Record<string, number>>): Promise<void> {
  const result = await metrics.query(expr, endMs);
  const found =
    result.kind === "scalar"
      ? [["", result.value] as const]
      : result.samples.map(({ labels, value }) => [formatLabels(labels), value] as const);
  assert.deepEqual(found.map(([key]) => key).toSorted(), Object.keys(expected).toSorted(), expr);
  for (const [key, value] of found) {
    const wanted = expected[key] ?? Number.NaN;
    const isClose = Object.is(value, wanted) || Math.abs(value - wanted) <= 1e-9 * Math.abs(wanted);
    assert.ok(isClose, `${expr}: ${key} is ${value}, expected ${wanted}`);
  }
}

async function checkError(expr: string, code: string, message: RegExp): Promise<void> {
  await assert.rejects(metrics.query(expr, endMs), (error: unknown) => {
    assert.ok(error instanceof HeddleError, String(error));
    assert.equal(error.code, code, error.message);
    assert.match(error.message, message);
    return true;
  });
}

function formatLabels(labels: Readonly<Record<string, string>>): string {
  return Object.entries(labels)
    .map(([name, value]) => `${name}=${value}`)
    .join(" ");
}

test("query() selects by matchers", async () => {
  await check("idle", { "__name__=idle": 5 });
  await check('requests{code=~"5..|4.."}', { "__name__=requests code=503 from=a to=b": 600 });
  await check('requests{code!="200",absent=""}', { "__name__=requests code=503 from=a to=b": 600 });
  await check('{__name__=~"id.*"}', { "__name__=idle": 5 });
  await check("nothing", {});
  await check("ended", {});
});

test("query() gives rates as Prometheus does", async () => {
  await check('rate(requests{to="c"}[1m])', { "code=200 from=a to=c": 5 });
  await check('increase(requests{to="c"}[1m])', { "code=200 from=a to=c": 300 });
  await check('irate(requests{to="c"}[1m])', { "code=200 from=a to=c": 5 });
  // 10 to 290, then from 0 to 300, over 590 of the 600 seconds.
  await check("increase(resets[10m])", { "": 580 * (600 / 590) });
  await check("rate(idle[1m])", { "": 0 });
  await check("rate(ended[10s])", {});
});

test("query() folds over time", async () => {
  await check("avg_over_time(idle[1m])", { "": 5 });
  await check("count_over_time(idle[1m])", { "": 6 });
  await check("last_over_time(idle[1m])", { "__name__=idle": 5 });
  await check('max_over_time(requests{to="c"}[1m])', { "code=200 from=a to=c": 3000 });
  await check("sum_over_time(size[30s])", { "unit=b": 21 });
});

test("query() aggregates by and without labels", async () => {
  await check("sum(rate(requests[1m]))", { "": 16 });
  await check("sum by (to) (rate(requests[1m]))", { "to=b": 11, "to=c": 5 });
  await check("sum(rate(requests[1m])) without (code)", { "from=a to=b": 11, "from=a to=c": 5 });
  await check("count(requests)", { "": 3 });
  await check("avg by (from) (requests)", { "from=a": (6000 + 600 + 3000) / 3 });
  await check("max(requests) - min(requests)", { "": 5400 });
});

test("query() calculates, compares and matches", async () => {
  await check("1 + 2 * 3 ^ 2 ^ 0 - -1", { "": 8 });
  await check("-2 ^ 2", { "": -4 });
  await check("5 > bool 3", { "": 1 });
  await check("idle * 2", { "": 10 });
  await check("2 * idle > 9", { "": 10 });
  await check("idle > 9", {});
  await check("10 > idle", { "__name__=idle": 5 });
  await check("idle > bool 9", { "": 0 });
  await check('sum by (to) (requests{code="503"}) / sum by (to) (requests)', {
    "to=b": 600 / 6600,
  });
  await check('requests{code="503"} / ignoring(code) requests{code="200"}', { "from=a to=b": 0.1 });
  await check('requests{code="503"} / on(to) requests{code="200"}', { "to=b": 0.1 });
  await check("idle or nothing or size", { "__name__=idle": 5, "__name__=size unit=b": 7 });
  await check("sum(nothing) or vector(0)", { "": 0 });
  await check('requests and on(to) requests{code="503"}', {
    "__name__=requests code=200 from=a to=b": 6000,
    "__name__=requests code=503 from=a to=b": 600,
  });
  await check('requests unless on(to) requests{code="503"}', {
    "__name__=requests code=200 from=a to=c": 3000,
  });
});

test("query() knows the small functions", async () => {
  await check("round(idle * 0.123, 0.1)", { "": 0.6 });
  await check("clamp_min(idle, 9)", { "": 9 });
  await check("scalar(idle) + 1", { "": 6 });
  await check("time()", { "": 600 });
  await check('label_join(size, "both", "-", "unit", "unit")', {
    "__name__=size both=b-b unit=b": 7,
  });
});

test("query() interpolates quantiles within buckets", async () => {
  await check("histogram_quantile(0.5, rate(latency_bucket[1m]))", { "": 10 });
  await check("histogram_quantile(0.7, sum by (le) (rate(latency_bucket[1m])))", { "": 15 });
  await check("histogram_quantile(0.99, rate(latency_bucket[1m]))", { "": 20 });
  await check("histogram_quantile(2, rate(latency_bucket[1m]))", { "": Infinity });
  await check("histogram_quantile(0.5, idle)", {});
});

test("query() names the place of what it cannot answer", async () => {
  await checkError("sum(", "promql.parse", /^1:5: the query ends too early/);
  await checkError("a offset 5m", "promql.parse", /^1:3: offset is not supported/);
  await checkError("a\n  + rate(b[5m:1m])", "promql.parse", /^2:14: subqueries/);
  await checkError("a @ 5", "promql.parse", /^1:3: @ is not supported/);
  await checkError("deriv(a[5m])", "promql.parse", /^1:1: function deriv is not known/);
  await checkError("rate(a)", "promql.parse", /^1:6: rate takes a range/);
  await checkError("a[5m]", "promql.execution", /^1:1: a range is no result/);
  await checkError("sum(a[5m])", "promql.parse", /^1:5: a range cannot stand here/);
  await checkError('a{b=~"("}', "promql.parse", /^1:6: not a regular expression/);
  await checkError("{}", "promql.parse", /^1:1: a selector needs/);
  await checkError('{a=~".*"}', "promql.parse", /^1:1: a selector needs/);
  await checkError("a * on(b) group_left c", "promql.parse", /group_left is not supported/);
  await checkError("1 == 1", "promql.execution", /needs bool/);
  await checkError("requests / on(from) requests", "promql.execution", /several series match/);
  await checkError(
    'rate({__name__=~"size|idle|requests",to=~"b?"}[1m]) or constructor(1)',
    "promql.parse",
    /constructor/,
  );
  await checkError(`${"(".repeat(100)}1`, "promql.parse", /nested too deep/);
});

test("queryRange() answers every step, with gaps where there is nothing", async () => {
  const [ended] = await metrics.queryRange("ended", {
    startMs: 500_000,
    endMs: 600_000,
    stepMs: 20_000,
  });
  assert.deepEqual(ended?.timesMs, [500_000, 520_000, 540_000]);
  const [rate] = await metrics.queryRange("sum(rate(requests[1m]))", {
    startMs: 300_000,
    endMs: 600_000,
    stepMs: 100_000,
  });
  assert.deepEqual(
    rate?.values.map((value) => Math.round(value * 1e6) / 1e6),
    [16, 16, 16, 16],
  );
});
