/**
 * Istio's standard metrics through whole meshes: the same traffic through Heddle's proxy and through
 * Envoy gives the same series with the same 25 labels and the same counts, at both ends; and what the
 * source counted, the destination counted.
 */
import assert from "node:assert/strict";
import { before, describe, test } from "node:test";

import { capturingModes, type MeshMode, meshModes, type TestMesh } from "./support/mesh.ts";
import {
  dataPlanes,
  type DataPlane,
  drive,
  echoOf,
  startMetricsMesh,
  type Step,
} from "./support/metrics-mesh.ts";
import {
  ingressGateway,
  type Instance,
  type Sample,
  scrape,
  total,
  untilTotal,
} from "./support/proxy-metrics.ts";

const instances: readonly Instance[] = [
  { name: "client-0" },
  { name: "server-0" },
  { name: "plain-0" },
  ingressGateway,
];

const httpLabels = (
  "reporter source_workload source_workload_namespace source_principal source_app source_version " +
  "source_canonical_service source_canonical_revision source_cluster destination_workload " +
  "destination_workload_namespace destination_principal destination_app destination_version " +
  "destination_service destination_service_name destination_service_namespace " +
  "destination_canonical_service destination_canonical_revision destination_cluster " +
  "request_protocol response_flags connection_security_policy response_code grpc_response_status"
)
  .split(" ")
  .toSorted();
const tcpLabels = httpLabels.filter(
  (name) => name !== "response_code" && name !== "grpc_response_status",
);

const httpMetrics = [
  "istio_requests_total",
  "istio_request_duration_milliseconds_count",
  "istio_request_bytes_count",
  "istio_response_bytes_count",
];
const grpcMetrics = ["istio_request_messages_total", "istio_response_messages_total"];
const tcpMetrics = [
  "istio_tcp_connections_opened_total",
  "istio_tcp_connections_closed_total",
  "istio_tcp_received_bytes_total",
  "istio_tcp_sent_bytes_total",
];

const grpcHeaders = { "content-type": "application/grpc", te: "trailers" };

const requests = 10_000;
const portion = 500; // what one script has the time to send
/** Counting so many says nothing new about another mode. */
const floodMode = capturingModes[0];

interface Observed {
  readonly outcomes: Readonly<Record<string, number>>;
  readonly series: Readonly<Record<string, readonly Sample[]>>;
  readonly flood: Readonly<Record<string, readonly Sample[]>>;
}

function stepsFor(mesh: TestMesh): readonly Step[] {
  const server = "http://server";
  return [
    { url: `${server}/status/200?bytes=300`, count: 5 },
    { url: `${server}/status/200?bytes=20000`, method: "POST", bytes: 3000, count: 4 },
    { url: `${server}/status/404`, count: 3 },
    { url: `${server}/status/503`, count: 2 },
    { url: `${server}/broken`, count: 2 },
    { url: `${server}/direct`, count: 2 },
    { url: `${server}/late?ms=5000`, count: 2 },
    { url: `${server}/denied`, count: 2 },
    { url: "http://plain/status/500", count: 3 },
    { url: "http://empty/", count: 2 },
    { url: "http://nobody.example/", count: 2 },
    {
      url: `${server}/status/200`,
      method: "POST",
      headers: {
        ...grpcHeaders,
        "x-answer-grpc-status": "5",
        "x-answer-content-type": "application/grpc",
      },
      count: 2,
    },
    {
      url: `${server}/status/200?messages=3`,
      method: "POST",
      headers: {
        ...grpcHeaders,
        "x-answer-grpc-status": "0",
        "x-answer-content-type": "application/grpc+proto",
      },
      messages: 2,
      count: 4,
    },
    ...(mesh.mode === "explicit" ? [] : captured),
    { tcp: echoOf(mesh, "server"), bytes: 700, count: 3 },
    { tcp: echoOf(mesh, "plain"), bytes: 40_000, count: 2 },
  ];
}

/**
 * An undeclared port of the server's own address: the client's sidecar counts its bytes. The server's
 * adds `x-envoy-upstream-service-time` to the answers, which the delay keeps at three digits.
 */
const captured: readonly Step[] = [{ url: "http://198.18.0.3:31999/status/201?ms=300", count: 2 }];

async function observe(mode: MeshMode, dataPlane: DataPlane): Promise<Observed> {
  await using mesh = await startMetricsMesh({ mode, dataPlane });
  const outcomes = await drive(mesh, stepsFor(mesh));
  for (let i = 0; i < 3; i++) await (await fetch(`${mesh.gatewayUrls[0]}status/202`)).text();
  const series = await settled(mesh);
  if (mode !== floodMode) return { outcomes, series, flood: {} };
  const flood = { url: "http://server/flood?bytes=100", concurrency: 16, count: portion };
  for (let sent = 0; sent < requests; sent += portion) {
    assert.deepEqual(await drive(mesh, [flood]), { 200: portion });
  }
  const wanted = { name: "istio_requests_total", value: requests };
  for (const name of ["client-0", "server-0"]) {
    const start = total(series[name] ?? [], wanted.name);
    await untilTotal(mesh, { name }, { ...wanted, value: start + requests });
  }
  return { outcomes, series, flood: await settled(mesh) };
}

