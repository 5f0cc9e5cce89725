/**
 * Listeners change while clients keep their connections and send without a pause: no request fails,
 * and none is decided by a configuration that was replaced, and acknowledged, before it was sent.
 */
import assert from "node:assert/strict";
import http from "node:http";
import net, { type AddressInfo } from "node:net";
import { test, type TestContext } from "node:test";
import tls from "node:tls";
import { setTimeout as sleep } from "node:timers/promises";

import { systemClock } from "../../../src/base/clock.ts";
import { startProxy } from "../../../src/proxy/proxy.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { noPeers } from "../../../src/telemetry/standard-metrics.ts";
import {
  type DeepPartial,
  RouteConfiguration,
} from "../../../src/wire/gen/ts/envoy/config/route/v3/route.ts";
import { Cluster } from "../../../src/wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { Listener } from "../../../src/wire/gen/ts/envoy/config/listener/v3/listener.ts";
import type { FilterChain } from "../../../src/wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import { RBAC } from "../../../src/wire/gen/ts/envoy/extensions/filters/http/rbac/v3/rbac.ts";
import { Router } from "../../../src/wire/gen/ts/envoy/extensions/filters/http/router/v3/router.ts";
import { RBAC as NetworkRbac } from "../../../src/wire/gen/ts/envoy/extensions/filters/network/rbac/v3/rbac.ts";
import { HttpConnectionManager } from "../../../src/wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { DownstreamTlsContext } from "../../../src/wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import { typeUrls, type XdsResource } from "../../../src/xds/feed.ts";
import { FakeFeed } from "../../support/data-plane.ts";
import { freePort } from "../../support/free-port.ts";
import { FakeSecrets } from "../../support/secrets.ts";
import { threads } from "../../support/workers.ts";
import { makeTestAuthority } from "../../support/test-certificates.ts";

const prefix = "type.googleapis.com/envoy.extensions.";

function packed(name: string, value: Uint8Array) {
  return { name, typedConfig: { typeUrl: `${prefix}${name}`, value } };
}

/** Denies `/gate` in odd versions; every answer says which version gave it. */
function chainOf(version: number): DeepPartial<FilterChain> {
  const url = { urlPath: { path: { exact: "/gate" } } };
  const policies =
    version % 2 === 0 ? {} : { gate: { principals: [{ any: true }], permissions: [url] } };
  const rbac = RBAC.encode(RBAC.fromPartial({ rules: { action: 1, policies } })).finish();
  const header = { header: { key: "x-version", value: String(version) } };
  const manager = HttpConnectionManager.fromPartial({
    statPrefix: "test",
    routeConfig: RouteConfiguration.fromPartial({
      name: "inline",
      virtualHosts: [
        {
          name: "all",
          domains: ["*"],
          responseHeadersToAdd: [header],
          routes: [{ match: { prefix: "/" }, route: { cluster: "app" } }],
        },
      ],
    }),
    httpFilters: [
      packed("filters.http.rbac.v3.RBAC", rbac),
      packed("filters.http.router.v3.Router", Router.encode(Router.fromPartial({})).finish()),
    ],
  });
  const name = "filters.network.http_connection_manager.v3.HttpConnectionManager";
  return { filters: [packed(name, HttpConnectionManager.encode(manager).finish())] };
}

interface Plane {
  readonly send: (typeUrl: string, resource: XdsResource) => Promise<string>;
  readonly secrets: FakeSecrets;
  readonly port: number;
  /** Applies a listener; what the data plane said to it. */
  readonly apply: (version: number, listener: DeepPartial<Listener>) => Promise<string>;
}

