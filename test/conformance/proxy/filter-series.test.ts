/**
 * What filters count and tell: faults and policies on requests, the same load under Heddle (both I/O
 * backends, and data workers) and under Envoy, by the values of their series and by access logs.
 */
import assert from "node:assert/strict";
import net from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const extensions = "type.googleapis.com/envoy.extensions";
const filters = `${extensions}.filters.http`;
const always = { numerator: 100 };
const abort = { http_status: 418, percentage: always };
const delay = { fixed_delay: "0.05s", percentage: always };
const rate = { fixed_limit: { limit_kbps: 64 }, percentage: always };
const said = { filter_metadata: { who: "chaos" } };

const faults: Readonly<Record<string, object>> = {
  none: {},
  abort: { abort, ...said },
  delay: { delay, ...said },
  rate: { response_rate_limit: rate, ...said },
  all: { abort, delay, response_rate_limit: rate, ...said },
  never: { abort, delay, response_rate_limit: rate, max_active_faults: 0, ...said },
  rare: { abort: { http_status: 418, percentage: { numerator: 0 } }, ...said },
};

const policy = (prefix: string): object => ({
  permissions: [{ url_path: { path: { prefix } } }],
  principals: [{ any: true }],
});
const rules = (action: string): object => ({
  action,
  policies: { "first policy": policy("/policy/first"), second: policy("/policy/second") },
});
const policies = {
  rules: rules("DENY"),
  rules_stat_prefix: "own.",
  shadow_rules: rules("ALLOW"),
  shadow_rules_stat_prefix: "rehearsed",
  track_per_rule_stats: true,
};

const fault = (fields: object): object => ({ "@type": `${filters}.fault.v3.HTTPFault`, ...fields });
const routes = [
  ...Object.entries(faults).map(([name, fields]) => ({
    match: { prefix: `/fault/${name}` },
    direct_response: { status: 200, body: { inline_string: "ok" } },
    typed_per_filter_config: { chaos: fault(fields) },
  })),
  { match: { prefix: "/" }, direct_response: { status: 200 } },
];
const paths = [
  ...Object.keys(faults).map((name) => `/fault/${name}`),
  "/policy/first",
  "/policy/second",
  "/policy/second",
  "/policy/none",
];

let planes: Planes<"in">;

before(async () => {
  planes = await startPlanes(["in"], (ports, { logFile }) =>
    JSON.stringify({
      static_resources: {
        listeners: [
          {
            name: "in",
            address: { socket_address: { address: "127.0.0.1", port_value: ports.in } },
            filter_chains: [{ filters: [{ name: "http", typed_config: manager(logFile) }] }],
          },
        ],
      },
    }),
  );
});

after(() => planes.close());

function manager(path: string): object {
  const format =
    "%RESPONSE_CODE% %RESPONSE_FLAGS% %DYNAMIC_METADATA(chaos)% %DYNAMIC_METADATA(envoy.filters.http.fault)%\n";
  return {
    "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: "in",
    access_log: [
      {
        name: "file",
        typed_config: {
          "@type": `${extensions}.access_loggers.file.v3.FileAccessLog`,
          path,
          log_format: { text_format_source: { inline_string: format } },
        },
      },
    ],
    route_config: { virtual_hosts: [{ name: "all", domains: ["*"], routes }] },
    http_filters: [
      { name: "rbac", typed_config: { "@type": `${filters}.rbac.v3.RBAC`, ...policies } },
      { name: "chaos", typed_config: fault({}) },
      { name: "router", typed_config: { "@type": `${filters}.router.v3.Router` } },
    ],
  };
}

/** One request on a connection of its own. */
async function ask(port: number, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    const socket = net.connect(port, "127.0.0.1", () =>
      socket.write(`GET ${path} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n`),
    );
    socket.on("data", () => {});
    socket.on("error", reject);
    socket.on("close", () => resolve());
  });
}

interface Told {
  readonly log: readonly string[];
  readonly series: readonly string[];
}

async function toldBy(plane: PlaneName): Promise<Told> {
  for (const [i, path] of paths.entries()) {
    await ask(planes.port(plane, "in"), path);
    while (planes.log(plane).length <= i) await sleep(5);
  }
  const deadline = Date.now() + 30_000;
  for (;;) {
    const series = await seriesOf(plane);
    const isSettled = series.some((line) => /active_faults\{.*\} 0$/.test(line));
    if (isSettled || Date.now() > deadline) return { log: planes.log(plane), series };
    await sleep(20);
  }
}

/** Of faults and policies, with the prefix of labels that Envoy has taken away. */
async function seriesOf(plane: PlaneName): Promise<readonly string[]> {
  const { body } = await planes.admin(plane, "/stats?format=prometheus");
  return body
    .split("\n")
    .filter((line) => /^envoy_http_(fault|rbac)/.test(line))
    .map((line) => line.replaceAll(/([{,])envoy_/g, "$1"))
    .map((line) => line.replace(/\{(.*)\}/, (_, labels: string) => `{${sorted(labels)}}`))
    .toSorted();
}

function sorted(labels: string): string {
  return labels.split(",").toSorted().join(",");
}

test("filters count and tell what Envoy's do", async () => {
  const wanted = await toldBy("envoy");
  assert.match(wanted.series.join("\n"), /fault_aborts_injected\{.*\} 2$/m);
  for (const plane of planeNames) assert.deepEqual(await toldBy(plane), wanted, plane);
});
