/**
 * The console over a Prometheus of the user's own: the same figures as from the embedded store, and a
 * sentence instead of a wait when it does not answer. The peer here speaks Prometheus's API over our
 * store; `docs/observability.md` says what was tried with the real one.
 */
import assert from "node:assert/strict";
import { createServer, type Server } from "node:http";
import { after, before, test } from "node:test";

import { systemClock } from "../../src/base/clock.ts";
import { createViews, type Views } from "../../src/console/views.ts";
import { requestByService } from "../../src/control/service-request.ts";
import { requestHttp } from "../../src/net/http-request.ts";
import { startMeshMetrics } from "../../src/store/mesh-metrics.ts";
import { answerPrometheus } from "../../src/store/prometheus-api.ts";
import { createMetricRegistry } from "../../src/telemetry/metric-registry.ts";
import { fakeControlPlane } from "../browser/support/fake-control-plane.ts";
import { seedMetrics, seedStepMs, shopSnapshot } from "../browser/support/seed.ts";
import { silentLog } from "../support/silent-log.ts";

const nowMs = Date.now();
const seeded = seedMetrics(nowMs, 600_000);
const asked = { hosts: new Set<string>(), count: 0 };
let mood: "answers" | "silent" | "wrong" = "answers";
let server: Server;
let port = 0;

before(async () => {
  server = createServer((request, response) => {
    asked.count++;
    asked.hosts.add(request.headers.host ?? "");
    if (mood === "silent") return;
    if (mood === "wrong") {
      response.end("<html>a login page</html>");
      return;
    }
    const url = new URL(request.url ?? "/", "http://prometheus");
    const api = {
      source: seeded.source,
      version: "3.0.0",
      scrapeIntervalMs: seedStepMs,
      retentionMs: 3_600_000,
      startedAtMs: nowMs,
      nowMs: () => nowMs,
    };
    const path = url.pathname.replace("/prefix/api/v1/", "");
    void answerPrometheus(api, path, url.searchParams).then((answer) => {
      response.writeHead(answer?.status ?? 404, { "content-type": "application/json" });
      response.end(JSON.stringify(answer?.body ?? {}));
    });
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  port = address !== null && typeof address === "object" ? address.port : 0;
});
after(() => {
  server.closeAllConnections();
  server.close();
});

/** Time passes between two questions, as it does between two turns of the live view. */
const clock = { ...systemClock, nowMs: () => nowMs, passedMs: 0 };
const passing = { ...clock, monotonicMs: () => systemClock.monotonicMs() + clock.passedMs };

async function withViews(
  prometheusUrl: string | undefined,
  check: (views: Views) => Promise<void>,
): Promise<void> {
  const workloads = shopSnapshot();
  const metrics = startMeshMetrics({
    targets: () => [],
    request: requestHttp,
    requestPrometheus: requestByService(requestHttp, () => ({
      ...workloads,
      services: [
        {
          name: "prometheus",
          namespace: "monitoring",
          addresses: [],
          ports: [{ name: "http", port: 9090, targetPort: port, protocol: "http" }],
          selector: { app: "prometheus" },
        },
      ],
      instances: workloads.instances.slice(0, 1).map((one) => ({
        ...one,
        namespace: "monitoring",
        labels: { app: "prometheus" },
        addresses: ["127.0.0.1"],
        state: "ready" as const,
      })),
    })),
    clock: passing,
    log: silentLog,
    metrics: createMetricRegistry(),
  });
  try {
    metrics.use(prometheusUrl);
    await check(
      createViews({
        mesh: "shop",
        version: "0",
        controlPlane: fakeControlPlane({ workloads, problems: [], resources: [], proxies: [] }),
        metrics: prometheusUrl === undefined ? seeded : metrics,
        clock: { ...passing, nowMs: () => nowMs + clock.passedMs / 1e6 },
        consoleAddress: () => undefined,
        limitations: () => [],
      }),
    );
  } finally {
    metrics.close();
  }
}

for (const [what, urlOf] of [
  ["at an address", () => `http://127.0.0.1:${port}/prefix`],
  ["that is a service of the mesh", () => "http://prometheus.monitoring:9090/prefix/"],
] as const) {
  test(`the console shows the same from a Prometheus ${what} as from its own store`, async () => {
    mood = "answers";
    const [own, external] = await Promise.all(
      [undefined, urlOf()].map(async (url) => {
        const found: unknown[] = [];
        await withViews(url, async (views) => {
          const { edges } = await views.graph(60_000);
          const { charts } = await views.service("default", "catalog", 300_000);
          const status = await views.status(60_000);
          found.push(
            edges,
            charts.map(({ title }) => title),
            status.sentence,
          );
          if (url !== undefined) assert.equal(status.metrics.source, url);
        });
        return found;
      }),
    );
    assert.deepEqual(external, own);
    assert.equal(asked.hosts.has("prometheus.monitoring:9090"), what.includes("service"));
  });
}

for (const [state, reason] of [
  ["silent", /^Prometheus at http:\S+ does not answer: no answer in 4000 ms$/],
  ["wrong", /^Prometheus at http:\S+ does not answer: /],
] as const) {
  test(`a Prometheus that is ${state} is said to be, at once the second time, and comes back`, async () => {
    mood = state;
    await withViews(`http://127.0.0.1:${port}/prefix`, async (views) => {
      const first = await views.status(60_000);
      assert.match(first.metrics.failure ?? "", reason);
      assert.match(first.sentence, /^10 services, no figures/);
      const { count } = asked;
      clock.passedMs += 1;
      const graph = await views.graph(30_000);
      assert.match(graph.emptyReason ?? "", reason);
      assert.equal(graph.nodes.length, 12, "what runs is known without figures");
      await assert.rejects(views.service("default", "catalog", 300_000), {
        code: "metrics.unreachable",
      });
      assert.equal(asked.count, count, "nobody was asked again so soon");
      mood = "answers";
      clock.passedMs += 5000;
      assert.equal((await views.status(45_000)).metrics.failure, undefined);
    });
  });
}
