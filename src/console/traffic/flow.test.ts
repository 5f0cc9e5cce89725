import assert from "node:assert/strict";
import { test } from "node:test";
import type { LabelRecord, MetricsSource } from "../../store/metrics-source.ts";
import { shopSnapshot } from "../../../test/browser/support/seed.ts";
import { noTraffic } from "../../../test/support/no-traffic.ts";
import type { Health } from "../api.ts";
import { healthOf, mtlsFraction, mtlsOf, trafficOf } from "./flow.ts";
import { graphOf } from "./graph.ts";
import { readFlows } from "./read-flows.ts";

const ends: LabelRecord = {
  reporter: "source",
  source_workload: "a",
  source_workload_namespace: "default",
  destination_workload: "b",
  destination_workload_namespace: "default",
  destination_service_name: "b",
  destination_service_namespace: "default",
  request_protocol: "http",
};

/** A source of metrics that answers by the metric asked for. */
function metricsOf(
  answers: Readonly<Record<string, readonly (readonly [LabelRecord, number])[]>>,
): MetricsSource {
  const nothing = async (): Promise<never[]> => [];
  return {
    name: "fake",
    queryRange: nothing,
    labelValues: nothing,
    labelNames: nothing,
    series: nothing,
    query: async (expr, atMs) => {
      const metric = /istio_\w+/.exec(expr)?.[0] ?? "";
      const samples = (answers[metric] ?? []).map(([labels, value]) => ({
        labels: { ...ends, ...labels },
        value,
      }));
      return { kind: "vector", atMs, samples };
    },
  };
}

async function flowsOf(
  requests: readonly (readonly [LabelRecord, number])[],
): ReturnType<typeof readFlows> {
  const source = metricsOf({ istio_requests_total: requests });
  return readFlows({ source, workloads: undefined, atMs: 0, windowMs: 60_000 });
}

test("readFlows() takes the source's figures and the destination's word on mutual TLS", async () => {
  const flows = await flowsOf([
    [{ response_code: "200" }, 9],
    [{ response_code: "503", response_flags: "UF" }, 1],
    [
      { reporter: "destination", response_code: "200", connection_security_policy: "mutual_tls" },
      8.9,
    ],
  ]);
  assert.equal(flows.length, 1);
  const traffic = trafficOf(flows);
  assert.equal(traffic.requestsPerSecond, 10);
  assert.equal(traffic.errorFraction, 0.1);
  assert.equal(mtlsOf(flows), "mutual");
  assert.equal(mtlsFraction(flows), 1);
});

test("readFlows() tells messages of gRPC with the requests they belong to", async () => {
  const grpc = { request_protocol: "grpc" };
  const source = metricsOf({
    istio_requests_total: [[{ ...grpc, response_code: "200", grpc_response_status: "0" }, 2]],
    istio_request_messages_total: [
      [grpc, 2],
      [{ ...grpc, reporter: "destination" }, 2],
    ],
    istio_response_messages_total: [
      [grpc, 10],
      [{ ...grpc, reporter: "destination" }, 10],
    ],
  });
  const flows = await readFlows({ source, workloads: undefined, atMs: 0, windowMs: 60_000 });
  assert.deepEqual(
    flows.map(({ protocol }) => protocol),
    ["grpc"],
  );
  const traffic = trafficOf(flows);
  assert.equal(traffic.requestsPerSecond, 2);
  assert.deepEqual([traffic.requestMessagesPerSecond, traffic.responseMessagesPerSecond], [2, 10]);
});

test("readFlows() takes the destination's figures where the source has no sidecar", async () => {
  const [flow] = await flowsOf([
    [
      {
        reporter: "destination",
        source_workload: "unknown",
        response_code: "200",
        connection_security_policy: "none",
      },
      3,
    ],
  ]);
  assert.ok(flow !== undefined);
  assert.deepEqual(
    [flow.source.kind, trafficOf([flow]).requestsPerSecond, mtlsOf([flow])],
    ["unknown", 3, "plaintext"],
  );
});

