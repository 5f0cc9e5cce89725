/**
 * What a proxy counts of its control plane: Heddle's proxy and Envoy follow the same server, in both
 * variants of the protocol, through answers that are accepted and refused. A series that Envoy then shows
 * is compared by its value (times by being there), or stands in docs/stats.md with its reason.
 */
import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import http from "node:http";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test, type TestContext } from "node:test";

import type { JsonObject } from "@bufbuild/protobuf";

import { systemClock } from "../../../src/base/clock.ts";
import { runProxy } from "../../../src/cli/commands/proxy.ts";
import { startGrpcServer } from "../../../src/net/grpc-server.ts";
import { defaultGrpcKeepalive } from "../../../src/net/grpc.ts";
import { AdsServer, type ProxyAnswer } from "../../../src/xds/ads-server.ts";
import { typeUrls } from "../../../src/xds/feed.ts";
import { encodedResource, snapshotOf } from "../../../src/xds/snapshot.ts";
import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { silentLog } from "../../support/silent-log.ts";
import { encode } from "../planes/field-walk.ts";
import { until } from "../proxy/collector.ts";

const ads = { ads: {}, resourceApiVersion: "V3" };
const extensions = "type.googleapis.com/envoy.extensions";

function resource(type: string, name: string, references: readonly string[], json: JsonObject) {
  return encodedResource(name, encode(`envoy.config.${type}`, json), { references });
}

const cluster = (name: string, connectTimeout: string) =>
  resource("cluster.v3.Cluster", name, [name], {
    name,
    type: "EDS",
    edsClusterConfig: { serviceName: name, edsConfig: ads },
    connectTimeout,
  });

const endpoints = (name: string, portValue: number) =>
  resource("endpoint.v3.ClusterLoadAssignment", name, [], {
    clusterName: name,
    endpoints: [
      {
        lbEndpoints: [
          { endpoint: { address: { socketAddress: { address: "127.0.0.1", portValue } } } },
        ],
      },
    ],
  });

const routes = (name: string, to: string) =>
  resource("route.v3.RouteConfiguration", name, [to], {
    name,
    virtualHosts: [
      { name: "all", domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster: to } }] },
    ],
  });

const listener = (name: string, portValue: number) =>
  resource("listener.v3.Listener", name, ["r"], {
    name,
    address: { socketAddress: { address: "127.0.0.1", portValue } },
    filterChains: [
      {
        filters: [
          {
            name: "http",
            typedConfig: {
              "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
              statPrefix: "in",
              rds: { routeConfigName: "r", configSource: ads },
              httpFilters: [
                {
                  name: "router",
                  typedConfig: { "@type": `${extensions}.filters.http.router.v3.Router` },
                },
              ],
            },
          },
        ],
      },
    ],
  });

