import assert from "node:assert/strict";
import { test } from "node:test";
import { FakeClock } from "../../test/support/fake-clock.ts";
import { silentLog } from "../../test/support/silent-log.ts";
import { createMetricRegistry } from "../telemetry/metric-registry.ts";
import { embeddedMetrics } from "./embedded-metrics.ts";
import { defaultMetricsStoreOptions, MetricsStore } from "./metrics-store.ts";
import { createScraper, type Scraper } from "./scraper.ts";

interface World {
  readonly clock: FakeClock;
  readonly scraper: Scraper;
  readonly answers: Map<string, string>;
  readonly value: (expr: string) => Promise<number | undefined>;
}

function world(): World {
  const clock = new FakeClock();
  const store = new MetricsStore(defaultMetricsStoreOptions, createMetricRegistry());
  const answers = new Map([["http://a/metrics", "x 1"]]);
  const scraper = createScraper({
    store,
    clock,
    log: silentLog,
    intervalMs: 2000,
    timeoutMs: 1000,
    targets: () => [...answers.keys()].map((url) => ({ url, labels: { instance: url } })),
    request: async ({ url }) => {
      const text = answers.get(url) ?? "";
      if (text === "refused") throw new Error("connection refused");
      return { status: 200, contentType: "text/plain", text };
    },
  });
  const value = async (expr: string): Promise<number | undefined> => {
    const result = await embeddedMetrics(store).query(expr, clock.nowMs());
    return result.kind === "vector" ? result.samples[0]?.value : result.value;
  };
  return { clock, scraper, answers, value };
}

test("createScraper() stores what targets answer and follows them", async () => {
  const { clock, scraper, answers, value } = world();
  await scraper.scrapeOnce();
  assert.equal(await value("x"), 1);
  answers.clear();
  answers.set("http://b/metrics", "x 2");
  clock.advance(2000);
  await scraper.scrapeOnce();
  assert.equal(await value("sum(x)"), 2);
  assert.deepEqual(scraper.health(), { targets: 1, targetsUp: 1, staleMs: 0, failures: {} });
});

test("createScraper() says which targets are down and why", async () => {
  const { clock, scraper, answers, value } = world();
  await scraper.scrapeOnce();
  answers.set("http://a/metrics", "refused");
  clock.advance(2000);
  await scraper.scrapeOnce();
  assert.equal(await value("up"), 0);
  assert.equal(await value("x"), undefined);
  answers.set("http://a/metrics", "x one");
  clock.advance(2000);
  await scraper.scrapeOnce();
  assert.deepEqual(scraper.health(), {
    targets: 1,
    targetsUp: 0,
    staleMs: 4000,
    failures: { "http://a/metrics": "line 1: not a number" },
  });
});