test("readFlows() finds the source of plaintext, of which the destination knows nothing", async () => {
  const anonymous = { reporter: "destination", source_workload: "unknown", response_code: "200" };
  const sent = [{ response_code: "200" }, 2] as const;
  const check = async (received: number, expected: readonly unknown[]): Promise<void> => {
    const flows = await flowsOf([
      sent,
      [{ ...anonymous, connection_security_policy: "none" }, received],
    ]);
    assert.deepEqual(
      flows.map((one) => [one.source.kind, trafficOf([one]).requestsPerSecond, mtlsOf([one])]),
      expected,
    );
  };
  await check(1.9, [["workload", 2, "plaintext"]]);
  // Somebody else calls as well, from outside the mesh.
  await check(8, [
    ["workload", 2, "plaintext"],
    ["unknown", 6, "plaintext"],
  ]);
});

test("readFlows() names what lies outside the mesh", async () => {
  const outside = { destination_workload: "unknown", destination_service_namespace: "unknown" };
  const flows = await flowsOf([
    [{ ...outside, destination_service_name: "PassthroughCluster", response_code: "200" }, 1],
    [{ ...outside, destination_service_name: "BlackHoleCluster", response_code: "502" }, 1],
    [
      {
        ...outside,
        destination_service_name: "api.example.com",
        destination_service: "api.example.com",
        response_code: "200",
      },
      1,
    ],
  ]);
  assert.deepEqual(
    flows.map(({ target }) => `${target.kind} ${target.name}`),
    ["external outside the mesh", "external blocked", "external api.example.com"],
  );
});

test("readFlows() counts as errors what failed, not clients that left", async () => {
  const fraction = async (labels: LabelRecord): Promise<number> =>
    trafficOf(await flowsOf([[labels, 1]])).errorFraction;
  assert.equal(await fraction({ response_code: "500" }), 1);
  assert.equal(await fraction({ response_code: "404" }), 0);
  assert.equal(await fraction({ response_code: "0", response_flags: "UC" }), 1);
  assert.equal(await fraction({ response_code: "0", response_flags: "DC" }), 0);
  assert.equal(
    await fraction({ response_code: "200", request_protocol: "grpc", grpc_response_status: "14" }),
    1,
  );
  assert.equal(
    await fraction({ response_code: "200", request_protocol: "grpc", grpc_response_status: "0" }),
    0,
  );
});

test("graphOf() joins the flows of two ends into one edge, without figures for what is idle", async () => {
  const flows = await flowsOf([
    [{ response_code: "200" }, 5],
    [{ response_code: "200", destination_service_name: "b-canary" }, 5],
  ]);
  const { nodes, edges } = graphOf({ flows, workloads: undefined, atMs: 0, windowMs: 60_000 });
  assert.deepEqual(
    nodes.map(({ id }) => id),
    ["workload/default/a", "workload/default/b"],
  );
  assert.deepEqual(
    edges.map(({ traffic }) => traffic.requestsPerSecond),
    [10],
  );
});

test("healthOf() gives no verdict on a handful of requests", () => {
  const check = (requestsPerSecond: number, errorFraction: number, expected: Health): void => {
    const traffic = { ...noTraffic, requestsPerSecond, errorFraction };
    assert.equal(healthOf(traffic, 60_000), expected);
  };
  check(0, 0, "idle");
  check(10, 0, "healthy");
  check(10, 0.005, "healthy");
  check(10, 0.02, "degraded");
  check(10, 0.2, "failing");
  check(2 / 60, 0.5, "degraded");
});

test("graphOf() names no version where none was given, and calls failing what has nothing ready", async () => {
  const [cart, prices] = ["cart", "prices"].map((name) =>
    shopSnapshot().instances.find(({ workload }) => workload === name),
  );
  assert.ok(cart !== undefined && prices !== undefined);
  const workloads = {
    ...shopSnapshot(),
    instances: [{ ...cart, labels: { ...cart.labels, version: "latest" } }, prices],
  };
  const { nodes } = graphOf({ flows: [], workloads, atMs: 0, windowMs: 60_000 });
  assert.deepEqual(
    nodes.map(({ name, version, health }) => [name, version, health]),
    [
      ["cart", undefined, "idle"],
      ["prices", "v1", "failing"],
    ],
  );
});
