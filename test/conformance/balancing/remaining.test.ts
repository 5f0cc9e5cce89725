/** What is left of a cluster's limits, as series tell it, beside Envoy on the same file. */
import assert from "node:assert/strict";
import type { ServerResponse } from "node:http";
import { after, before, test } from "node:test";

import { agreedOf } from "./health-planes.ts";
import { bootstrapOf, type Plane, Servers, startPlanes } from "./planes.ts";

/** Answers that are held back. */
let held: ServerResponse[] = [];
let onHeld = (): void => {};

const servers = new Servers(1, (_, { url = "" }, response) => {
  if (!url.includes("hold")) return void response.end("fine");
  held.push(response);
  onHeld();
});
let planes: readonly Plane[] = [];

const limits =
  "max_connections: 7, max_pending_requests: 6, max_requests: 5, max_retries: 4, max_connection_pools: 3";
const clusters: Readonly<Record<string, string>> = {
  defaults: "[{track_remaining: true}]",
  told: `[{${limits}, track_remaining: true}]`,
  untold: `[{${limits}}]`,
  high: `[{priority: HIGH, ${limits}, track_remaining: true}]`,
  budget: `[{${limits}, track_remaining: true, retry_budget: {}}]`,
};

before(async () => {
  await servers.open();
  planes = await startPlanes(
    (place) =>
      bootstrapOf(place, {
        clusters: Object.entries(clusters).map(
          ([name, thresholds]) =>
            `{name: ${name}, connect_timeout: 10s, circuit_breakers: {thresholds: ${thresholds}}, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [${servers.endpoint(0)}]}]}}`,
        ),
        routes: Object.keys(clusters).map(
          (name) =>
            `{match: {prefix: /${name}/}, route: {cluster: ${name}${name === "high" ? ", priority: HIGH" : ""}}}`,
        ),
      }),
    { workers: 2 },
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  servers.close();
});

/** Of a cluster: `priority` and name of each limit, and what is left of it. */
async function remaining(plane: Plane, cluster: string): Promise<readonly string[]> {
  const lines = (await plane.admin("/stats/prometheus")).split("\n");
  return lines
    .flatMap((line) => {
      const [, name = "", value] =
        /^envoy_cluster_circuit_breakers_(\w+_remaining_\w+)\{[^}]*\} (\d+)/.exec(line) ?? [];
      return line.includes(`"${cluster}"`) && name !== "" ? [`${name} ${Number(value)}`] : [];
    })
    .toSorted();
}

for (const [cluster, priority] of [
  ["told", "default"],
  ["high", "high"],
  ["budget", "default"],
] as const) {
  test(`${cluster}: what is left of limits is told while a request is in flight, and after it`, async () => {
    const all = new Promise<void>((resolve) => {
      onHeld = () => held.length === planes.length && resolve();
    });
    const asked = planes.map((plane) => plane.ask(`/${cluster}/hold`));
    await all;
    const own = async (plane: Plane): Promise<readonly string[]> =>
      (await remaining(plane, cluster)).filter(
        // Of the other priority nothing is made here until a route asks for it; of a budget Envoy knows nothing before.
        (line) => line.startsWith(priority) && (cluster !== "budget" || !line.includes("retries")),
      );
    const during = await agreedOf(planes, own, (lines) =>
      lines.some((line) => / [42]$/.test(line)),
    );
    assert.deepEqual(during, [
      `${priority}_remaining_cx 6`,
      `${priority}_remaining_cx_pools 2`,
      `${priority}_remaining_pending 6`,
      ...(cluster === "budget" ? [] : [`${priority}_remaining_retries 4`]),
      `${priority}_remaining_rq 4`,
    ]);
    for (const response of held.splice(0)) response.end("fine");
    await Promise.all(asked);
    const later = await agreedOf(planes, own, (lines) =>
      lines.some((line) => line.endsWith("rq 5")),
    );
    assert.equal(later.length, during.length);
    held = [];
  });
}

test("defaults: what is left is told before there is a request", async () => {
  const found = await agreedOf(
    planes,
    async (plane) =>
      (await remaining(plane, "defaults")).filter((line) => line.startsWith("default_")),
    (lines) => lines.length === 5,
  );
  assert.ok(found.includes("default_remaining_cx 1024"));
});

test("untold: nothing is told where it is not asked for", async () => {
  for (const plane of planes) {
    assert.equal((await plane.ask("/untold/fine")).status, 200);
    assert.deepEqual(await remaining(plane, "untold"), [], plane.name);
  }
});
