/**
 * Envoy's own series, by name and with Istio's tags, from either data plane: each is provoked by
 * traffic and read non-zero.
 */
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { eventually, meshModes, type TestMesh } from "./support/mesh.ts";
import { dataPlanes, drive, startMetricsMesh, type Step } from "./support/metrics-mesh.ts";
import { type Sample, scrape, total } from "./support/proxy-metrics.ts";

const host = "server.default.svc.cluster.local";
const clusterOf = (subset: string): string => `outbound|80|${subset}|${host}`;
const url = (path: string): string => `http://server${path}`;

/** Counters of a cluster at the client, after the steps; gauges are read while the steps go on. */
const provoked: readonly {
  readonly what: string;
  readonly cluster: string;
  readonly steps: readonly Step[];
  readonly counters?: readonly string[];
  readonly gauges?: readonly string[];
}[] = [
  {
    what: "requests",
    cluster: clusterOf(""),
    steps: [{ url: url("/status/200"), count: 20 }],
    counters: ["upstream_cx_total", "upstream_rq_total", "upstream_rq_time_count"],
    gauges: ["upstream_cx_active", "membership_healthy"],
  },
  {
    what: "a route's timeout",
    cluster: clusterOf(""),
    steps: [{ url: url("/late?ms=5000") }],
    counters: ["upstream_rq_timeout"],
  },
  {
    what: "an endpoint that refuses",
    cluster: "outbound|80||nobody.example",
    steps: [{ url: "http://nobody.example/", count: 2 }],
    counters: ["upstream_cx_connect_fail"],
  },
  {
    what: "more requests than a connection pool takes",
    cluster: clusterOf("narrow"),
    // The first opens the connection: refusals are faster than its handshake, and would be all there is.
    steps: [{ url: url("/narrow/x") }, { url: url("/narrow/x?ms=400"), count: 24, concurrency: 6 }],
    counters: ["upstream_cx_overflow", "upstream_rq_pending_overflow"],
    gauges: [
      "circuit_breakers_default_cx_open",
      "circuit_breakers_default_rq_open",
      "circuit_breakers_default_rq_pending_open",
    ],
  },
  {
    what: "retries that help",
    cluster: clusterOf("again"),
    steps: [{ url: url("/again/turns"), count: 4 }],
    counters: ["upstream_rq_retry", "upstream_rq_retry_success"],
  },
  {
    what: "more retries at once than are allowed",
    cluster: clusterOf("again"),
    steps: [{ url: url("/again/status/503?ms=200"), count: 24, concurrency: 6 }],
    counters: ["upstream_rq_retry_overflow"],
    gauges: ["circuit_breakers_default_rq_retry_open"],
  },
  {
    what: "an endpoint that fails again and again",
    cluster: clusterOf("flaky"),
    steps: [{ url: url("/flaky/status/500"), count: 6 }],
    counters: ["outlier_detection_ejections_enforced_total"],
    gauges: ["outlier_detection_ejections_active"],
  },
];

for (const mode of meshModes) {
  for (const dataPlane of dataPlanes) {
    describe(`Envoy's series, ${mode}, ${dataPlane}`, () => {
      let mesh: TestMesh;
      before(async () => {
        mesh = await startMetricsMesh({ mode, dataPlane });
      });
      after(async () => {
        await mesh.stop();
      });

      for (const { what, cluster, steps, counters = [], gauges = [] } of provoked) {
        test(`${what}: ${[...counters, ...gauges].join(", ")}`, async () => {
          const labels = { cluster_name: cluster };
          const seen = new Set<string>();
          const look = (samples: readonly Sample[]): void => {
            for (const name of [...counters, ...gauges]) {
              if (total(samples, `envoy_cluster_${name}`, labels) > 0) seen.add(name);
            }
          };
          const isSeen = async (): Promise<boolean> => {
            look(await scrape(mesh, { name: "client-0" }));
            return seen.size === counters.length + gauges.length;
          };
          // A gauge tells of a moment: the steps go on until it was read in theirs.
          const endMs = performance.now() + 30_000;
          do {
            let isDriven = false;
            const driven = drive(mesh, steps).finally(() => (isDriven = true));
            while (!isDriven) await isSeen();
            await driven;
          } while (!(await isSeen()) && gauges.length > 0 && performance.now() < endMs);
          await eventually("all are counted", isSeen).catch(() => {});
          assert.deepEqual([...seen].toSorted(), [...counters, ...gauges].toSorted());
        });
      }

      test("the server's side: requests, TLS handshakes and memory", async () => {
        const samples = await scrape(mesh, { name: "server-0" });
        for (const name of [
          "envoy_http_downstream_rq_total",
          "envoy_listener_ssl_handshake",
          "envoy_server_memory_allocated",
          "envoy_server_memory_heap_size",
          "envoy_server_memory_physical_size",
        ]) {
          assert(total(samples, name) > 0, name);
        }
        const tagged = samples.find((one) => one.name === "envoy_http_downstream_rq_total");
        assert.notEqual(tagged?.labels["http_conn_manager_prefix"], undefined);
        const listener = samples.find((one) => one.name === "envoy_listener_ssl_handshake");
        assert.notEqual(listener?.labels["listener_address"], undefined);
      });
    });
  }
}