async function startPlane(t: TestContext, workers: number): Promise<Plane> {
  const application = http.createServer((request, response) => {
    request.resume();
    request.on("end", () => response.end("ok"));
  });
  application.keepAliveTimeout = 60_000;
  await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
  const { port: portValue } = application.address() as AddressInfo;
  const feed = new FakeFeed();
  const secrets = new FakeSecrets();
  const proxy = startProxy({
    feed,
    secrets,
    clock: systemClock,
    log: createLog({ level: "error", format: "text", clock: systemClock, sink: () => {} }),
    ...threads(workers),
    random: Math.random,
    peers: noPeers,
    openLog: () => () => {},
    nodeId: "test",
    version: "test",
  });
  t.after(async () => {
    await proxy.close();
    application.closeAllConnections();
    application.close();
  });
  const socketAddress = { address: "127.0.0.1", portValue };
  const endpoints = [{ lbEndpoints: [{ endpoint: { address: { socketAddress } } }] }];
  const cluster = Cluster.fromPartial({ name: "app", loadAssignment: { endpoints } });
  const bytes = Cluster.encode(cluster).finish();
  const send: Plane["send"] = async (typeUrl, resource) => {
    const { length } = feed.answers;
    feed.send(typeUrl, [resource]);
    while (feed.answers.length === length) await sleep(1);
    return feed.answers.at(-1) ?? "";
  };
  assert.equal(await send(typeUrls.cluster, { name: "app", version: "1", bytes }), "accepted");
  const port = await freePort();
  const address = { socketAddress: { address: "127.0.0.1", portValue: port } };
  return {
    send,
    secrets,
    port,
    apply(version, fields) {
      const listener = Listener.fromPartial({ name: "l", address, ...fields });
      const resource = {
        name: "l",
        version: String(version),
        bytes: Listener.encode(listener).finish(),
      };
      return send(typeUrls.listener, resource);
    },
  };
}

