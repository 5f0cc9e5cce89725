/**
 * What `grpc_stats` and `grpc_web` count of calls, in each form that the configuration can ask for: Heddle on
 * either backend, and Envoy with the same file, series by series.
 */
import assert from "node:assert/strict";
import http2 from "node:http2";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { startProxyInProcess } from "../../support/proxy-in-process.ts";
import { type PlaneName, planeNames, untilOpen } from "./planes.ts";
import { message, type ScriptedServer, startScriptedServer } from "./scripted-server.ts";

const extensions = "type.googleapis.com/envoy.extensions";

/** Each has a cluster of its own, and counts in another way. */
const doors = {
  all: { stats_for_all_methods: true, enable_upstream_stats: true },
  dots: { stats_for_all_methods: true, replace_dots_in_grpc_service_name: true },
  none: { stats_for_all_methods: false },
  unsaid: {},
  listed: {
    individual_method_stats_allowlist: {
      services: [{ name: "late", method_names: ["0"] }],
    },
  },
} as const;
type Door = keyof typeof doors;
const doorNames = Object.keys(doors) as Door[];

interface Plane {
  readonly ports: ReadonlyMap<Door, number>;
  readonly read: () => Promise<string>;
  readonly close: () => Promise<void>;
}

const planes = new Map<PlaneName, Plane>();
let server: ScriptedServer | undefined;

function bootstrap(ports: ReadonlyMap<Door, number>, serverPort: number): object {
  const address = (at: number): object => ({
    socket_address: { address: "127.0.0.1", port_value: at },
  });
  const filter = (name: string, type: string, config: object = {}): object => ({
    name: `envoy.filters.http.${name}`,
    typed_config: { "@type": `${extensions}.filters.http.${type}`, ...config },
  });
  const listener = (door: Door): object => ({
    name: door,
    address: address(ports.get(door) ?? 0),
    filter_chains: [
      {
        filters: [
          {
            name: "http",
            typed_config: {
              "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
              stat_prefix: door,
              route_config: {
                virtual_hosts: [
                  {
                    name: "all",
                    domains: ["*"],
                    routes: [
                      { match: { prefix: "/fault" }, direct_response: { status: 503 } },
                      {
                        match: { prefix: "/pkg.Some/" },
                        route: { cluster: door, prefix_rewrite: "/late/" },
                      },
                      { match: { prefix: "/" }, route: { cluster: door, timeout: "0s" } },
                    ],
                  },
                ],
              },
              http_filters: [
                filter("grpc_web", "grpc_web.v3.GrpcWeb"),
                filter("grpc_stats", "grpc_stats.v3.FilterConfig", doors[door]),
                filter("router", "router.v3.Router"),
              ],
            },
          },
        ],
      },
    ],
  });
  const cluster = (name: Door): object => ({
    name,
    type: "STATIC",
    connect_timeout: "5s",
    typed_extension_protocol_options: {
      "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
        "@type": `${extensions}.upstreams.http.v3.HttpProtocolOptions`,
        explicit_http_config: { http2_protocol_options: {} },
      },
    },
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ endpoint: { address: address(serverPort) } }] }],
    },
  });
  return {
    static_resources: { clusters: doorNames.map(cluster), listeners: doorNames.map(listener) },
  };
}

async function start(name: PlaneName, serverPort: number): Promise<Plane> {
  const ports = new Map<Door, number>();
  for (const door of doorNames) ports.set(door, await freePort());
  const config = bootstrap(ports, serverPort);
  if (name !== "envoy") {
    const { metrics, close } = await startProxyInProcess(config, name);
    return { ports, read: async () => metrics(), close };
  }
  const adminPort = await freePort();
  const admin = { address: { socket_address: { address: "127.0.0.1", port_value: adminPort } } };
  const envoy = startEnvoy(findEnvoy() ?? assert.fail("no Envoy at hand"), { ...config, admin });
  await untilOpen(ports.get("listed") ?? 0);
  const read = async (): Promise<string> =>
    (await fetch(`http://127.0.0.1:${adminPort}/stats`)).text();
  return { ports, read, close: () => envoy.stop() };
}

before(async () => {
  server = await startScriptedServer();
  for (const name of planeNames) planes.set(name, await start(name, server.port));
});