/** What each instance exposes once it no longer changes: Envoy merges histograms every second. */
async function settled(mesh: TestMesh): Promise<Record<string, readonly Sample[]>> {
  let last = "";
  for (;;) {
    const series: Record<string, readonly Sample[]> = {};
    for (const instance of instances) {
      const samples = await scrape(mesh, instance);
      series[instance.name] = samples.filter((one) => one.name.startsWith("istio_"));
    }
    const text = JSON.stringify(series);
    if (text === last) return series;
    last = text;
    await new Promise((resolve) => {
      setTimeout(resolve, 1500); // longer than Envoy's flush interval
    });
  }
}

/** `name{labels} value`, sorted; of the named metrics. */
function lines(samples: readonly Sample[], names: readonly string[]): readonly string[] {
  return samples
    .filter((one) => names.includes(one.name) && one.value !== 0)
    .map(({ name, labels, value }) => `${name}${labelText(labels)} ${value}`)
    .toSorted();
}

function labelText(labels: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(labels).toSorted(([left], [right]) => (left < right ? -1 : 1));
  return `{${pairs.map(([name, value]) => `${name}="${value}"`).join(",")}}`;
}

/** Only what one has and the other lacks: whole listings are too long to read. */
function assertSame(
  left: readonly string[],
  right: readonly string[],
  names: readonly [string, string],
): void {
  const onlyLeft = left
    .filter((line) => !right.includes(line))
    .map((line) => `${names[0]}: ${line}`);
  const onlyRight = right
    .filter((line) => !left.includes(line))
    .map((line) => `${names[1]}: ${line}`);
  assert.deepEqual([...onlyLeft, ...onlyRight].toSorted(), []);
}

for (const mode of meshModes) {
  describe(`standard metrics, ${mode}`, () => {
    const observed = new Map<DataPlane, Observed>();
    const of = (plane: DataPlane): Observed => {
      const one = observed.get(plane);
      assert(one !== undefined);
      return one;
    };

    before(async () => {
      for (const plane of dataPlanes) observed.set(plane, await observe(mode, plane));
    });

    test("both data planes let the same traffic through", () => {
      assert.deepEqual(of("heddle").outcomes, of("envoy").outcomes);
    });

    for (const { name } of instances) {
      test(`HTTP metrics of ${name} agree, label by label`, () => {
        const [ours, envoys] = dataPlanes.map((plane) =>
          lines(of(plane).series[name] ?? [], httpMetrics),
        );
        assertSame(ours ?? [], envoys ?? [], ["heddle", "envoy"]);
      });

      test(`TCP metrics of ${name} agree, label by label`, () => {
        const [ours, envoys] = dataPlanes.map((plane) =>
          lines(of(plane).series[name] ?? [], tcpMetrics),
        );
        assertSame(ours ?? [], envoys ?? [], ["heddle", "envoy"]);
      });

      test(`gRPC messages of ${name} agree, label by label`, () => {
        const [ours, envoys] = dataPlanes.map((plane) =>
          lines(of(plane).series[name] ?? [], grpcMetrics),
        );
        assertSame(ours ?? [], envoys ?? [], ["heddle", "envoy"]);
        if (name !== "client-0" && name !== "server-0") return;
        for (const [metric, messages] of [
          ["istio_request_messages_total", 8],
          ["istio_response_messages_total", 12],
        ] as const) {
          const labels = { request_protocol: "grpc", grpc_response_status: "0" };
          assert.equal(total(of("heddle").series[name] ?? [], metric, labels), messages, metric);
        }
      });

      test(`sizes in ${name}'s histograms agree, bucket by bucket`, () => {
        const sizes = ["istio_request_bytes_bucket", "istio_response_bytes_bucket"];
        const [ours, envoys] = dataPlanes.map((plane) =>
          lines(of(plane).series[name] ?? [], sizes),
        );
        assertSame(ours ?? [], envoys ?? [], ["heddle", "envoy"]);
      });
    }

    for (const plane of dataPlanes) {
      test(`every series of ${plane} has Istio's labels, none more and none less`, () => {
        for (const samples of Object.values(of(plane).series)) {
          for (const { name, labels } of samples) {
            const wanted = name.startsWith("istio_tcp_") ? tcpLabels : httpLabels;
            const given = Object.keys(labels).filter((label) => label !== "le");
            assert.deepEqual(given.toSorted(), wanted, `${plane} ${name}`);
          }
        }
      });

      if (mode !== floodMode) continue;
      test(`${plane}: ${requests} requests count the same at source and destination`, () => {
        const { series, flood } = of(plane);
        for (const metric of [
          ...httpMetrics,
          "istio_request_bytes_sum",
          "istio_response_bytes_sum",
        ]) {
          const counts = ["source", "destination"].map((reporter) => {
            const name = reporter === "source" ? "client-0" : "server-0";
            const labels = {
              reporter,
              source_workload: "client",
              source_principal: "spiffe://cluster.local/ns/default/sa/client",
              source_version: "v3",
              destination_workload: "server",
              destination_principal: "spiffe://cluster.local/ns/default/sa/server",
              destination_canonical_revision: "blue",
              destination_service: "server.default.svc.cluster.local",
              connection_security_policy: reporter === "source" ? "unknown" : "mutual_tls",
              response_code: "200",
              request_protocol: "http",
              response_flags: "-",
            };
            const grown = (samples: readonly Sample[] | undefined): number =>
              total(samples ?? [], metric, labels);
            return grown(flood[name]) - grown(series[name]);
          });
          const [atSource, atDestination] = counts;
          if (metric.endsWith("_sum")) assert.equal(atSource, atDestination, metric);
          else assert.deepEqual(counts, [requests, requests], metric);
        }
      });
    }
  });
}
