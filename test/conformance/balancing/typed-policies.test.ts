/**
 * Policies that look at what endpoints report, or at what requests name: `client_side_weighted_round_robin`,
 * `wrr_locality`, `override_host`, beside Envoy on the same file.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { OrcaLoadReport } from "../../../src/wire/gen/ts/xds/data/orca/v3/orca_load_report.ts";
import { bootstrapOf, type Plane, Servers, startPlanes } from "./planes.ts";

/** What each server says it can do in a second, all of it used. */
const requestsPerSecond = [100, 200, 500];
const binary = (requests: number): string =>
  Buffer.from(
    OrcaLoadReport.encode(
      OrcaLoadReport.fromPartial({ rpsFractional: requests, cpuUtilization: 1 }),
    ).finish(),
  ).toString("base64");

/** By cluster: the header, and how it says it. */
const forms: Readonly<Record<string, (requests: number) => readonly [string, string]>> = {
  text: (requests) => [
    "endpoint-load-metrics",
    `TEXT rps_fractional=${requests},application_utilization=1`,
  ],
  colons: (requests) => [
    "endpoint-load-metrics",
    `TEXT rps_fractional:${requests}, cpu_utilization: 1`,
  ],
  named: (requests) => [
    "endpoint-load-metrics",
    `TEXT rps_fractional=100,named_metrics.queue=${100 / requests}`,
  ],
  json: (requests) => [
    "endpoint-load-metrics",
    `JSON {"rps_fractional": ${requests}, "cpu_utilization": 1}`,
  ],
  bin: (requests) => ["endpoint-load-metrics", `BIN ${binary(requests)}`],
  binary: (requests) => ["endpoint-load-metrics-bin", binary(requests)],
  locality: (requests) => ["endpoint-load-metrics-bin", binary(requests)],
};

const servers = new Servers(3, (index, { url = "" }, response) => {
  const form = forms[url.split("/")[1] ?? ""];
  if (form !== undefined) response.setHeader(...form(requestsPerSecond[index] ?? 1));
  if (url.includes("fail") && index === 1) response.statusCode = 503;
  response.end(String(index));
});
let planes: readonly Plane[] = [];

const typed = (name: string, config: string): string =>
  `{policies: [{typed_extension_config: {name: policy, typed_config: {"@type": type.googleapis.com/envoy.extensions.load_balancing_policies.${name}, ${config}}}}]}`;
const weighing = typed(
  "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin",
  "blackout_period: 0s, weight_update_period: 0.1s, metric_names_for_computing_utilization: [named_metrics.queue]",
);
const inLocalities = typed("wrr_locality.v3.WrrLocality", `endpoint_picking_policy: ${weighing}`);
const naming = typed(
  "override_host.v3.OverrideHost",
  `override_host_sources: [{header: x-pick}, {header: x-other}], selected_host_key: {key: picked, path: [{key: at}, {key: host}]}, fallback_policy: ${typed("round_robin.v3.RoundRobin", "")}`,
).replace("RoundRobin, }", "RoundRobin}");

before(async () => {
  await servers.open();
  const endpoints = [0, 1, 2].map((i) => servers.endpoint(i));
  const plain = `[{lb_endpoints: [${endpoints.join(", ")}]}]`;
  const zones = `[{locality: {zone: a}, load_balancing_weight: 3, lb_endpoints: [${endpoints[0]}, ${endpoints[1]}]}, {locality: {zone: b}, load_balancing_weight: 1, lb_endpoints: [${endpoints[2]}]}]`;
  const cluster = (name: string, policy: string, all = plain): string =>
    `{name: ${name}, connect_timeout: 1s, load_balancing_policy: ${policy}, load_assignment: {cluster_name: ${name}, endpoints: ${all}}}`;
  planes = await startPlanes((place) =>
    bootstrapOf(place, {
      clusters: [
        ...Object.keys(forms)
          .filter((name) => name !== "locality")
          .map((name) => cluster(name, weighing)),
        cluster("locality", inLocalities, zones),
        cluster("naming", naming),
      ],
      routes: [
        ...Object.keys(forms).map(
          (name) => `{match: {prefix: /${name}/}, route: {cluster: ${name}}}`,
        ),
        `{match: {prefix: /naming/}, route: {cluster: naming, retry_policy: {retry_on: 5xx, num_retries: 2}}, response_headers_to_add: [{header: {key: x-picked, value: "%DYNAMIC_METADATA(picked:at:host)%"}}]}`,
      ],
    }),
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  servers.close();
});

async function drawn(plane: Plane, name: string, count: number): Promise<readonly number[]> {
  const found = [0, 0, 0];
  for (let i = 0; i < count; i++) {
    const index = Number((await plane.ask(`/${name}/`)).body);
    found[index] = (found[index] ?? 0) + 1;
  }
  return found;
}

/** Of the cluster's endpoints, in their order. */
async function weightsOf(plane: Plane, cluster: string): Promise<readonly number[]> {
  const lines = (await plane.admin("/clusters")).split("\n");
  return servers.addresses.map((address) => {
    const start = `${cluster}::${address}:${servers.port}::weight::`;
    return Number(lines.find((line) => line.startsWith(start))?.slice(start.length) ?? 0);
  });
}

/** Every endpoint weighs what it reports. */
async function settled(plane: Plane, cluster: string): Promise<void> {
  const wanted = requestsPerSecond.join();
  while ((await weightsOf(plane, cluster)).join() !== wanted) {
    await drawn(plane, cluster, 3);
    await sleep(20);
  }
}

for (const name of Object.keys(forms).filter((form) => form !== "locality")) {
  test(`${name}: endpoints get what they report that they can do`, async () => {
    for (const plane of planes) {
      await settled(plane, name);
      const found = await drawn(plane, name, 160);
      for (const [i, expected] of [20, 40, 100].entries()) {
        const count = found[i] ?? 0;
        assert.ok(Math.abs(count - expected) <= 4, `${plane.name}: ${found.join(" ")}`);
      }
    }
  });
}

test("locality: localities by their weights, endpoints in them by what they report", async () => {
  for (const plane of planes) {
    await settled(plane, "locality");
    const found = await drawn(plane, "locality", 160);
    for (const [i, expected] of [40, 80, 40].entries()) {
      const count = found[i] ?? 0;
      assert.ok(Math.abs(count - expected) <= 4, `${plane.name}: ${found.join(" ")}`);
    }
  }
});

test("naming: a request gets the endpoint that it names, and is told which", async () => {
  const at = (i: number): string => `${servers.addresses[i]}:${servers.port}`;
  for (const plane of planes) {
    const picked = async (path: string, headers: Record<string, string>) => {
      const { status, body, headers: answered } = await plane.ask(path, headers);
      assert.equal(answered["x-picked"], at(Number(body)), plane.name);
      return `${status} ${body}`;
    };
    for (let i = 0; i < 3; i++) {
      assert.equal(await picked("/naming/", { "x-pick": at(2) }), "200 2", plane.name);
    }
    assert.equal(await picked("/naming/", { "x-other": at(1) }), "200 1", plane.name);
    assert.equal(await picked("/naming/", { "x-pick": `10.9.9.9:1, ${at(0)}` }), "200 0");
    // The second attempt is the second's; the third, where there are no more, anybody's.
    const two = { "x-pick": at(1), "x-other": at(2) };
    assert.equal(await picked("/naming/fail", two), "200 2", plane.name);
    const others = new Set<string>();
    for (let i = 0; i < 6; i++) others.add(await picked("/naming/", { "x-pick": "nobody" }));
    assert.equal(others.size, 3, plane.name);
  }
});
