/** How much an endpoint gets that has just become well, beside Envoy on the same file. */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { assertAlike, frequencies } from "./frequencies.ts";
import { agreedOf, flagsOf } from "./health-planes.ts";
import { bootstrapOf, type Plane, Servers, startPlanes } from "./planes.ts";

/** What the second server says of itself. */
let isWell = false;
const servers = new Servers(2, (index, { url = "" }, response) => {
  if (url === "/health" && index === 1 && !isWell) response.statusCode = 503;
  response.end(String(index));
});
let planes: readonly Plane[] = [];

/** For its first half the least share, a half, is what counts. */
const windowMs = 8000;
const slowly = `slow_start_config: {slow_start_window: ${windowMs / 1000}s, min_weight_percent: {value: 50}}`;
const typed =
  "type.googleapis.com/envoy.extensions.load_balancing_policies.least_request.v3.LeastRequest";
const clusters: Readonly<Record<string, string>> = {
  robin: `round_robin_lb_config: {${slowly}}`,
  typed: `load_balancing_policy: {policies: [{typed_extension_config: {name: p, typed_config: {"@type": ${typed}, ${slowly}}}}]}`,
  quick: "lb_policy: ROUND_ROBIN",
};
const check =
  "{timeout: 5s, interval: 0.2s, no_traffic_interval: 0.2s, unhealthy_threshold: 3, healthy_threshold: 1, http_health_check: {path: /health}}";

before(async () => {
  await servers.open();
  const endpoints = `[${servers.endpoint(0)}, ${servers.endpoint(1)}]`;
  planes = await startPlanes((place) =>
    bootstrapOf(place, {
      clusters: Object.entries(clusters).map(
        ([name, policy]) =>
          `{name: ${name}, connect_timeout: 1s, ${policy}, common_lb_config: {healthy_panic_threshold: {value: 0}}, health_checks: [${check}], load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: ${endpoints}}]}}`,
      ),
      routes: Object.keys(clusters).map(
        (name) => `{match: {prefix: /${name}/}, route: {cluster: ${name}}}`,
      ),
    }),
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  servers.close();
});

/** One after the other: who is busy is not what is asked. */
async function drawn(plane: Plane, name: string, count: number): Promise<readonly string[]> {
  const found: string[] = [];
  for (let i = 0; i < count; i++) found.push((await plane.ask(`/${name}/`)).body);
  return found;
}

/** How many of 48 requests the second server has had, by cluster, the same with all. */
async function seconds(): Promise<Readonly<Record<string, number>>> {
  const found = await Promise.all(
    Object.keys(clusters).map(async (name) => {
      const counts = await Promise.all(
        planes.map(async (plane) => frequencies(await drawn(plane, name, 48))),
      );
      const theirs = counts.at(-1) ?? assert.fail();
      for (const [i, plane] of planes.entries()) {
        const own = counts[i] ?? assert.fail();
        if (!plane.isEnvoy) assertAlike(own, theirs, `${name}, ${plane.name}`);
      }
      return [name, theirs.get("1") ?? 0] as const;
    }),
  );
  return Object.fromEntries(found);
}

/** Of all planes, by the checks. */
async function become(well: boolean): Promise<void> {
  isWell = well;
  const end = well ? "::healthy" : "::/failed_active_hc";
  await agreedOf(
    planes,
    (plane) => Promise.all(Object.keys(clusters).map((name) => flagsOf(plane, name))),
    (all) => all.every((lines) => lines.at(-1)?.endsWith(end) === true),
  );
}

test("an endpoint that comes back begins with the least share, and has its own after the window", async () => {
  // It is the time itself that is tested: the first server's window must be over.
  await sleep(windowMs + 500);
  for (const count of Object.values(await seconds())) assert.equal(count, 0);
  let early: Readonly<Record<string, number>> = {};
  for (let tookMs = windowMs; tookMs > windowMs / 2;) {
    await become(false);
    const beganMs = Date.now();
    await become(true);
    early = await seconds().catch((thrown: unknown) => {
      // On a busy machine the share may have grown meanwhile, for one sooner than for another.
      if (Date.now() - beganMs <= windowMs / 2) throw thrown;
      return {};
    });
    tookMs = Date.now() - beganMs;
  }
  // A third of all, against a half.
  for (const [name, count] of Object.entries(early)) {
    assert.ok(name === "quick" ? count > 21 : count < 20, `${name}: ${count}`);
  }
  await sleep(windowMs + 500);
  for (const [name, count] of Object.entries(await seconds())) {
    assert.ok(count > 21, `${name}: ${count}`);
  }
});
