/** Several health checks of one cluster, beside Envoy on the same file: each endpoint has to pass all. */
import assert from "node:assert/strict";
import type { IncomingMessage, ServerResponse } from "node:http";
import { after, before, test } from "node:test";

import { agreedOf, flagsOf } from "./health-planes.ts";
import { bootstrapOf, type Plane, Servers, startPlanes } from "./planes.ts";

/** What the endpoints answer, by the path that is asked; the rest is well. */
const answers = new Map<string, number | "degraded">([
  ["1 /two", 503],
  ["2 /one", "degraded"],
  ["3 /one", 503],
  ["3 /two", "degraded"],
]);

function answer(index: number, request: IncomingMessage, response: ServerResponse): void {
  const found = answers.get(`${index} ${request.url ?? ""}`);
  if (found === "degraded") response.writeHead(200, { "x-envoy-degraded": "1" }).end();
  else response.writeHead(found ?? 200).end(String(index));
}

const servers = new Servers(4, answer);
let planes: readonly Plane[] = [];

function cluster(name: string, checks: readonly string[]): string {
  const endpoints = [0, 1, 2, 3].map((i) => servers.endpoint(i)).join(", ");
  const often =
    "timeout: 10s, interval: 0.1s, no_traffic_interval: 0.1s, unhealthy_threshold: 2, healthy_threshold: 2";
  const all = checks.map((check) => `{${often}, ${check}}`).join(", ");
  return `{name: ${name}, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [${endpoints}]}]}, health_checks: [${all}]}`;
}

before(async () => {
  await servers.open();
  const one = "name: one, http_health_check: {path: /one}";
  const two = "name: two, http_health_check: {path: /two}";
  planes = await startPlanes(
    (place) =>
      bootstrapOf(place, {
        clusters: [
          cluster("both", [one, two]),
          cluster("three", [one, two, "name: tcp, tcp_health_check: {}"]),
          cluster("named", [one]),
        ],
        routes: [],
      }),
    { workers: 2 },
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  servers.close();
});

const expected: Readonly<Record<string, readonly string[]>> = {
  both: [
    "healthy",
    "/failed_active_hc",
    "/degraded_active_hc",
    "/failed_active_hc/degraded_active_hc",
  ],
  three: [
    "healthy",
    "/failed_active_hc",
    "/degraded_active_hc",
    "/failed_active_hc/degraded_active_hc",
  ],
  named: ["healthy", "healthy", "/degraded_active_hc", "/failed_active_hc"],
};

function flags(name: string, all: readonly string[]): Promise<readonly string[]> {
  return agreedOf(
    planes,
    (plane) => flagsOf(plane, name),
    (lines) => lines.every((line, i) => line.endsWith(`:${all[i] ?? ""}`)),
  );
}

for (const [name, all] of Object.entries(expected)) {
  test(`endpoints of '${name}' are what the worst of their checks says`, async () => {
    assert.equal((await flags(name, all)).length, 4);
  });

  test(`series of '${name}' tell of each check, and of all together`, async () => {
    const lines = await agreedOf(
      planes,
      async (plane) => seriesOf(await plane.admin("/stats/prometheus"), name),
      (found) => found.length > 0,
    );
    // Of those that have a name, and of more than one together.
    assert.equal(lines.length, { both: 6, three: 8, named: 2 }[name]);
  });
}

/** As Envoy names their labels, in one order. */
function seriesOf(text: string, name: string): readonly string[] {
  const wanted = /^envoy_cluster_health_check_(?:healthy|degraded)\{(.*)\}( .*)$/;
  return text
    .split("\n")
    .flatMap((line) => {
      const [, labels = "", value = ""] = wanted.exec(line) ?? [];
      const own = labels
        .split(",")
        .map((label) => label.replace(/^envoy_/, ""))
        .toSorted();
      const isOurs = own.includes(`cluster_name="${name}"`);
      return isOurs ? [`${line.split("{")[0] ?? ""} ${own.join()}${value}`] : [];
    })
    .toSorted();
}

test("health changes with the check that decides", async () => {
  const [well = "", failed = "", degraded = ""] = expected["both"] ?? [];
  const last = `${failed}${degraded}`;
  answers.set("0 /one", 503);
  await flags("both", [failed, failed, degraded, last]);
  answers.set("0 /two", 503);
  answers.delete("0 /one");
  await flags("both", [failed, failed, degraded, last]);
  answers.delete("0 /two");
  answers.delete("1 /two");
  answers.delete("3 /one");
  await flags("both", [well, well, degraded, degraded]);
});
