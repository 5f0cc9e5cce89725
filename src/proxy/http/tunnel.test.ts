import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness, type HarnessOptions } from "../../../test/support/http-harness.ts";

const upgrade = "GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n";
const switched = "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\n\r\n";
const connect = "CONNECT app:80 HTTP/1.1\r\nhost: app:80\r\n\r\n";
const none = { connection: 0, pending: 0, request: 0, retry: 0 };
const one = { ...none, connection: 1, request: 1 };

const websockets: HarnessOptions = {
  manager: { upgradeConfigs: [{ upgradeType: "websocket" }] },
};

const connects: HarnessOptions = {
  routes: {
    virtualHosts: [
      {
        name: "all",
        domains: ["*"],
        routes: [
          {
            match: { connectMatcher: {} },
            route: {
              cluster: "app",
              upgradeConfigs: [{ upgradeType: "CONNECT", connectConfig: {} }],
            },
          },
        ],
      },
    ],
  },
};

test("a tunnel counts against the cluster's limits until it closes", () => {
  for (const [options, request, answer] of [
    [websockets, upgrade, switched],
    [connects, connect, ""],
  ] as const) {
    const mesh = new HttpHarness(options);
    const client = mesh.connect();
    client.send(request);
    const app = mesh.upstream();
    if (answer !== "") app.send(answer);
    assert.deepEqual(mesh.inUse, one);
    app.send("bytes");
    client.close();
    assert.deepEqual(mesh.inUse, none);
    assert.equal(mesh.endpoints[0]?.active, 0);
  }
});

test("a CONNECT over the cluster's limits is refused as overflow", () => {
  for (const limits of [{ connection: 1 }, { request: 1 }]) {
    const mesh = new HttpHarness({ ...connects, limits });
    const first = mesh.connect();
    first.send(connect);
    mesh.upstream();
    const second = mesh.connect();
    second.send(connect);
    assert.match(second.take(), /^HTTP\/1\.1 503 /);
    assert.equal(mesh.log[0]?.flags, "UO");
    first.close();
    assert.deepEqual(mesh.inUse, none);
    assert.equal(mesh.endpoints[0]?.active, 0);
  }
});

test("a CONNECT that reaches nobody gives everything back, and says why", () => {
  for (const [code, flags, details] of [
    ["ECONNREFUSED", "UF", "{remote_connection_failure|delayed_connect_error:_Connection_refused}"],
    ["ETIMEDOUT", "UF", "{connection_timeout}"],
    ["ENOTFOUND", "UH", "dns_resolution_failure{why}"],
  ] as const) {
    const mesh = new HttpHarness(connects);
    const client = mesh.connect();
    client.send(connect);
    mesh.refuse({ code, message: "why" });
    assert.match(client.take(), /^HTTP\/1\.1 503 /);
    assert.equal(mesh.log[0]?.flags, flags);
    assert.ok(mesh.log[0]?.details.endsWith(details), mesh.log[0]?.details);
    assert.deepEqual(mesh.inUse, none);
    assert.equal(mesh.endpoints[0]?.active, 0);
  }
});

test("a tunnel that lasts longer than its cluster lets a stream last ends, with the reason", () => {
  for (const [options, request, answer] of [
    [websockets, upgrade, switched],
    [connects, connect, ""],
  ] as const) {
    const mesh = new HttpHarness({ ...options, maxStreamDurationMs: 5000 });
    const client = mesh.connect();
    client.send(request);
    const app = mesh.upstream();
    if (answer !== "") app.send(answer);
    mesh.clock.advance(4900);
    app.send("bytes");
    assert.match(client.take(), /bytes$/);
    mesh.clock.advance(200);
    assert.deepEqual([client.isClosed, app.isClosed], [true, true]);
    const { flags, details } = mesh.log.at(-1) ?? {};
    assert.deepEqual([flags, details], ["UMSDR", "upstream_max_stream_duration_reached"]);
    assert.deepEqual(mesh.inUse, none);
  }
});
