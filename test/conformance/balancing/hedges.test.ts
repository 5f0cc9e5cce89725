/**
 * What clients inside may ask for, priorities of routes, attempts that go on beside the next, and
 * retries that keep away from priorities: beside Envoy on the same file.
 */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { after, before, test } from "node:test";

import { agreedOf } from "./health-planes.ts";
import { bootstrapOf, type Plane, Servers, startPlanes } from "./planes.ts";

/** By the request's id: who was asked, in order; and answers that wait. */
const seen = new Map<string, number[]>();
const held = new Map<string, (() => void)[]>();

/** `x-do`: for each server, `status` or `hold` (until told) or `never`, with `/` between. */
function answer(index: number, request: IncomingMessage, response: ServerResponse): void {
  const id = String(request.headers["x-id"] ?? "");
  const nth = (seen.get(id) ?? []).length;
  seen.set(id, [...(seen.get(id) ?? []), index]);
  const words = String(request.headers["x-do"] ?? "200").split("/");
  const word = words[Math.min(nth, words.length - 1)] ?? "200";
  const finish = (): void => {
    response.statusCode = Number(/\d+/.exec(word)?.[0] ?? 200);
    const { "x-answer-with": named } = request.headers;
    if (named !== undefined) response.setHeader(String(named), "yes");
    response.end(`${nth}`);
  };
  if (word.startsWith("hold")) held.set(id, [...(held.get(id) ?? []), finish]);
  else if (word !== "never") finish();
  // The last attempt lets those before it go.
  if (request.headers["x-frees"] !== undefined && nth === words.length - 1) {
    for (const free of held.get(id) ?? []) free();
  }
}

const servers = new Servers(3, answer);
let planes: readonly Plane[] = [];

function clusterOf(name: string, localities: readonly string[], more = ""): string {
  const assignment = `{cluster_name: ${name}, endpoints: [${localities.join(", ")}]}`;
  return `{name: ${name}, connect_timeout: 1s, load_assignment: ${assignment}${more}}`;
}

const locality = (endpoints: readonly string[], priority = 0): string =>
  `{priority: ${priority}, lb_endpoints: [${endpoints.join(", ")}]}`;

const routeOf = (name: string, cluster: string, action = ""): string =>
  `{match: {prefix: /${name}/}, route: {cluster: ${cluster}${action}}}`;

const extensions = "type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3";
const awayFrom = (frequency: number): string =>
  `, retry_policy: {retry_on: 5xx, num_retries: 4, retry_priority: {name: envoy.retry_priorities.previous_priorities, typed_config: {"@type": ${extensions}.PreviousPrioritiesConfig, update_frequency: ${frequency}}}}`;

const slowTry = "retry_policy: {retry_on: 5xx, num_retries: 1, per_try_timeout: 0.15s}";

