import assert from "node:assert/strict";
import { test } from "node:test";
import { HeddleError } from "../base/error.ts";
import { createMetricRegistry } from "../telemetry/metric-registry.ts";
import { embeddedMetrics } from "./embedded-metrics.ts";
import type { MetricsSource } from "./metrics-source.ts";
import { defaultMetricsStoreOptions, MetricsStore } from "./metrics-store.ts";
import { answerPrometheus, type PrometheusApi } from "./prometheus-api.ts";
import { prometheusMetrics } from "./prometheus-client.ts";

function seeded(): MetricsSource {
  const store = new MetricsStore(defaultMetricsStoreOptions, createMetricRegistry());
  for (let step = 0; step <= 6; step++) {
    store.ingest("t", `x{a="1"} ${step}\nx{a="2"} +Inf\ny NaN`, step * 10_000);
  }
  return embeddedMetrics(store);
}

function apiOver(source: MetricsSource): PrometheusApi {
  return {
    source,
    version: "1.2.3",
    scrapeIntervalMs: 2000,
    retentionMs: 3_600_000,
    startedAtMs: 0,
    nowMs: () => 60_000,
  };
}

async function check(path: string, query: string, status: number, body: object): Promise<void> {
  const answer = await answerPrometheus(apiOver(seeded()), path, new URLSearchParams(query));
  assert.deepEqual(answer, { status, body });
}

test("answerPrometheus() answers as Prometheus does", async () => {
  await check("query", 'query=x{a="1"}&time=60', 200, {
    status: "success",
    data: {
      resultType: "vector",
      result: [{ metric: { __name__: "x", a: "1", instance: "t" }, value: [60, "6"] }],
    },
  });
  await check("query", "query=1/0&time=1970-01-01T00:01:00Z", 200, {
    status: "success",
    data: { resultType: "scalar", result: [60, "+Inf"] },
  });
  await check("query_range", 'query=x{a="1"}&start=40&end=60&step=10s', 200, {
    status: "success",
    data: {
      resultType: "matrix",
      result: [
        {
          metric: { __name__: "x", a: "1", instance: "t" },
          values: [
            [40, "4"],
            [50, "5"],
            [60, "6"],
          ],
        },
      ],
    },
  });
  await check("label/a/values", "", 200, { status: "success", data: ["1", "2"] });
  await check("labels", "match[]=y", 200, { status: "success", data: ["__name__", "instance"] });
});

test("answerPrometheus() says what is wrong with a request", async () => {
  const parseError = {
    status: "error",
    errorType: "bad_data",
    error: "1:5: the query ends too early",
  };
  await check("query", "query=sum(", 400, parseError);
  await check("query", "", 400, {
    status: "error",
    errorType: "bad_data",
    error: "query is required",
  });
  await check("query_range", "query=x&start=0&end=1e9&step=1", 422, {
    status: "error",
    errorType: "execution",
    error: "1000000001 steps are more than 11000",
  });
  assert.equal(
    await answerPrometheus(apiOver(seeded()), "admin/tsdb/delete", new URLSearchParams()),
    undefined,
  );
});

function remote(): MetricsSource {
  const api = apiOver(seeded());
  return prometheusMetrics({
    url: "http://prometheus:9090/",
    timeoutMs: 1000,
    request: async ({ url }) => {
      const { pathname, searchParams } = new URL(url);
      const answer = await answerPrometheus(api, pathname.replace("/api/v1/", ""), searchParams);
      assert.ok(answer !== undefined);
      const text = JSON.stringify(answer.body);
      return { status: answer.status, contentType: "application/json", text };
    },
  });
}

test("prometheusMetrics() answers what the embedded store answers", async () => {
  const [near, far] = [seeded(), remote()];
  const range = { startMs: 0, endMs: 60_000, stepMs: 5000 };
  for (const expr of ["x", "rate(x[30s])", "sum(x)", "y", "1 + 1"]) {
    assert.deepEqual(await far.query(expr, 60_000), await near.query(expr, 60_000), expr);
    assert.deepEqual(await far.queryRange(expr, range), await near.queryRange(expr, range), expr);
  }
  assert.deepEqual(await far.series(["x", "y"]), await near.series(["x", "y"]));
  assert.deepEqual(await far.labelValues("a", []), ["1", "2"]);
});

test("prometheusMetrics() keeps the codes of errors, and names what did not answer", async () => {
  const hasCode = (code: string) => (error: unknown) =>
    error instanceof HeddleError && error.code === code;
  await assert.rejects(remote().query("sum(", 0), hasCode("promql.parse"));
  const other = prometheusMetrics({
    url: "http://other",
    timeoutMs: 1000,
    request: async () => ({ status: 200, contentType: "text/html", text: "<html>" }),
  });
  await assert.rejects(other.query("x", 0), hasCode("metrics.unreachable"));
});
