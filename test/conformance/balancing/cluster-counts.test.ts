/**
 * What clusters count of what does not come to pass, beside Envoy on the same file: requests beyond
 * limits, destinations that are none, names that are asked for again or do not resolve.
 */
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { after, before, test } from "node:test";
import { setImmediate } from "node:timers/promises";

import { until } from "../proxy/collector.ts";
import { agreedOf } from "./health-planes.ts";
import { type Answer, bootstrapOf, type Plane, Servers, startPlanes } from "./planes.ts";

/** Answers that are held back. */
const held: ServerResponse[] = [];
const servers = new Servers(1, (_, { url = "" }, response) => {
  if (url.endsWith("/hold")) held.push(response);
  else response.end("fine");
});
let planes: readonly Plane[] = [];

const type = "type.googleapis.com/envoy.extensions";
const cache = "dns_cache_config: {name: names, dns_lookup_family: ALL}";
const original = (name: string, config: string): string =>
  `{name: ${name}, type: ORIGINAL_DST, lb_policy: CLUSTER_PROVIDED, connect_timeout: 10s, original_dst_lb_config: {${config}}}`;
const limited = (name: string, limits: string): string =>
  `{name: ${name}, connect_timeout: 10s, circuit_breakers: {thresholds: [{${limits}}]}, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [${servers.endpoint(0)}]}]}}`;
const named = (name: string, kind: string, host: string): string =>
  `{name: ${name}, type: ${kind}, dns_lookup_family: V4_ONLY, dns_refresh_rate: 0.2s, dns_failure_refresh_rate: {base_interval: 0.2s, max_interval: 0.2s}, connect_timeout: 10s, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: ${host}, port_value: 80}}}}]}]}}`;
const told = (name: string, value: string): string =>
  `{header: {key: ${name}, value: "%${value}%"}}`;

const asked = ["active", "waiting", "original", "forward"];

before(async () => {
  await servers.open();
  planes = await startPlanes((place) =>
    bootstrapOf(place, {
      filters: [
        `{name: names, typed_config: {"@type": ${type}.filters.http.dynamic_forward_proxy.v3.FilterConfig, ${cache}}}`,
      ],
      clusters: [
        limited("active", "max_requests: 1"),
        limited("waiting", "max_connections: 1, max_pending_requests: 1"),
        original("original", "use_http_header: true"),
        `{name: forward, connect_timeout: 9s, lb_policy: CLUSTER_PROVIDED, cluster_type: {name: names, typed_config: {"@type": ${type}.clusters.dynamic_forward_proxy.v3.ClusterConfig, ${cache}}}}`,
        named("strict", "STRICT_DNS", "localhost"),
        named("logical", "LOGICAL_DNS", "localhost"),
        named("nowhere", "LOGICAL_DNS", "nowhere.invalid"),
        named("none", "STRICT_DNS", "nowhere.invalid"),
      ],
      routes: asked.map(
        (name) =>
          `{match: {prefix: /${name}/}, response_headers_to_add: [${told("x-flags", "RESPONSE_FLAGS")}, ${told("x-details", "RESPONSE_CODE_DETAILS")}], route: {cluster: ${name}}}`,
      ),
    }),
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  servers.close();
});

/** What a cluster has counted, without what is 0. */
async function counts(plane: Plane, cluster: string, names: RegExp): Promise<readonly string[]> {
  const lines = (await plane.admin("/stats/prometheus")).split("\n");
  return lines
    .flatMap((line) => {
      const [, name = "", own, value] =
        /^envoy_cluster_(\w+)\{(?:envoy_)?cluster_name="(\w+)"\} (\d+)$/.exec(line) ?? [];
      return own === cluster && value !== "0" && names.test(name) ? [`${name} ${value}`] : [];
    })
    .toSorted();
}

function summary({ status, body, headers }: Answer): readonly unknown[] {
  // Why a name does not resolve is in the resolver's words, in braces.
  return [status, body, headers["x-flags"], String(headers["x-details"]).replace(/\{.*/, "")];
}

const overflow = /overflow/;

for (const [cluster, expected] of [
  ["active", ["upstream_rq_active_overflow 1"]],
  ["waiting", ["upstream_cx_overflow 1", "upstream_rq_pending_overflow 1"]],
] as const) {
  test(`${cluster}: requests that are too many in flight are told from those that are too many waiting`, async () => {
    for (const plane of planes) {
      const first = plane.ask(`/${cluster}/hold`);
      await until(
        () => held[0],
        () => "the request",
      );
      const others = cluster === "waiting" ? [plane.ask(`/${cluster}/`)] : [];
      while (others.length > 0 && !(await isAnyWaiting(plane, cluster))) await setImmediate();
      const refused = await plane.ask(`/${cluster}/`);
      assert.deepEqual(
        summary(refused),
        [
          503,
          "upstream connect error or disconnect/reset before headers. reset reason: overflow",
          "UO",
          "upstream_reset_before_response_started",
        ],
        plane.name,
      );
      held.pop()?.end("fine");
      await Promise.all([first, ...others]);
    }
    const found = await agreedOf(
      planes,
      (plane) => counts(plane, cluster, overflow),
      (lines) => lines.length === expected.length,
    );
    assert.deepEqual(found, expected);
  });
}

async function isAnyWaiting(plane: Plane, cluster: string): Promise<boolean> {
  return (await counts(plane, cluster, /^upstream_rq_pending_active$/)).length > 0;
}

test("original: what names no destination is counted, and where a request came to is none", async () => {
  const values = ["junk", "127.0.0.1", "127.0.0.1:99999", "[::1]:x", "/pipe", ""];
  for (const plane of planes) {
    for (const value of values) {
      const answer = await plane.ask("/original/", { "x-envoy-original-dst-host": value });
      const none = [503, "no healthy upstream", "UH", "no_healthy_upstream"];
      assert.deepEqual(summary(answer), none, `${plane.name} ${value}`);
    }
    assert.equal((await plane.ask("/original/")).status, 503, plane.name);
  }
  const found = await agreedOf(
    planes,
    (plane) => counts(plane, "original", /invalid|none_healthy/),
    (lines) => lines.length === 2,
  );
  assert.deepEqual(found, ["original_dst_host_invalid 6", "upstream_cx_none_healthy 7"]);
});

test("forward: a name that does not resolve is no endpoint", async () => {
  for (const plane of planes) {
    const answer = await plane.ask("/forward/", { host: "nowhere.invalid" });
    const expected = [503, "no healthy upstream", "UH", "dns_resolution_failure"];
    assert.deepEqual(summary(answer), expected, plane.name);
  }
});

for (const [cluster, expected] of [
  ["strict", ["update_attempt", "update_no_rebuild", "update_success"]],
  ["logical", ["update_attempt", "update_no_rebuild", "update_success"]],
  ["nowhere", ["update_attempt", "update_failure"]],
  // That there is no such name is an answer: the cluster has no endpoints.
  ["none", ["update_attempt", "update_no_rebuild", "update_success"]],
] as const) {
  test(`${cluster}: questions for names are counted by what became of them`, async () => {
    const found = await agreedOf(
      planes,
      async (plane) =>
        (await counts(plane, cluster, /^update_/)).map((line) => line.replace(/ \d+$/, "")),
      (lines) => lines.length === expected.length,
    );
    assert.deepEqual(found, expected);
  });
}
