import assert from "node:assert/strict";
import test from "node:test";

import { testDataPlane, type TestDataPlane } from "../../test/support/data-plane.ts";
import { message } from "../../test/support/message.ts";
import { loadsOf } from "./admin/clusters.ts";
import { createLog } from "../telemetry/log.ts";
import { Cluster } from "../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { UpstreamTlsContext } from "../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import { typeUrls } from "../xds/feed.ts";
import { type AdminHandler, createAdmin, type ProxyBootstrap } from "./admin.ts";
import type { ListenerSet } from "./context.ts";
import type { DrainPlan } from "./drain.ts";

const noListeners: ListenerSet = {
  prepare: () => ({ open: () => undefined, start: () => undefined, discard: () => undefined }),
  checkFilter: () => undefined,
  remove: () => undefined,
  bound: () => [],
  drain: async () => undefined,
  resetSlowest: () => undefined,
  close: async () => undefined,
};

interface AdminUnderTest {
  readonly plane: TestDataPlane;
  readonly ask: (path: string, method?: string) => Promise<string>;
  readonly drained: () => boolean;
  readonly plans: readonly DrainPlan[];
}

function start(bootstrap?: ProxyBootstrap): AdminUnderTest {
  const plane = testDataPlane(() => noListeners);
  let isDraining = false;
  const plans: DrainPlan[] = [];
  const log = createLog({
    level: "info",
    format: "text",
    clock: plane.clock,
    sink: () => undefined,
  });
  log.area("xds");
  const admin: AdminHandler = createAdmin({
    configuration: plane.configuration,
    clusters: plane.clusters,
    secrets: plane.secrets,
    log,
    version: "1.2.3",
    nodeId: "node",
    bootstrap,
    uptimeMs: () => 61_000,
    reopenLogs: undefined,
    quit: () => {
      isDraining = true;
    },
    tap: () => ({ requests: [], upTo: 0, leftOut: 0 }),
    exposeMetrics: () => plane.metrics.expose(),
    loads: () => loadsOf(plane.clusters.active()),
    waitingFor: () => plane.configuration.waitingFor,
    setLogLevel: (level, area) => log.setLevel(level, area),
    listeners: () => [{ name: "virtualOutbound", address: { address: "0.0.0.0", port: 15_001 } }],
    isDraining: () => isDraining,
    setHealthy: (isHealthy) => {
      isDraining = !isHealthy;
    },
    drain: (plan) => {
      plans.push(plan);
      isDraining = true;
    },
  });
  plane.configuration.start();
  const ask = async (text: string, method = "GET"): Promise<string> => {
    const url = new URL(text, "http://admin");
    const answer = await admin({ method, path: url.pathname, query: url.searchParams });
    return `${answer.status} ${answer.body}`;
  };
  return { plane, ask, plans, drained: () => isDraining };
}

function sendCluster(plane: TestDataPlane, fields: Parameters<typeof message<Cluster>>[1]): string {
  const cluster = message(Cluster, fields);
  const bytes = Cluster.encode(cluster).finish();
  return plane.feed.send(typeUrls.cluster, [{ name: cluster.name, version: "7", bytes }]);
}

const oneEndpoint = {
  endpoints: [
    {
      lbEndpoints: [
        { endpoint: { address: { socketAddress: { address: "192.0.2.1", portValue: 80 } } } },
      ],
    },
  ],
} as const;

test("/config_dump shows what was accepted, and what was refused with its reason", async () => {
  const { plane, ask } = start();
  sendCluster(plane, { name: "a", loadAssignment: oneEndpoint });
  sendCluster(plane, { name: "a", trackTimeoutBudgets: true });
  const { configs } = JSON.parse((await ask("/config_dump")).slice(4));
  const [entry] = configs[0].dynamic_active_clusters;
  assert.equal(configs[0]["@type"], "type.googleapis.com/envoy.admin.v3.ClustersConfigDump");
  assert.equal(entry.version_info, "7");
  assert.equal(entry.cluster["@type"], typeUrls.cluster);
  assert.equal(entry.cluster.load_assignment.endpoints.length, 1);
  assert.match(entry.error_state.details, /track_timeout_budgets/);
  plane.close();
});

