/** Series of each endpoint (`per_endpoint_stats`), beside Envoy on the same file. */
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import net from "node:net";
import { after, before, test } from "node:test";

import { freePort } from "../../support/free-port.ts";
import { agreedOf } from "./health-planes.ts";
import { bootstrapOf, type Plane, Servers, startPlanes } from "./planes.ts";

/** Answers that are held back. */
let held: ServerResponse[] = [];
let onHeld = (): void => {};
let asked = 0;

const servers = new Servers(1, (_, { url = "" }, response) => {
  if (url.includes("hold")) {
    held.push(response);
    return onHeld();
  }
  if (url.includes("silent")) return;
  // Every second one, so that each retry succeeds.
  if (url.includes("fail")) response.statusCode = ++asked % 2 === 1 ? 503 : 200;
  if (url.includes("missing")) response.statusCode = 404;
  response.end("fine");
});
/** Accepts, and says nothing: no handshake with it ever ends. */
const silent: net.Socket[] = [];
const mute = net.createServer((socket) => {
  socket.on("error", () => {});
  silent.push(socket);
});
const tls = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
let planes: readonly Plane[] = [];

const tracked = "track_cluster_stats: {per_endpoint_stats: true}";
const retries = "retry_policy: {retry_on: 5xx, num_retries: 1}";
/** Fields of the one endpoint, and of the route. */
const clusters: Readonly<Record<string, readonly [endpoint: string, route: string]>> = {
  fine: [", hostname: shop.example", ""],
  missing: ["", ""],
  fail: ["", `, ${retries}`],
  silent: ["", ", timeout: 0.2s"],
  unreachable: ["", ""],
  unhealthy: ["", ""],
};

before(async () => {
  await servers.open();
  const mutePort = await freePort();
  await new Promise<void>((resolve) => mute.listen(mutePort, "127.0.0.1", resolve));
  planes = await startPlanes(
    (place) =>
      bootstrapOf(place, {
        clusters: [
          ...Object.entries(clusters).map(([name, [fields]]) => {
            const real = servers.endpoint(
              0,
              name === "unhealthy" ? ", health_status: UNHEALTHY" : "",
              fields,
            );
            const endpoint =
              name === "unreachable" ? real.replace("127.0.7.1", "127.0.7.99") : real;
            return `{name: ${name}, connect_timeout: 10s, ${tracked}, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [${endpoint}]}]}}`;
          }),
          `{name: waiting, connect_timeout: 100s, ${tracked}, transport_socket: {name: tls, typed_config: {"@type": ${tls}}}, load_assignment: {cluster_name: waiting, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${mutePort}}}}}]}]}}`,
          `{name: mirrored, connect_timeout: 10s, ${tracked}, load_assignment: {cluster_name: mirrored, endpoints: [{lb_endpoints: [${servers.endpoint(0)}]}]}}`,
          `{name: untracked, connect_timeout: 10s, load_assignment: {cluster_name: untracked, endpoints: [{lb_endpoints: [${servers.endpoint(0)}]}]}}`,
        ],
        routes: [
          ...Object.entries(clusters).map(
            ([name, [, route]]) =>
              `{match: {prefix: /${name}/}, route: {cluster: ${name}${route}}}`,
          ),
          "{match: {prefix: /waiting/}, route: {cluster: waiting, timeout: 0s}}",
          "{match: {prefix: /untracked/}, route: {cluster: untracked}}",
          "{match: {prefix: /copied/silent}, route: {cluster: untracked, timeout: 0.2s, request_mirror_policies: [{cluster: mirrored}]}}",
          "{match: {prefix: /copied/}, route: {cluster: untracked, request_mirror_policies: [{cluster: mirrored}]}}",
        ],
      }),
    { workers: 2 },
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  servers.close();
  mute.close();
});

/** Name, labels and value of each, sorted. */
async function seriesOf(plane: Plane, cluster: string): Promise<readonly string[]> {
  const lines = (await plane.admin("/stats/prometheus")).split("\n");
  return lines
    .flatMap((line) => {
      const [, name, labels = "", value] =
        /^envoy_cluster_endpoint_(\w+)\{([^}]*)\} (\S+)/.exec(line) ?? [];
      const [first, ...others] = labels
        .replace("envoy_cluster_name", "cluster_name")
        .split(",")
        .toSorted();
      if (first !== `cluster_name="${cluster}"`) return [];
      return [`${name} {${others.join(", ")}} ${Number(value)}`];
    })
    .toSorted();
}

