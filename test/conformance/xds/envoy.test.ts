import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { test } from "node:test";

import { systemClock } from "../../../src/base/clock.ts";
import { type GrpcServer, startGrpcServer } from "../../../src/net/grpc-server.ts";
import { defaultGrpcKeepalive } from "../../../src/net/grpc.ts";
import { HttpConnectionManager } from "../../../src/wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import {
  Cluster,
  Cluster_DiscoveryType,
} from "../../../src/wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { ApiVersion } from "../../../src/wire/gen/ts/envoy/config/core/v3/config_source.ts";
import { ClusterLoadAssignment } from "../../../src/wire/gen/ts/envoy/config/endpoint/v3/endpoint.ts";
import { Listener } from "../../../src/wire/gen/ts/envoy/config/listener/v3/listener.ts";
import { RouteConfiguration } from "../../../src/wire/gen/ts/envoy/config/route/v3/route.ts";
import { Router } from "../../../src/wire/gen/ts/envoy/extensions/filters/http/router/v3/router.ts";
import { AdsServer, type ProxyAnswer } from "../../../src/xds/ads-server.ts";
import { typeUrls } from "../../../src/xds/feed.ts";
import { encodedResource, type Snapshot, snapshotOf } from "../../../src/xds/snapshot.ts";
import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { silentLog } from "../../support/silent-log.ts";

// A stock Envoy follows our server, with both variants of the protocol.
const ads = { ads: {}, resourceApiVersion: ApiVersion.V3 };
const any = (type: string, value: Uint8Array) => ({
  typeUrl: `type.googleapis.com/${type}`,
  value,
});

function cluster(name: string, connectTimeoutSeconds = 1) {
  const message = Cluster.fromPartial({
    name,
    type: Cluster_DiscoveryType.EDS,
    edsClusterConfig: { serviceName: name, edsConfig: ads },
    connectTimeout: { seconds: BigInt(connectTimeoutSeconds) },
  });
  return encodedResource(name, Cluster.encode(message).finish(), { references: [name] });
}

function endpoints(name: string, port: number) {
  const socketAddress = { address: "127.0.0.1", portValue: port };
  const message = ClusterLoadAssignment.fromPartial({
    clusterName: name,
    endpoints: [{ lbEndpoints: [{ endpoint: { address: { socketAddress } } }] }],
  });
  return encodedResource(name, ClusterLoadAssignment.encode(message).finish());
}

function routes(name: string, to: string) {
  const message = RouteConfiguration.fromPartial({
    name,
    virtualHosts: [
      { name: "all", domains: ["*"], routes: [{ match: { prefix: "/" }, route: { cluster: to } }] },
    ],
  });
  const bytes = RouteConfiguration.encode(message).finish();
  return encodedResource(name, bytes, { references: [to] });
}

function listener(name: string, port: number, statPrefix = "in") {
  const manager = HttpConnectionManager.fromPartial({
    statPrefix,
    rds: { routeConfigName: "r", configSource: ads },
    httpFilters: [
      {
        name: "router",
        typedConfig: any(
          "envoy.extensions.filters.http.router.v3.Router",
          Router.encode(Router.fromPartial({})).finish(),
        ),
      },
    ],
  });
  const message = Listener.fromPartial({
    name,
    address: { socketAddress: { address: "127.0.0.1", portValue: port } },
    filterChains: [
      {
        filters: [
          {
            name: "hcm",
            typedConfig: any(
              "envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
              HttpConnectionManager.encode(manager).finish(),
            ),
          },
        ],
      },
    ],
  });
  return encodedResource(name, Listener.encode(message).finish(), { references: ["r"] });
}

function bootstrap(controlPort: number, apiType: "GRPC" | "DELTA_GRPC"): unknown {
  const source = { ads: {}, resource_api_version: "V3" };
  return {
    node: { id: "envoy", cluster: "test" },
    dynamic_resources: {
      ads_config: {
        api_type: apiType,
        transport_api_version: "V3",
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
              "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
              explicit_http_config: { http2_protocol_options: {} },
            },
          },
          load_assignment: {
            cluster_name: "control",
            endpoints: [
              {
                lb_endpoints: [
                  {
                    endpoint: {
                      address: {
                        socket_address: { address: "127.0.0.1", port_value: controlPort },
                      },
                    },
                  },
                ],
              },
            ],
          },
        },
      ],
    },
  };
}

async function startBackend(answer: string): Promise<{ port: number; server: http.Server }> {
  // Envoy may send on an idle connection while Node's server closes it: not within a test's time.
  const server = http.createServer({ keepAliveTimeout: 60_000 }, (_, response) =>
    response.end(answer),
  );
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  return { port: portOf(server), server };
}

function portOf(server: http.Server): number {
  const address = server.address();
  assert.ok(address !== null && typeof address === "object");
  return (address satisfies AddressInfo).port;
}

