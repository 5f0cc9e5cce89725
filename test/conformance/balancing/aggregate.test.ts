/** Aggregates of clusters, beside Envoy on the same file: who gets how much, and what is counted where. */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { after, before, test } from "node:test";

import { assertAlike, frequencies } from "./frequencies.ts";
import { agreedOf } from "./health-planes.ts";
import { bootstrapOf, type Plane, Servers, startPlanes } from "./planes.ts";

const servers = new Servers(6, (index, request: IncomingMessage, response: ServerResponse) => {
  const failing = String(request.headers["x-fail-on"] ?? "").split(",");
  response.statusCode = failing.includes(String(index)) ? 503 : 200;
  response.end(String(index));
});
let planes: readonly Plane[] = [];

interface Level {
  readonly priority: number;
  readonly endpoints: readonly (readonly [index: number, status?: string])[];
}

function leaf(name: string, levels: readonly Level[], ...more: readonly string[]): string {
  const localities = levels.map(({ priority, endpoints }) => {
    const all = endpoints.map(([i, status]) =>
      servers.endpoint(i, status === undefined ? "" : `, health_status: ${status}`),
    );
    return `{priority: ${priority}, lb_endpoints: [${all.join(", ")}]}`;
  });
  const policy = more.find((field) => field.startsWith("policy:"));
  const assignment = [`cluster_name: ${name}`, `endpoints: [${localities.join(", ")}]`];
  if (policy !== undefined) assignment.push(policy);
  const fields = more.filter((field) => field !== policy);
  return `{${[`name: ${name}`, "connect_timeout: 10s", `load_assignment: {${assignment.join(", ")}}`, ...fields].join(", ")}}`;
}

function aggregate(name: string, members: readonly string[], ...more: readonly string[]): string {
  const config = `{"@type": type.googleapis.com/envoy.extensions.clusters.aggregate.v3.ClusterConfig, clusters: [${members.join(", ")}]}`;
  const fields = [
    `name: ${name}`,
    "connect_timeout: 10s",
    "lb_policy: CLUSTER_PROVIDED",
    `cluster_type: {name: envoy.clusters.aggregate, typed_config: ${config}}`,
    ...more,
  ];
  return `{${fields.join(", ")}}`;
}

const noPanic = "common_lb_config: {healthy_panic_threshold: {value: 0}}";
const leaves = (): string[] => [
  leaf("well", [{ priority: 0, endpoints: [[0], [1]] }]),
  leaf("half", [{ priority: 0, endpoints: [[0], [1, "UNHEALTHY"]] }]),
  leaf(
    "half-strict",
    [{ priority: 0, endpoints: [[0], [1, "UNHEALTHY"]] }],
    "policy: {overprovisioning_factor: 100}",
  ),
  leaf("ill", [
    {
      priority: 0,
      endpoints: [
        [0, "UNHEALTHY"],
        [1, "UNHEALTHY"],
      ],
    },
  ]),
  leaf(
    "ill-strict",
    [
      {
        priority: 0,
        endpoints: [
          [0, "UNHEALTHY"],
          [1, "UNHEALTHY"],
        ],
      },
    ],
    noPanic,
  ),
  leaf("tired", [
    {
      priority: 0,
      endpoints: [
        [0, "DEGRADED"],
        [1, "UNHEALTHY"],
      ],
    },
  ]),
  leaf("empty", []),
  leaf("next", [
    { priority: 0, endpoints: [[2], [3]] },
    { priority: 1, endpoints: [[4]] },
  ]),
  leaf("next-half", [
    { priority: 0, endpoints: [[2], [3, "UNHEALTHY"], [5, "UNHEALTHY"]] },
    { priority: 1, endpoints: [[4]] },
  ]),
  leaf("last", [{ priority: 0, endpoints: [[5, "UNHEALTHY"]] }]),
  leaf(
    "closed",
    [{ priority: 0, endpoints: [[0]] }],
    "circuit_breakers: {thresholds: [{max_requests: 0}]}",
  ),
  leaf("gone", [{ priority: 0, endpoints: [[0]] }]),
];

/** Members of each aggregate, and more of what it says. */
const drawn: Readonly<
  Record<string, readonly [members: readonly string[], ...more: readonly string[]]>
> = {
  "all-well": [["well", "next"]],
  spills: [["half", "next"]],
  "spills-strict": [["half-strict", "next"]],
  "spills-far": [["half", "next-half"]],
  degraded: [["tired", "next-half"]],
  fails: [["ill", "next"]],
  "fails-strict": [["ill-strict", "next"]],
  "without-first": [["missing", "empty", "next"]],
  panics: [["ill", "last"]],
  "panics-strict": [["ill-strict", "last"]],
  "never-panics": [["ill", "last"], noPanic],
  nobody: [["missing", "empty"]],
  twice: [["half", "half", "next"]],
};
const others: typeof drawn = {
  counted: [["well", "next"]],
  tried: [["half", "next"], "circuit_breakers: {thresholds: [{max_retries: 7}]}"],
  untried: [["well", "next"], "circuit_breakers: {thresholds: [{max_retries: 0}]}"],
  closing: [["closed", "next"]],
};

