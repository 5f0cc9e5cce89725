/** What clusters that track their requests count of them (`track_cluster_stats`), beside Envoy. */
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { freePort } from "../../support/free-port.ts";
import { clusterText, httpListenerText, oneHostText } from "../proxy/bootstrap-text.ts";
import { type PlaneName, planeNames, type Planes, startPlanes } from "../proxy/planes.ts";

const allPlanes: readonly PlaneName[] = [...planeNames, "envoy"];
let planes: Planes<"http"> | undefined;

/** Every second request for `/fail` fails; `/slow` takes longer than an attempt may. */
const failed = new Set<string>();
const server = http.createServer((request, response) => {
  request.resume();
  request.on("end", () => {
    const id = String(request.headers["x-id"]);
    response.sendDate = false;
    if (request.url === "/fail" && !failed.has(id)) {
      failed.add(id);
      response.statusCode = 503;
      response.setHeader("x-why", "because");
      response.end("sorry");
    } else if (request.url === "/slow") {
      setTimeout(() => response.end("late"), 10_000);
    } else response.end("hello");
  });
});

before(async () => {
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const stats = "track_cluster_stats: {timeout_budgets: true, request_response_sizes: true}";
  const retries =
    "retry_policy: {retry_on: 5xx, num_retries: 1, retry_back_off: {base_interval: 0.001s}, per_try_timeout: 2s}";
  const http = {
    settings: `
          generate_request_id: false`,
    router: ", suppress_envoy_headers: true",
    virtualHosts: oneHostText([
      `{match: {prefix: /}, route: {cluster: a, timeout: 3s, ${retries}}}`,
    ]),
  };
  planes = await startPlanes(
    ["http"],
    (ports) => `
static_resources:
  clusters:
  - ${clusterText("a", port, stats)}
  listeners:
  - ${httpListenerText("http", ports.http, http)}
`,
  );
});

after(async () => {
  await planes?.close();
  server.closeAllConnections();
  server.close();
});

interface Counted {
  readonly count: number;
  readonly sum: number;
}

async function countedOf(plane: PlaneName): Promise<ReadonlyMap<string, Counted>> {
  assert.ok(planes !== undefined);
  const { body } = await planes.admin(plane, "/stats/prometheus?filter=upstream_r");
  const found = new Map<string, { count: number; sum: number }>();
  const pattern =
    /^envoy_cluster_upstream_(r[qs]_(?:(?:headers|body)_(?:size|count)|timeout_budget\w*_used))_(sum|count)\{[^}]*\} (\S+)/;
  for (const line of body.split("\n")) {
    const [, name = "", kind, value] = pattern.exec(line) ?? [];
    if (kind !== "sum" && kind !== "count") continue;
    const entry = found.get(name) ?? { count: 0, sum: 0 };
    entry[kind] = Number(value);
    found.set(name, entry);
  }
  return found;
}

/** Envoy shows histograms every five seconds. */
async function settled(plane: PlaneName, attempts: number): Promise<ReadonlyMap<string, Counted>> {
  for (;;) {
    const counted = await countedOf(plane);
    if (counted.get("rq_headers_size")?.count === attempts) return counted;
    await sleep(100);
  }
}

let lastId = 0;

async function ask(plane: PlaneName, path: string): Promise<number> {
  assert.ok(planes !== undefined);
  const headers = { "x-id": String(100 + ++lastId), accept: "*/*" };
  const port = planes.port(plane, "http");
  return await new Promise((resolve, reject) => {
    const options = { host: "127.0.0.1", port, path, method: "POST", headers, agent: false };
    const request = http.request(options, (response) => {
      response.resume();
      response.on("end", () => resolve(response.statusCode ?? 0));
    });
    request.on("error", reject);
    request.end("0123456789");
  });
}

test("attempts and requests are counted as with Envoy", { timeout: 60_000 }, async () => {
  const byPlane = await Promise.all(
    allPlanes.map(async (plane) => {
      const statuses = [];
      for (const path of ["/one", "/two", "/fail", "/slow"]) statuses.push(await ask(plane, path));
      assert.deepEqual(statuses, [200, 200, 200, 504], plane);
      return await settled(plane, 6);
    }),
  );
  const envoy = byPlane.at(-1);
  for (const [i, counted] of byPlane.entries()) {
    const plane = allPlanes[i] ?? "";
    for (const [name, expected] of envoy ?? []) {
      const found = counted.get(name);
      assert.equal(found?.count, expected.count, `${plane}: ${name}`);
      const sum = found?.sum ?? 0;
      // Envoy knows of each value only between which bounds it is, a tenth apart.
      const isSame = Math.abs(sum - expected.sum) <= expected.sum * 0.06;
      // Of what took time: at least one used all that it had.
      const isBudget = name.startsWith("rq_timeout");
      assert.ok(isBudget ? sum >= 90 : isSame, `${plane}: ${name} ${sum}, not ${expected.sum}`);
    }
  }
});