/** Polls until `check` holds; the only clock here is Envoy's. */
async function until(check: () => boolean | Promise<boolean>, what: string): Promise<void> {
  const endMs = Date.now() + 60_000;
  while (!(await check())) {
    assert.ok(Date.now() < endMs, `${what} within a minute`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

async function get(port: number): Promise<string> {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/`);
    return `${response.status} ${await response.text()}`;
  } catch {
    return "no answer";
  }
}

interface Rig {
  readonly port: number;
  readonly backends: { readonly a: number; readonly b: number };
  readonly answers: ProxyAnswer[];
  readonly publish: (version: string, to: "a" | "b", change?: Change) => void;
  readonly synced: () => Promise<void>;
  /** Another control plane on the same port, which knows nothing of the last one's streams. */
  readonly restart: () => Promise<void>;
}

interface Change {
  readonly connectTimeoutSeconds?: number;
  readonly brokenListener?: boolean;
}

async function withEnvoy(
  apiType: "GRPC" | "DELTA_GRPC",
  run: (rig: Rig) => Promise<void>,
): Promise<void> {
  const binary = findEnvoy();
  assert.ok(binary !== undefined, "no Envoy: set HEDDLE_ENVOY or run npm test, which installs one");
  const answers: ProxyAnswer[] = [];
  const make = () =>
    new AdsServer({
      clock: systemClock,
      log: silentLog,
      events: { onAnswer: (_, answer) => answers.push(answer) },
    });
  const listen = (port: number): Promise<GrpcServer> =>
    startGrpcServer({
      listen: { address: "127.0.0.1", port },
      methods: server.methods((_, node) => node?.id ?? ""),
      keepalive: defaultGrpcKeepalive,
      clock: systemClock,
      log: silentLog,
    });
  let server = make();
  let grpc = await listen(0);
  const { address } = grpc;
  assert.ok("port" in address);
  const [a, b, port] = [await startBackend("a"), await startBackend("b"), await freePort()];
  const backends = { a: a.port, b: b.port };
  const envoy = startEnvoy(binary, bootstrap(address.port, apiType));
  let last: Snapshot | undefined;
  const rig: Rig = {
    port,
    backends,
    answers,
    publish: (version, to, { connectTimeoutSeconds, brokenListener = false } = {}) => {
      // A port that does not exist: Envoy refuses the whole response and names this listener.
      const broken = brokenListener ? [listener("broken", 100_000)] : [];
      last = snapshotOf(version, [
        [typeUrls.cluster, [cluster(to, connectTimeoutSeconds)]],
        [typeUrls.endpoint, [endpoints(to, backends[to])]],
        [typeUrls.listener, [listener("l", port), ...broken]],
        [typeUrls.route, [routes("r", to)]],
      ]);
      server.setSnapshot("envoy", last);
    },
    synced: () => until(() => server.isSynced("envoy"), `in step (${envoy.log()})`),
    restart: async () => {
      await grpc.close();
      server = make();
      if (last !== undefined) server.setSnapshot("envoy", last);
      grpc = await listen(address.port);
    },
  };
  try {
    await run(rig);
  } finally {
    await envoy.stop();
    await grpc.close();
    a.server.close();
    b.server.close();
    a.server.closeAllConnections();
    b.server.closeAllConnections();
  }
}

for (const apiType of ["DELTA_GRPC", "GRPC"] as const) {
  test(`AdsServer: Envoy (${apiType}) moves between clusters without a failed request`, async () => {
    await withEnvoy(apiType, async ({ port, publish, synced }) => {
      publish("1", "a");
      await until(async () => (await get(port)) === "200 a", "the first route");
      const answersGot = new Map<string, number>();
      let isOver = false;
      const load = Array.from({ length: 4 }, async () => {
        while (!isOver) {
          const answer = await get(port);
          answersGot.set(answer, (answersGot.get(answer) ?? 0) + 1);
        }
      });
      for (let i = 2; i <= 21; i++) {
        const to = i % 2 === 0 ? "b" : "a";
        publish(String(i), to);
        await synced();
        await until(async () => (await get(port)) === `200 ${to}`, `the route to ${to}`);
      }
      isOver = true;
      await Promise.all(load);
      assert.deepEqual([...answersGot.keys()].toSorted(), ["200 a", "200 b"]);
    });
  });

  test(`AdsServer: Envoy (${apiType}) warms a changed cluster at once`, async () => {
    await withEnvoy(apiType, async ({ port, publish, synced, answers }) => {
      publish("1", "a");
      await until(async () => (await get(port)) === "200 a", "the first route");
      await synced();
      const before = Date.now();
      for (let i = 2; i <= 6; i++) {
        publish(String(i), "a", { connectTimeoutSeconds: i });
        await synced();
      }
      // Envoy gives up waiting for endpoints after 15 s.
      assert.ok(Date.now() - before < 14_000);
      assert.ok(answers.every(({ kind }) => kind === "acked"));
      assert.equal(await get(port), "200 a");
    });
  });

  test(`AdsServer: Envoy's (${apiType}) refusal names the resource and spares the others`, async () => {
    await withEnvoy(apiType, async ({ port, publish, answers }) => {
      publish("1", "a", { brokenListener: true });
      await until(() => answers.some(({ kind }) => kind === "refused"), "the refusal");
      const refusal = answers.find((answer) => answer.kind === "refused");
      const names = refusal?.kind === "refused" ? refusal.resources.map(({ name }) => name) : [];
      assert.deepEqual(names, ["broken"]);
      assert.equal(refusal?.typeUrl, typeUrls.listener);
      await until(async () => (await get(port)) === "200 a", "the good listener");
    });
  });

  test(`AdsServer: Envoy (${apiType}) serves through a restart and follows what comes after`, async () => {
    await withEnvoy(apiType, async ({ port, publish, synced, restart }) => {
      publish("1", "a");
      await until(async () => (await get(port)) === "200 a", "the first route");
      await synced();
      await restart();
      assert.equal(await get(port), "200 a");
      await synced();
      assert.equal(await get(port), "200 a");
      publish("2", "b");
      await until(async () => (await get(port)) === "200 b", "the second route");
    });
  });
}