before(async () => {
  await servers.open();
  const all = [0, 1, 2].map((index) => servers.endpoint(index));
  const one = locality(all.slice(0, 1));
  const tiers = all.map((endpoint, priority) => locality([endpoint], priority));
  const none = "max_connections: 100, max_pending_requests: 0";
  planes = await startPlanes((place) =>
    bootstrapOf(place, {
      manager: [
        "internal_address_config: {cidr_ranges: [{address_prefix: 127.0.0.0, prefix_len: 8}]}",
      ],
      clusters: [
        clusterOf("one", [one], ", track_cluster_stats: {per_endpoint_stats: true}"),
        clusterOf("tiers", tiers),
        clusterOf("gaps", [
          ...all.slice(0, 2).map((endpoint, i) => locality([endpoint], 2 * i)),
          locality(all.slice(2), 5),
        ]),
        clusterOf(
          "priorities",
          [one],
          `, circuit_breakers: {thresholds: [{priority: DEFAULT, ${none}}, {priority: HIGH, max_requests: 5}]}`,
        ),
        clusterOf(
          "urgent-full",
          [one],
          `, circuit_breakers: {thresholds: [{priority: HIGH, ${none}}]}`,
        ),
        clusterOf(
          "no-pools",
          [one],
          ", circuit_breakers: {thresholds: [{max_connection_pools: 0}]}",
        ),
        clusterOf(
          "one-pool",
          [one],
          ", circuit_breakers: {thresholds: [{max_connection_pools: 1}]}",
        ),
      ],
      routes: [
        routeOf("plain", "one", ", timeout: 0.4s"),
        routeOf("slow", "one", `, timeout: 3s, ${slowTry}`),
        routeOf(
          "hedged",
          "one",
          `, timeout: 3s, ${slowTry}, hedge_policy: {hedge_on_per_try_timeout: true}`,
        ),
        routeOf(
          "hedged-briefly",
          "one",
          `, timeout: 0.5s, ${slowTry}, hedge_policy: {hedge_on_per_try_timeout: true}`,
        ),
        routeOf("away", "tiers", awayFrom(1)),
        routeOf("away-later", "tiers", awayFrom(2)),
        routeOf("away-over-gaps", "gaps", awayFrom(1)),
        routeOf("default", "priorities"),
        routeOf("high", "priorities", ", priority: HIGH"),
        routeOf("default-of-full", "urgent-full"),
        routeOf("high-of-full", "urgent-full", ", priority: HIGH"),
        routeOf("no-pools", "no-pools"),
        routeOf("one-pool", "one-pool"),
      ],
    }),
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  servers.close();
});

let lastId = 0;
type Headers = Readonly<Record<string, string>>;

async function outcomes(path: string, headers: Headers = {}) {
  return Promise.all(
    planes.map(async (plane) => {
      const id = String(++lastId);
      const { status, body, headers: got } = await plane.ask(path, { ...headers, "x-id": id });
      const { "x-envoy-overloaded": overloaded } = got;
      return { status, body, asked: seen.get(id) ?? [], ...(overloaded && { overloaded }) };
    }),
  );
}

type Case = readonly [
  name: string,
  path: string,
  headers: Headers,
  expected: { readonly status: number; readonly asked: readonly number[]; readonly body?: string },
];

const internal = { "x-forwarded-for": "127.0.0.9" };

const cases: readonly Case[] = [
  [
    "keeps away from the priority before",
    "/away/",
    { "x-do": "503/503/200" },
    { status: 200, asked: [0, 1, 2] },
  ],
  [
    "begins again when all were tried",
    "/away/",
    { "x-do": "503/503/503/200" },
    { status: 200, asked: [0, 1, 2, 0] },
  ],
  [
    "keeps away from priorities with gaps between them",
    "/away-over-gaps/",
    { "x-do": "503/503/503/200" },
    { status: 200, asked: [0, 1, 2, 0] },
  ],
  [
    "waits for as many attempts as are told",
    "/away-later/",
    { "x-do": "503/503/503/503/200" },
    { status: 200, asked: [0, 0, 1, 1, 2] },
  ],
  ["of the usual priority has limits of its own", "/default/", {}, { status: 503, asked: [] }],
  ["of priority HIGH has others", "/high/", {}, { status: 200, asked: [0] }],
  [
    "is not held up by limits of priority HIGH",
    "/default-of-full/",
    {},
    { status: 200, asked: [0] },
  ],
  ["of priority HIGH keeps to them", "/high-of-full/", {}, { status: 503, asked: [] }],
  [
    "finds nobody without a pool",
    "/no-pools/",
    {},
    { status: 503, asked: [], body: "no healthy upstream" },
  ],
  ["finds somebody with one pool", "/one-pool/", {}, { status: 200, asked: [0] }],
  [
    "gives up a slow attempt",
    "/slow/",
    { "x-do": "never/200" },
    { status: 200, asked: [0, 0], body: "1" },
  ],
  [
    "goes on beside the next attempt, and wins",
    "/hedged/",
    { "x-do": "hold/never", "x-frees": "1" },
    { status: 200, asked: [0, 0], body: "0" },
  ],
  [
    "goes on, and loses against the next",
    "/hedged/",
    { "x-do": "never/200" },
    { status: 200, asked: [0, 0], body: "1" },
  ],
  [
    "goes on while the next one fails",
    "/hedged/",
    { "x-do": "hold/503", "x-frees": "1" },
    { status: 200, asked: [0, 0], body: "0" },
  ],
  [
    "passes a failure on when no other is left",
    "/hedged/",
    { "x-do": "hold503/503", "x-frees": "1" },
    { status: 503, asked: [0, 0] },
  ],
  [
    "ends with the time for all",
    "/hedged-briefly/",
    { "x-do": "never/never" },
    { status: 504, asked: [0, 0] },
  ],
  [
    "of a client inside may ask for it",
    "/slow/",
    {
      ...internal,
      "x-do": "hold/never",
      "x-frees": "1",
      "x-envoy-hedge-on-per-try-timeout": "true",
    },
    { status: 200, asked: [0, 0], body: "0" },
  ],
  [
    "of a client inside may ask for none",
    "/hedged/",
    {
      ...internal,
      "x-do": "hold/never",
      "x-frees": "1",
      "x-envoy-hedge-on-per-try-timeout": "false",
    },
    { status: 504, asked: [0, 0] },
  ],
  [
    "of a stranger may not",
    "/hedged/",
    { "x-do": "hold/never", "x-frees": "1", "x-envoy-hedge-on-per-try-timeout": "false" },
    { status: 200, asked: [0, 0], body: "0" },
  ],
  [
    "that takes too long is 504",
    "/plain/",
    { "x-do": "never", "x-envoy-upstream-rq-timeout-alt-response": "1" },
    { status: 504, asked: [0] },
  ],
  [
    "that takes too long is 204 for a client inside that asks",
    "/plain/",
    { ...internal, "x-do": "never", "x-envoy-upstream-rq-timeout-alt-response": "1" },
    { status: 204, asked: [0], body: "" },
  ],
  [
    "is tried again for a header that a client inside names",
    "/plain/",
    {
      ...internal,
      "x-answer-with": "x-again",
      "x-envoy-retry-on": "retriable-headers",
      "x-envoy-retriable-header-names": "x-other, X-Again",
    },
    { status: 200, asked: [0, 0] },
  ],
];

for (const [name, path, headers, expected] of cases) {
  test(`a request ${name}`, async () => {
    const all = await outcomes(path, headers);
    const { body, ...rest } = expected;
    for (const [i, got] of all.entries()) {
      const { status, asked } = got;
      const plane = planes[i]?.name ?? "";
      assert.deepEqual({ status, asked }, rest, plane);
      if (body !== undefined) assert.equal(got.body, body, plane);
      assert.deepEqual({ ...got }, { ...all.at(-1) }, plane);
    }
  });
}

test("endpoints have fared as in Envoy, whichever attempts went on", async () => {
  const told = async (plane: Plane): Promise<readonly string[]> =>
    (await plane.admin("/stats/prometheus")).split("\n").flatMap((line) => {
      const [, name, value] =
        /^envoy_cluster_endpoint_(rq_(?:error|success|timeout))\{.*\} (\d+)$/.exec(line) ?? [];
      return name === undefined ? [] : [`${name} ${value}`];
    });
  const sorted = async (plane: Plane) => (await told(plane)).toSorted();
  assert.equal((await agreedOf(planes, sorted, () => true)).length, 3);
});

test("answers are counted under the name that a client inside gives", async () => {
  await outcomes("/plain/", { ...internal, "x-envoy-upstream-alt-stat-name": "my.name" });
  for (const plane of planes) {
    const text = await plane.admin("/stats/prometheus");
    const line = text
      .split("\n")
      .find((each) => each.startsWith("envoy_cluster_my_name_upstream_rq_xx{"));
    assert.match(line ?? "", / 1$/, plane.name);
  }
});