function agreed(cluster: string, has: string): Promise<readonly string[]> {
  return agreedOf(
    planes,
    (plane) => seriesOf(plane, cluster),
    (lines) =>
      lines.some(
        (line) =>
          line.startsWith(has.split(" ")[0] ?? "") && line.endsWith(has.split(" ")[1] ?? ""),
      ),
  );
}

test("fine: requests and connections are told while they are there, and after it", async () => {
  for (const plane of planes) {
    for (let i = 0; i < 3; i++) assert.equal((await plane.ask("/fine/")).status, 200);
  }
  const all = new Promise<void>((resolve) => {
    onHeld = () => held.length === planes.length && resolve();
  });
  const answers = planes.map((plane) => plane.ask("/fine/hold"));
  await all;
  const during = await agreed("fine", "rq_active 1");
  assert.equal(during.length, 10);
  assert.ok(during.every((line) => line.includes('envoy_endpoint_hostname="shop.example"')));
  for (const response of held) response.end("fine");
  held = [];
  await Promise.all(answers);
  await agreed("fine", "rq_success 4");
});

test("waiting: who waits for a connection is told", async () => {
  const answers = planes.map((plane) => plane.ask("/waiting/"));
  await agreed("waiting", "rq_pending_active 1");
  for (const socket of silent) socket.destroy();
  for (const { status } of await Promise.all(answers)) assert.equal(status, 503);
  await agreed("waiting", "rq_error 1");
});

test("missing: an answer of 4xx is a success", async () => {
  for (const plane of planes) assert.equal((await plane.ask("/missing/")).status, 404);
  await agreed("missing", "rq_success 1");
});

test("fail: an answer that is tried again is an error", async () => {
  for (const plane of planes) assert.equal((await plane.ask("/fail/")).status, 200);
  await agreed("fail", "rq_error 1");
});

test("silent: a time that is over is a timeout and an error", async () => {
  for (const plane of planes) assert.equal((await plane.ask("/silent/")).status, 504);
  await agreed("silent", "rq_timeout 1");
});

test("unreachable: a connection that fails is told, and its request is an error", async () => {
  for (const plane of planes) assert.equal((await plane.ask("/unreachable/")).status, 503);
  await agreed("unreachable", "cx_connect_fail 1");
});

test("gRPC succeeds or fails as its status says", async () => {
  const headers = { "content-type": "application/grpc" };
  for (const plane of planes) await plane.ask("/missing/", headers, "POST");
  await agreed("missing", "rq_total 2");
});

test("unhealthy: who is not well is told to be so", async () => {
  const lines = await agreed("unhealthy", "healthy 0");
  assert.equal(lines.length, 10);
});

test("untracked: nothing is told where it is not asked for", async () => {
  for (const plane of planes) {
    assert.equal((await plane.ask("/untracked/")).status, 200);
    assert.deepEqual(await seriesOf(plane, "untracked"), [], plane.name);
  }
});

/** What the cluster has counted of answers, by code, and of those that did not come in time. */
async function outcomesOf(plane: Plane, cluster: string): Promise<readonly string[]> {
  const lines = (await plane.admin("/stats/prometheus")).split("\n");
  return lines
    .filter((line) => /^envoy_cluster_upstream_rq(?:_timeout)?\{/.test(line))
    .filter((line) => line.includes(`cluster_name="${cluster}"`) && !line.endsWith(" 0"))
    .map((line) => line.replace(/^envoy_cluster_(\w+)\{(.*)\} (\d+)$/, "$1 $2 $3"))
    .map((line) => line.replaceAll(/(?:envoy_)?cluster_name="\w+"|envoy_|,/g, ""))
    .toSorted();
}

test("copied: copies are counted like requests, and waited for no longer than these", async () => {
  for (const plane of planes) assert.equal((await plane.ask("/copied/")).status, 200);
  // Its copy may be answered later; the next goes on the same connection.
  await agreed("mirrored", "rq_success 1");
  for (const plane of planes) assert.equal((await plane.ask("/copied/missing")).status, 404);
  await agreed("mirrored", "rq_success 2");
  for (const plane of planes) assert.equal((await plane.ask("/copied/silent")).status, 504);
  await agreed("mirrored", "rq_timeout 1");
  const counted = await agreedOf(
    planes,
    (plane) => outcomesOf(plane, "mirrored"),
    (lines) => lines.some((line) => line.startsWith("upstream_rq_timeout")),
  );
  assert.equal(counted.length, 4, counted.join("\n"));
});