test("/config_dump and /certs give no private key away", async () => {
  const { plane, ask } = start();
  const tls = message(UpstreamTlsContext, {
    commonTlsContext: {
      tlsCertificateSdsSecretConfigs: [{ name: "default" }],
      tlsCertificates: [],
    },
  });
  sendCluster(plane, {
    name: "a",
    loadAssignment: oneEndpoint,
    transportSocket: {
      typedConfig: {
        typeUrl: "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext",
        value: UpstreamTlsContext.encode(tls).finish(),
      },
    },
  });
  plane.secrets.set("default", {
    kind: "certificate",
    chainPem: "CHAIN",
    privateKeyPem: "TOPSECRET",
  });
  const dump = await ask("/config_dump");
  assert.ok(dump.includes(Buffer.from("CHAIN").toString("base64")));
  for (const text of [dump, await ask("/certs")]) {
    assert.ok(!text.includes("TOPSECRET"));
    assert.ok(!text.includes(Buffer.from("TOPSECRET").toString("base64")));
  }
  plane.close();
});

test("/clusters lists endpoints, as text and as JSON", async () => {
  const { plane, ask } = start();
  sendCluster(plane, { name: "a", loadAssignment: oneEndpoint });
  assert.match(await ask("/clusters"), /^200 [^]*a::192\.0\.2\.1:80::health_flags::healthy\n/);
  const json = JSON.parse((await ask("/clusters?format=json")).slice(4));
  const [host] = json.cluster_statuses[0].host_statuses;
  assert.deepEqual(host.address.socket_address, { address: "192.0.2.1", port_value: 80 });
  assert.equal(host.health_status.eds_health_status, "HEALTHY");
  plane.close();
});

test("/ready, /server_info and /listeners say how things stand", async () => {
  const { plane, ask } = start();
  assert.match(await ask("/ready"), /^503 INITIALIZING: no clusters have arrived/);
  plane.feed.send(typeUrls.cluster, []);
  plane.feed.send(typeUrls.listener, []);
  assert.equal(await ask("/ready"), "200 LIVE\n");
  assert.match(await ask("/server_info"), /"uptime_current_epoch": "61s"/);
  assert.equal(await ask("/listeners"), "200 virtualOutbound::0.0.0.0:15001\n");
  plane.close();
});

