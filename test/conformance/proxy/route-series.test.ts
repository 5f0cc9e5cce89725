/** Series of routes that have a name for it, of Heddle's data plane (both I/O backends, workers) and of Envoy. */
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";

import { type PlaneName, planeNames, type Planes, startPlanes } from "./planes.ts";

const type = "type.googleapis.com/envoy.extensions";
let planes: Planes<"proxy">;
let application: http.Server;

before(async () => {
  application = http.createServer((request, answer) => {
    if (request.url === "/slow") return;
    answer.statusCode = request.url === "/bad" ? 503 : 200;
    answer.end("ok");
  });
  application.listen(0, "127.0.0.1");
  await once(application, "listening");
  // A server that listens on a port.
  const { port } = application.address() as AddressInfo;
  planes = await startPlanes(
    ["proxy"],
    (ports) => `
static_resources:
  clusters: [{name: app, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: app, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]}}]
  listeners:
  - name: proxy
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports.proxy}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": ${type}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          http_filters: [{name: router, typed_config: {"@type": ${type}.filters.http.router.v3.Router}}]
          route_config:
            virtual_hosts:
            - name: shop
              domains: ["*"]
              routes:
              - {match: {prefix: /unnamed}, route: {cluster: app}}
              - {match: {prefix: /}, stat_prefix: own, route: {cluster: app, timeout: 0.2s, retry_policy: {retry_on: 5xx, num_retries: 1, retry_back_off: {base_interval: 0.005s}}}}
`,
  );
});

after(async () => {
  await planes?.close();
  application?.closeAllConnections();
  application?.close();
});

async function ask(plane: PlaneName, path: string): Promise<void> {
  const answer = await fetch(`http://127.0.0.1:${planes.port(plane, "proxy")}${path}`);
  await answer.text();
}

/** By the part of the name that is the series' own; times are the machine's, and Envoy also counts each status. */
async function seriesOf(plane: PlaneName): Promise<Readonly<Record<string, string>>> {
  const { body } = await planes.admin(plane, "/stats/prometheus");
  const found: Record<string, string> = {};
  for (const line of body.split("\n")) {
    const [, name = "", labels = "", value = ""] =
      /^envoy_vhost_route_upstream_(rq_\w+)\{(.*)\} (\d+)$/.exec(line) ?? [];
    if (name === "" || name.startsWith("rq_time_") || value === "0") continue;
    assert.match(labels, /envoy_route="own"/);
    assert.match(labels, /envoy_virtual_host="shop"/);
    found[name + (/response_code_class="(\d)"/.exec(labels)?.[1] ?? "")] = value;
  }
  return found;
}

test("stat_prefix of a route counts its requests as Envoy does", async () => {
  const all: Partial<Record<PlaneName, unknown>> = {};
  for (const plane of ["envoy", ...planeNames] as const) {
    for (const path of ["/ok", "/bad", "/slow", "/ok", "/unnamed"]) await ask(plane, path);
    // Threads tell what they have counted from time to time.
    let told: Readonly<Record<string, string>> = {};
    for (let tries = 0; tries < 100 && told["rq_completed"] !== "4"; tries++) {
      told = await seriesOf(plane);
      if (told["rq_completed"] !== "4") await new Promise((resolve) => setTimeout(resolve, 50));
    }
    all[plane] = told;
  }
  assert.deepEqual(all["envoy"], {
    rq_completed: "4",
    rq_retry: "1",
    rq_retry_limit_exceeded: "1",
    rq_timeout: "1",
    rq_total: "5",
    rq_xx2: "2",
    rq_xx5: "2",
  });
  for (const plane of planeNames) assert.deepEqual(all[plane], all["envoy"], plane);
});