function bootstrap(
  plane: string,
  apiType: string,
  ports: { readonly control: number; readonly admin: number },
): JsonObject {
  const source = { ads: {}, resource_api_version: "V3" };
  const address = (port: number) => ({
    socket_address: { address: "127.0.0.1", port_value: port },
  });
  return {
    node: { id: plane, cluster: "test" },
    admin: { address: address(ports.admin) },
    dynamic_resources: {
      ads_config: {
        api_type: apiType,
        transport_api_version: "V3",
        set_node_on_first_message_only: true,
        grpc_services: [{ envoy_grpc: { cluster_name: "control" } }],
      },
      cds_config: source,
      lds_config: source,
    },
    static_resources: {
      clusters: [
        {
          name: "control",
          type: "STATIC",
          connect_timeout: "1s",
          typed_extension_protocol_options: {
            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
              "@type": `${extensions}.upstreams.http.v3.HttpProtocolOptions`,
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
          load_assignment: {
            cluster_name: "control",
            endpoints: [{ lb_endpoints: [{ endpoint: { address: address(ports.control) } }] }],
          },
        },
      ],
    },
  };
}

async function start(t: TestContext, plane: string, config: JsonObject): Promise<void> {
  if (plane === "envoy") {
    const binary = findEnvoy();
    assert.ok(binary !== undefined, "no Envoy: npm test installs one, or set HEDDLE_ENVOY");
    const envoy = startEnvoy(binary, config);
    t.after(() => envoy.stop());
    return;
  }
  const folder = mkdtempSync(join(tmpdir(), "heddle-series-"));
  const file = join(folder, "bootstrap.json");
  writeFileSync(file, JSON.stringify(config, undefined, 1));
  const running = runProxy({ config: file, logLevel: "error", logFormat: "text" });
  t.after(async () => {
    await (await running).stop();
    rmSync(folder, { recursive: true });
  });
}

async function get(port: number, path: string): Promise<string> {
  return await new Promise((resolve) => {
    http
      .get({ host: "127.0.0.1", port, path, agent: false }, (answer) => {
        let body = "";
        answer.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
        answer.on("end", () => resolve(body));
      })
      .on("error", () => resolve("refused"));
  });
}

/** Polls what is told of a plane, until it is so. */
async function untilSo(isSo: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const deadline = Date.now() + 60_000;
  while (!(await isSo())) {
    assert.ok(Date.now() < deadline, what);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

const about =
  /^envoy_(cluster_manager_(cds|control|active|cluster|warming)|listener_manager_(lds|listener|total)|http_rds|control_plane|cluster_(update|assignment|version|init|warming))/;

/** By name and labels, without Envoy's prefix and the control plane's own cluster; of histograms none. */
function readSeries(text: string): Map<string, number> {
  const found = new Map<string, number>();
  for (const line of text.split("\n")) {
    const [, name = "", labels = "", value = ""] =
      /^([^#{ ]+)(?:\{(.*)\})? (\S+)$/.exec(line) ?? [];
    if (!about.test(name) || /_(bucket|sum|count)$/.test(name)) continue;
    const pairs = [...labels.matchAll(/(\w+)="([^"]*)"/g)].map(
      ([, key = "", of]) => `${key.replace(/^envoy_/, "")}=${of}`,
    );
    if (pairs.includes("cluster_name=control")) continue;
    found.set(`${name}{${pairs.toSorted().join(",")}}`, Number(value));
  }
  return found;
}

/** A static cluster that only leads to the control plane is none in Heddle's proxy. */
function withoutControl(found: Map<string, number>): void {
  for (const name of ["cluster_added", "active_clusters"]) {
    const key = `envoy_cluster_manager_${name}{}`;
    found.set(key, (found.get(key) ?? 0) - 1);
  }
}

/** Everything that the plane counts after four answers of each kind, one of them refused. */
async function seriesOf(
  t: TestContext,
  plane: string,
  apiType: string,
): Promise<ReadonlyMap<string, number>> {
  const application = http.createServer((_, answer) => answer.end("a"));
  await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
  t.after(() => void application.close());
  const address = application.address();
  assert.ok(typeof address === "object" && address !== null);
  const answers: ProxyAnswer[] = [];
  const server = new AdsServer({
    clock: systemClock,
    log: silentLog,
    events: { onAnswer: (_, answer) => answers.push(answer) },
  });
  const grpc = await startGrpcServer({
    listen: { address: "127.0.0.1", port: 0 },
    methods: server.methods((_, node) => node?.id ?? ""),
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
    log: silentLog,
  });
  t.after(() => grpc.close());
  assert.ok("port" in grpc.address);
  const [port, admin] = [await freePort(), await freePort()];
  const publish = (version: string, timeout: string, broken: boolean): void => {
    const more = broken ? [listener("broken", 100_000)] : [];
    const snapshot = snapshotOf(version, [
      [typeUrls.cluster, [cluster("a", timeout)]],
      [typeUrls.endpoint, [endpoints("a", address.port)]],
      [typeUrls.listener, [listener("l", port), ...more]],
      [typeUrls.route, [routes("r", "a")]],
    ]);
    server.setSnapshot(plane, snapshot);
  };
  publish("1", "1s", false);
  await start(t, plane, bootstrap(plane, apiType, { control: grpc.address.port, admin }));
  await untilSo(async () => (await get(port, "/")) === "a", `${plane}: the first route`);
  await untilSo(() => server.isSynced(plane), `${plane}: in step`);
  publish("2", "2s", true);
  await until(
    () => answers.find(({ kind }) => kind === "refused"),
    () => `${plane}: the refusal`,
  );
  await untilSo(() => server.isSynced(plane), `${plane}: in step but for it`);
  publish("3", "3s", false);
  await untilSo(() => server.isSynced(plane), `${plane}: in step again`);
  const found = readSeries(await get(admin, "/stats?format=prometheus"));
  if (plane === "envoy") withoutControl(found);
  return found;
}

const isTime = /_(?:update_time|reload_time_ms)\{/;

/** Names that docs/stats.md says are not there. */
const absent = readFileSync(new URL("../../../docs/stats.md", import.meta.url), "utf8")
  .split("\n")
  .flatMap((line) =>
    line.startsWith("| `") ? [...(line.split("|")[1] ?? "").matchAll(/`([^`]+)`/g)] : [],
  )
  .map(([, pattern = ""]) => new RegExp(`^envoy_${pattern.replaceAll("*", "\\w*")}$`));

for (const apiType of ["GRPC", "DELTA_GRPC"]) {
  test(`answers of a control plane are counted as Envoy does: ${apiType}`, async (t) => {
    const theirs = await seriesOf(t, "envoy", apiType);
    const ours = await seriesOf(t, "heddle", apiType);
    const differing = [...theirs]
      .filter(([key]) => !absent.some((one) => one.test(key.slice(0, key.indexOf("{")))))
      .filter(([key, value]) =>
        isTime.test(key) ? !ours.has(key) : (ours.get(key) ?? 0) !== value,
      )
      .map(([key, value]) => `${key} ${ours.get(key) ?? "-"}, Envoy ${value}`);
    assert.deepEqual(differing, []);
  });
}