for (const [how, workers] of [
  ["one thread", 0],
  ["two workers", 2],
] as const) {
  test(`proxy() keeps connections over changes of their listener, and no request fails or slips by (${how})`, async (t) => {
    const { port, apply } = await startPlane(t, workers);
    let acknowledged = 0;
    let asked = 0;
    assert.equal(await apply(0, { filterChains: [chainOf(0)] }), "accepted");
    const agent = new http.Agent({ keepAlive: true, maxSockets: 10 });
    t.after(() => agent.destroy());
    const wrong: string[] = [];
    let sent = 0;
    let isOver = false;
    const send = async (): Promise<void> => {
      const oldest = acknowledged;
      sent++;
      try {
        const { status, version } = await post(agent, { port });
        const newest = asked;
        const expected = version % 2 === 0 ? 200 : 403;
        if (version < oldest || version > newest) wrong.push(`${version}: ${oldest}…${newest}`);
        if (status !== expected) wrong.push(`status ${status} under version ${version}`);
      } catch (error) {
        wrong.push(String(error));
      }
    };
    const client = async (): Promise<void> => {
      while (!isOver) await send();
    };
    const started = performance.now();
    const clients = Array.from({ length: 10 }, client);
    for (let version = 1; version <= 100; version++) {
      // However slow the machine is: so many requests for each change.
      do await sleep(Math.random() * 20);
      while (sent < version * 20);
      asked = version;
      assert.equal(await apply(version, { filterChains: [chainOf(version)] }), "accepted");
      acknowledged = version;
    }
    isOver = true;
    await Promise.all(clients);
    const perSecond = (sent / (performance.now() - started)) * 1000;
    t.diagnostic(`${sent} requests, ${Math.round(perSecond)} each second`);
    assert.deepEqual(wrong, []);
    assert.ok(sent >= 2_000, `${sent} requests`);
  });

  test(`proxy() refuses plaintext on a connection from before it had to be mutual TLS (${how})`, async (t) => {
    const { secrets, port, apply } = await startPlane(t, workers);
    const authority = await makeTestAuthority();
    const own = await authority.issue({ uris: ["spiffe://cluster.local/ns/default/sa/app"] });
    secrets.set("default", { kind: "certificate", ...own });
    secrets.set("ROOTCA", { kind: "validation", trustedCaPem: authority.rootPem });
    const context = DownstreamTlsContext.fromPartial({
      requireClientCertificate: true,
      commonTlsContext: {
        tlsCertificateSdsSecretConfigs: [{ name: "default" }],
        validationContextSdsSecretConfig: { name: "ROOTCA" },
      },
    });
    const value = DownstreamTlsContext.encode(context).finish();
    const listenerFilters = [
      packed("filters.listener.tls_inspector.v3.TlsInspector", new Uint8Array()),
    ];
    const secured = (version: number): DeepPartial<FilterChain> => ({
      ...chainOf(version),
      filterChainMatch: { transportProtocol: "tls" },
      transportSocket: packed("transport_sockets.tls.v3.DownstreamTlsContext", value),
    });
    const plain = { ...chainOf(0), filterChainMatch: { transportProtocol: "raw_buffer" } };
    assert.equal(
      await apply(0, { listenerFilters, filterChains: [secured(0), plain] }),
      "accepted",
    );

    const open = net.connect({ host: "127.0.0.1", port });
    const cert = { cert: own.chainPem, key: own.privateKeyPem, ca: authority.rootPem };
    const mutual = tls.connect({
      port,
      host: "127.0.0.1",
      ...cert,
      checkServerIdentity: () => undefined,
    });
    t.after(() => {
      open.destroy();
      mutual.destroy();
    });
    assert.match(await ask(open), /^HTTP\/1\.1 200 .*x-version: 0\r\n/s);
    assert.match(await ask(mutual), /^HTTP\/1\.1 200 .*x-version: 0\r\n/s);

    assert.equal(await apply(1, { listenerFilters, filterChains: [secured(1)] }), "accepted");
    const closed = new Promise((resolve) => open.once("end", resolve));
    const refused = await ask(open);
    assert.match(refused, /^HTTP\/1\.1 503 .*connection: close\r\n/s);
    await closed;
    // Its chain has changed, but it may stay: the policy of now decides.
    assert.match(await ask(mutual), /^HTTP\/1\.1 403 .*x-version: 1\r\n/s);
    assert.equal(mutual.destroyed, false);
  });

  test(`proxy() denies the next request on a connection that a policy for connections denies by now (${how})`, async (t) => {
    const { port, apply } = await startPlane(t, workers);
    assert.equal(await apply(0, { filterChains: [chainOf(0)] }), "accepted");
    const open = net.connect({ host: "127.0.0.1", port });
    t.after(() => open.destroy());
    assert.match(await ask(open), /^HTTP\/1\.1 200 .*x-version: 0\r\n/s);

    const everybody = { all: { principals: [{ any: true }], permissions: [{ any: true }] } };
    const rules = { action: 1, policies: everybody } as const;
    const denying = NetworkRbac.encode(NetworkRbac.fromPartial({ statPrefix: "tcp.", rules }));
    const filters = [
      packed("filters.network.rbac.v3.RBAC", denying.finish()),
      ...(chainOf(2).filters ?? []),
    ];
    assert.equal(await apply(2, { filterChains: [{ filters }] }), "accepted");
    const closed = new Promise((resolve) => open.once("end", resolve));
    assert.match(await ask(open), /^HTTP\/1\.1 403 .*connection: close\r\n/s);
    await closed;
  });
}

/** One POST to `/gate` on an open connection. */
function ask(socket: net.Socket): Promise<string> {
  return new Promise((resolve, reject) => {
    socket.once("error", reject);
    socket.once("data", (chunk: Buffer) => {
      socket.off("error", reject);
      resolve(chunk.toString("latin1"));
    });
    socket.write("POST /gate HTTP/1.1\r\nhost: app\r\ncontent-length: 5\r\n\r\nhello");
  });
}

function post(
  agent: http.Agent,
  { port }: { readonly port: number },
): Promise<{ readonly status: number; readonly version: number }> {
  return new Promise((resolve, reject) => {
    const options = { agent, port, host: "127.0.0.1", method: "POST", path: "/gate" };
    const request = http.request(options, (response) => {
      response.resume();
      response.on("error", reject);
      response.on("end", () => {
        const version = Number(response.headers["x-version"]);
        resolve({ status: response.statusCode ?? 0, version });
      });
    });
    request.on("error", reject);
    request.end("hello");
  });
}