const previousPriorities =
  'retry_priority: {name: envoy.retry_priorities.previous_priorities, typed_config: {"@type": type.googleapis.com/envoy.extensions.retry.priority.previous_priorities.v3.PreviousPrioritiesConfig, update_frequency: 1}}';

before(async () => {
  await servers.open();
  const all = { ...drawn, ...others };
  planes = await startPlanes((place) =>
    bootstrapOf(place, {
      clusters: [
        ...leaves(),
        ...Object.entries(all).map(([name, [members, ...more]]) =>
          aggregate(name, members, ...more),
        ),
      ],
      routes: Object.keys(all).map((name) => {
        const retry =
          name === "tried" || name === "untried"
            ? `, retry_policy: {retry_on: 5xx, num_retries: 2, ${previousPriorities}}`
            : "";
        return `{match: {prefix: /${name}/}, response_headers_to_add: [{header: {key: x-cluster, value: "%UPSTREAM_CLUSTER%"}}, {header: {key: x-flags, value: "%RESPONSE_FLAGS%"}}], route: {cluster: ${name}${retry}}}`;
      }),
    }),
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  servers.close();
});

async function answersOf(plane: Plane, path: string, count: number): Promise<readonly string[]> {
  const asked = Array.from({ length: count }, () => plane.ask(path));
  return (await Promise.all(asked)).map(({ status, body }) =>
    status === 200 ? body : String(status),
  );
}

for (const name of Object.keys(drawn)) {
  test(`${name}: members get as much as in Envoy`, async () => {
    const counts = await Promise.all(
      planes.map(async (plane) => frequencies(await answersOf(plane, `/${name}/`, 600))),
    );
    const theirs = counts.at(-1) ?? assert.fail();
    for (const [i, plane] of planes.entries()) {
      if (!plane.isEnvoy) assertAlike(counts[i] ?? assert.fail(), theirs, plane.name);
    }
  });
}

/** What a request gets, but for when. */
async function answerOf(plane: Plane, path: string, headers: Record<string, string>) {
  const { status, body, headers: got } = await plane.ask(path, headers);
  return { status, body, cluster: got["x-cluster"], flags: got["x-flags"] };
}

test("tried: a retry that keeps away from priorities keeps away from members", async () => {
  for (const [failing, expected] of [
    ["0,1", ["2", "3"]],
    ["0,1,2,3", ["4"]],
  ] as const) {
    for (let i = 0; i < 6; i++) {
      const found = await Promise.all(
        planes.map((plane) => answerOf(plane, "/tried/", { "x-fail-on": failing })),
      );
      for (const [at, { status, body }] of found.entries()) {
        assert.ok(
          status === 200 && expected.some((one) => one === body || body === "4"),
          `${planes[at]?.name}: ${status} ${body}`,
        );
      }
    }
  }
});

test("untried: the limit of retries is the aggregate's", async () => {
  const found = await Promise.all(
    planes.map((plane) => answerOf(plane, "/untried/", { "x-fail-on": "0,1,2,3,4" })),
  );
  for (const [i, { status, flags }] of found.entries()) {
    assert.deepEqual(
      { status, flags },
      { status: 503, flags: found.at(-1)?.flags },
      planes[i]?.name ?? "",
    );
  }
});

test("closing: other limits are the members'", async () => {
  const found = await Promise.all(planes.map((plane) => answerOf(plane, "/closing/", {})));
  for (const [i, each] of found.entries())
    assert.deepEqual(each, found.at(-1), planes[i]?.name ?? "");
  assert.equal(found[0]?.status, 503);
});

const counters =
  /^envoy_cluster_(upstream_rq_total|upstream_rq|upstream_rq_xx|upstream_rq_completed|upstream_cx_total|upstream_cx_none_healthy|membership_total|upstream_rq_pending_total|upstream_rq_retry\w*)\{(.*)\} (\d+)$/;

async function countsOf(plane: Plane, clusters: readonly string[]): Promise<readonly string[]> {
  const lines = (await plane.admin("/stats/prometheus")).replaceAll(
    /envoy_(cluster_name|response_code)/g,
    "$1",
  );
  return (
    lines
      .split("\n")
      .filter(
        (line) =>
          counters.test(line) && clusters.some((one) => line.includes(`cluster_name="${one}"`)),
      )
      // One that is not there is 0.
      .filter((line) => !line.endsWith(" 0"))
      .map((line) =>
        line.replace(/\{(.*)\}/, (_, labels: string) => `{${labels.split(",").toSorted().join()}}`),
      )
      .toSorted()
  );
}

test("counted: answers are counted for the aggregate, connections for its members", async () => {
  await Promise.all(planes.map((plane) => answerOf(plane, "/counted/", {})));
  const own = ["counted", "closing", "closed", "untried", "nobody"];
  const all = await agreedOf(
    planes,
    (plane) => countsOf(plane, own),
    (lines) => lines.some((line) => line.includes('"counted"')),
  );
  const of = (cluster: string): string =>
    all.filter((line) => line.includes(`cluster_name="${cluster}"`)).join("\n");
  assert.match(of("closing"), /upstream_rq_xx/);
  assert.doesNotMatch(of("closing"), /upstream_cx_total|upstream_rq_pending/);
  assert.match(of("nobody"), /upstream_cx_none_healthy/);
});