test("/stats filters, in three formats", async () => {
  const { plane, ask } = start();
  sendCluster(plane, { name: "a", loadAssignment: oneEndpoint });
  const total = 'envoy_cluster_membership_total{cluster_name="a"}';
  assert.equal(await ask("/stats?filter=membership_total"), `200 ${total}: 1\n`);
  assert.equal(await ask("/stats?filter=membership_total&format=prometheus"), `200 ${total} 1\n`);
  const json = JSON.parse((await ask("/stats?filter=membership_total&format=json")).slice(4));
  assert.deepEqual(json, { stats: [{ name: total, value: 1 }] });
  assert.match(await ask("/stats?filter=("), /^400 filter: not a valid RE2/);
  assert.match(await ask("/stats/prometheus"), /# TYPE envoy_cluster_membership_total gauge/);
  plane.close();
});

test("/healthcheck/fail drains until /healthcheck/ok", async () => {
  const { plane, ask, drained } = start();
  assert.match(await ask("/healthcheck/fail"), /^405/);
  assert.equal(await ask("/healthcheck/fail", "POST"), "200 OK\n");
  assert.equal(drained(), true);
  assert.match(await ask("/ready"), /^503 DRAINING/);
  assert.equal(await ask("/healthcheck/ok", "POST"), "200 OK\n");
  assert.equal(drained(), false);
  plane.close();
});

test("/logging and /drain_listeners change things by POST alone", async () => {
  const { plane, ask, drained, plans } = start();
  assert.match(await ask("/logging?level=debug"), /^405/);
  assert.match(await ask("/logging?paths=xds:debug", "POST"), /xds: debug/);
  assert.match(
    await ask("/logging?foo=debug", "POST"),
    /^400 there is no logger 'foo'; there are: .*\bxds\b/,
  );
  assert.doesNotMatch(await ask("/logging", "POST"), /foo/);
  assert.match(await ask("/logging?level=loud", "POST"), /^400 'loud' is no log level/);
  assert.match(await ask("/drain_listeners"), /^405/);
  assert.equal(drained(), false);
  assert.equal(await ask("/drain_listeners", "POST"), "200 OK\n");
  assert.equal(drained(), true);
  assert.equal(await ask("/drain_listeners?graceful&inboundonly", "POST"), "200 OK\n");
  assert.deepEqual(plans, [
    { strategy: "immediate", acceptMs: 0, isInboundOnly: false },
    { strategy: "immediate", acceptMs: 45_000, isInboundOnly: true },
  ]);
  assert.match(await ask("/nothing"), /^404/);
  plane.close();
});

test("/config_dump shows the bootstrap, without keys", async () => {
  const { plane, ask } = start({
    kind: "dynamic",
    json: {
      node: { id: "node" },
      secrets: [{ private_key: { inline_string: "PRIVATE" } }],
      tracing: { client_config: { backend_token: "PRIVATE" } },
    },
  });
  sendCluster(plane, { name: "app" });
  const all = await ask("/config_dump");
  assert.match(all, /BootstrapConfigDump/);
  assert.match(all, /"id": ?"node"/);
  assert.match(all, /dynamic_active_clusters/);
  assert.doesNotMatch(all, /PRIVATE/);
  assert.doesNotMatch(await ask("/config_dump?resource=bootstrap"), /ClustersConfigDump/);
});

test("/config_dump calls static what came with the bootstrap", async () => {
  const { plane, ask } = start({ kind: "static", json: {} });
  sendCluster(plane, { name: "app" });
  const all = await ask("/config_dump");
  assert.match(all, /"static_clusters": ?\[\s*\{\s*"version_info"/);
  assert.match(all, /static_listeners/);
  assert.doesNotMatch(all, /dynamic_/);
});

test("createAdmin() tells what it waits for, what the runtime says, and ends when asked", async () => {
  const staticLayer = { "a.b": true, re2: { max: { size: 5 } } };
  const layers = [
    { name: "static", staticLayer },
    { name: "admin", adminLayer: {} },
  ];
  const admin = start({ kind: "static", json: { layeredRuntime: { layers } } } as never);
  assert.match(
    await admin.ask("/runtime"),
    /"a\.b": \{\s+"layer_values": \[\s+"true",\s+""\s+\],\s+"final_value": "true"/,
  );
  assert.match(await admin.ask("/runtime"), /"re2\.max\.size"/);
  assert.match(await admin.ask("/init_dump"), /unready_targets_dumps|\{\}/);
  assert.match(await admin.ask("/hot_restart_version"), /disabled/);
  assert.match(await admin.ask("/quitquitquit"), /use POST/);
  assert.equal(admin.drained(), false);
  assert.match(await admin.ask("/quitquitquit", "POST"), /OK/);
  assert.equal(admin.drained(), true);
});

test("/reset_counters lets what is shown of counters begin at zero, and nothing else", async () => {
  const { ask, plane } = start();
  const counter = plane.metrics.counter("some_total", "counted", { a: "b" });
  const gauge = plane.metrics.gauge("some_level", "measured");
  const fresh = plane.metrics.counter("fresh_total", "counted");
  counter.add(7);
  gauge.set(3);
  assert.match(await ask("/reset_counters"), /^405 /);
  assert.equal(await ask("/reset_counters", "POST"), "200 OK\n");
  counter.add(2);
  fresh.add(1);
  const body = await ask("/stats");
  assert.match(body, /some_total\{a="b"\}: 2\n/);
  assert.match(body, /^some_level: 3$/m);
  assert.match(body, /^fresh_total: 1$/m);
  assert.match(await ask("/stats/prometheus"), /^some_total\{a="b"\} 2$/m);
});
