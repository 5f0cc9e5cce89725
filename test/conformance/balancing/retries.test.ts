/** Which requests are tried again, where and when, beside Envoy on the same file. */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { bootstrapOf, type Plane, Servers, startPlanes } from "./planes.ts";

/** By the request's id: how often it came, and to whom. */
const seen = new Map<string, number[]>();

function answer(index: number, request: IncomingMessage, response: ServerResponse): void {
  const id = String(request.headers["x-id"] ?? "");
  seen.set(id, [...(seen.get(id) ?? []), index]);
  const { "x-retry-after": wait, "x-fail-on": failing = "0,1,2" } = request.headers;
  const fails = String(failing).split(",").includes(String(index));
  if (wait !== undefined) response.setHeader("retry-after", wait);
  response.statusCode = fails ? 503 : 200;
  response.end(String(index));
}

const servers = new Servers(3, answer);
let planes: readonly Plane[] = [];

const canary = ", metadata: {filter_metadata: {envoy.lb: {canary: true}}}";
function clusterOf(name: string, endpoints: readonly string[], ...more: readonly string[]): string {
  const assignment = `{cluster_name: ${name}, endpoints: [{lb_endpoints: [${endpoints.join(", ")}]}]}`;
  return `{${[`name: ${name}`, "connect_timeout: 10s", `load_assignment: ${assignment}`, ...more].join(", ")}}`;
}
const routeOf = (name: string, cluster: string, policy: string, more = ""): string =>
  `{match: {prefix: /${name}/}, route: {cluster: ${cluster}, retry_policy: {${policy}}${more}}}`;
const canaryType =
  "type.googleapis.com/envoy.extensions.retry.host.omit_canary_hosts.v3.OmitCanaryHostsPredicate";

before(async () => {
  await servers.open();
  const one = [servers.endpoint(0)];
  const budget = (percent: number, min: number, more = ""): string =>
    `circuit_breakers: {thresholds: [{max_retries: 100, retry_budget: {budget_percent: {value: ${percent}}, min_retry_concurrency: ${min}${more}}}]}`;
  planes = await startPlanes((place) =>
    bootstrapOf(place, {
      clusters: [
        clusterOf("one", one),
        clusterOf("canaries", [
          servers.endpoint(0, canary),
          servers.endpoint(1, canary),
          servers.endpoint(2),
        ]),
        clusterOf("no-budget", one, budget(0, 0)),
        clusterOf("budget", one, budget(100, 1)),
        clusterOf("minute", one, budget(20, 0, ", budget_interval: 60s")),
        clusterOf("seconds", one, budget(20, 0, ", budget_interval: 2s")),
      ],
      routes: [
        routeOf(
          "by-request",
          "one",
          "retry_on: 5xx, num_retries: 2, retriable_request_headers: [{name: x-again, present_match: true}]",
        ),
        routeOf(
          "waits",
          "one",
          "retry_on: 5xx, num_retries: 1, rate_limited_retry_back_off: {reset_headers: [{name: Retry-After, format: SECONDS}], max_interval: 30s}",
          ", timeout: 2s",
        ),
        routeOf(
          "canaries",
          "canaries",
          `retry_on: 5xx, num_retries: 1, host_selection_retry_max_attempts: 20, retry_host_predicate: [{name: envoy.retry_host_predicates.omit_canary_hosts, typed_config: {"@type": ${canaryType}}}]`,
        ),
        routeOf("no-budget", "no-budget", "retry_on: 5xx, num_retries: 3"),
        routeOf("budget", "budget", "retry_on: 5xx, num_retries: 3"),
        routeOf("minute", "minute", "retry_on: 5xx, num_retries: 1"),
        routeOf("seconds", "seconds", "retry_on: 5xx, num_retries: 1"),
      ],
    }),
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  servers.close();
});

let lastId = 0;

/** Status and attempts of one request on each data plane. */
async function outcomes(path: string, headers: Readonly<Record<string, string>> = {}) {
  return Promise.all(
    planes.map(async (plane) => {
      const id = String(++lastId);
      const { status, body } = await plane.ask(path, { ...headers, "x-id": id });
      return { status, body, attempts: seen.get(id)?.length };
    }),
  );
}

type Case = readonly [
  name: string,
  path: string,
  headers: Readonly<Record<string, string>>,
  expected: { readonly status: number; readonly attempts: number },
];

const cases: readonly Case[] = [
  ["without the header that is asked for", "/by-request/", {}, { status: 503, attempts: 1 }],
  ["with it", "/by-request/", { "x-again": "1" }, { status: 503, attempts: 3 }],
  ["soon", "/waits/", {}, { status: 503, attempts: 2 }],
  ["not before it is time", "/waits/", { "x-retry-after": "5" }, { status: 504, attempts: 1 }],
  [
    "soon, where too much is asked",
    "/waits/",
    { "x-retry-after": "31" },
    { status: 503, attempts: 2 },
  ],
  ["never without a budget", "/no-budget/", {}, { status: 503, attempts: 1 }],
  ["within the budget", "/budget/", {}, { status: 503, attempts: 4 }],
];

for (const [name, path, headers, expected] of cases) {
  test(`a failed request is tried again ${name}`, async () => {
    const all = await outcomes(path, headers);
    for (const [i, { status, attempts, body }] of all.entries()) {
      assert.deepEqual({ status, attempts }, expected, planes[i]?.name ?? "");
      assert.equal(body, all.at(-1)?.body, planes[i]?.name ?? "");
    }
  });
}

test("retries go to endpoints that are no canaries", async () => {
  for (let i = 0; i < 12; i++) {
    for (const { status } of await outcomes("/canaries/", { "x-fail-on": "0,1" })) {
      assert.equal(status, 200);
    }
  }
});

/** Attempts of one request after the other, by data plane; each has the same failing answer. */
async function attemptsOf(path: string, requests: number): Promise<readonly (readonly number[])[]> {
  const found: number[][] = planes.map(() => []);
  for (let i = 0; i < requests; i++) {
    for (const [at, { attempts = 0 }] of (await outcomes(path)).entries())
      found[at]?.push(attempts);
  }
  return found;
}

test("a budget with an interval is a share of what began in it", async () => {
  for (const [i, attempts] of (await attemptsOf("/minute/", 8)).entries()) {
    assert.deepEqual(attempts, [1, 1, 1, 1, 2, 2, 2, 2], planes[i]?.name ?? "");
  }
});

test("what began before the interval counts no more", async () => {
  for (const [i, attempts] of (await attemptsOf("/seconds/", 6)).entries()) {
    assert.deepEqual(attempts, [1, 1, 1, 1, 2, 2], planes[i]?.name ?? "");
  }
  // It is the time itself that is tested: the interval, and the tenth that requests may count longer.
  await sleep(2500);
  for (const [i, attempts] of (await attemptsOf("/seconds/", 2)).entries()) {
    assert.deepEqual(attempts, [1, 1], planes[i]?.name ?? "");
  }
});