after(async () => {
  for (const plane of planes.values()) await plane.close();
  server?.close();
});

interface Call {
  readonly path: string;
  readonly type?: string;
  readonly messages?: number;
}

const calls: readonly Call[] = [
  { path: "/late/0" },
  { path: "/late/0?q=1" },
  { path: "/late/5", messages: 3 },
  { path: "/status/14" },
  { path: "/headers/9" },
  { path: "/messages/7/10" },
  { path: "/pkg.Some/0", messages: 2 },
  { path: "/fault/one" },
  { path: "/reset/head" },
  { path: "/plain/200/10" },
  { path: "/late/99" },
  { path: "/late/0", type: "application/json" },
  { path: "/late/0", type: "application/grpc+proto" },
  { path: "/late/0", type: "application/grpc-web+proto", messages: 2 },
  { path: "/status/5", type: "application/grpc-web+proto" },
  { path: "/plain/503/10", type: "application/grpc-web+proto" },
];

async function ask(port: number, { path, type = "application/grpc", messages = 1 }: Call) {
  const client = http2.connect(`http://127.0.0.1:${port}`);
  client.on("error", () => {});
  const fields = { ":method": "POST", ":path": path, "content-type": type, te: "trailers" };
  const stream = client.request(fields);
  stream.on("error", () => {});
  stream.on("data", () => {});
  const closed = new Promise((resolve) => stream.once("close", resolve));
  for (let sent = 0; sent < messages; sent++) stream.write(message(10));
  stream.end();
  await closed;
  client.destroy();
}

/** `cluster.all.grpc.late.0.success: 3`; statuses that gRPC does not know have no series of their own here. */
function ofEnvoy(text: string): readonly string[] {
  return text
    .split("\n")
    .filter((line) => /^cluster\.\w+\.grpc/.test(line) && !/upstream_rq_time|\.99: /.test(line))
    .toSorted();
}

function ofHeddle(text: string): readonly string[] {
  return text
    .split("\n")
    .flatMap((line) => {
      const [, kind = "", suffix = "", labels = "", value = ""] =
        /^envoy_cluster_(grpc(?:_web)?)_(\w+)\{(.*)\} (\d+)$/.exec(line) ?? [];
      const of = (name: string): string | undefined =>
        new RegExp(`(?:^|,)${name}="([^"]*)"`).exec(labels)?.[1];
      if (kind === "" || suffix.startsWith("upstream_rq_time")) return [];
      const names = [of("grpc_bridge_service"), of("grpc_bridge_method")];
      const place = ["cluster", of("cluster_name"), kind.replace("_", "-"), ...names, suffix];
      return `${place.filter((one) => one !== undefined).join(".")}: ${value}`;
    })
    .toSorted();
}

/** How often times were taken, by cluster and method. */
function timesOf(text: string): number {
  const envoy = [...text.matchAll(/^cluster\.\w+\.grpc\..*upstream_rq_time: .*$/gm)].length;
  return envoy + [...text.matchAll(/^envoy_cluster_grpc_upstream_rq_time_count\{/gm)].length;
}

/** Series follow the ends of streams, which clients may know first: the last call has a series of its own. */
async function untilCounted({ ports, read }: Plane): Promise<string> {
  for (const port of ports.values()) await ask(port, { path: "/late/16" });
  for (;;) {
    const text = await read();
    const counted = /grpc\.16: |grpc\.late\.16\.16: |grpc_16\{/g;
    if ([...text.matchAll(counted)].length === ports.size) return text;
    await sleep(5);
  }
}

test("gRPC: calls and messages are counted as by Envoy", async () => {
  const read: Partial<Record<PlaneName, string>> = {};
  for (const name of planeNames) {
    const plane = planes.get(name) ?? assert.fail();
    for (const door of doorNames) {
      for (const call of calls) await ask(plane.ports.get(door) ?? 0, call);
    }
    read[name] = await untilCounted(plane);
  }
  const envoy = ofEnvoy(read.envoy ?? "");
  assert.ok(envoy.length > 50, envoy.join("\n"));
  for (const name of ["portable", "epoll"] as const) {
    assert.deepEqual(ofHeddle(read[name] ?? ""), envoy, "actual: Heddle, expected: Envoy");
    assert.equal(timesOf(read[name] ?? ""), timesOf(read.envoy ?? ""));
  }
});
