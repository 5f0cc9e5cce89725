import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness, routesToApp } from "../../test/support/http-harness.ts";
import { endingPlan } from "./drain.ts";

const get = "GET /a?b=1 HTTP/1.1\r\nHost: shop\r\nX-One: 1\r\n\r\n";
const answer = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi";

test("proxy() forwards a request and its answer, and logs both", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  client.send(get);
  const app = mesh.upstream();
  const sent = app.take();
  assert.match(sent, /^GET \/a\?b=1 HTTP\/1\.1\r\nhost: shop\r\nx-one: 1\r\n/);
  assert.match(sent, /\r\nx-request-id: [0-9a-f-]{36}\r\n/);
  assert.match(sent, /\r\nx-forwarded-proto: http\r\n/);
  assert.match(sent, /\r\nx-envoy-expected-rq-timeout-ms: 15000\r\n\r\n$/);
  app.send(answer);
  const received = client.take();
  assert.match(received, /^HTTP\/1\.1 200 OK\r\ncontent-length: 2\r\n/);
  assert.match(
    received,
    /\r\nx-envoy-upstream-service-time: 0\r\ndate: .*\r\nserver: envoy\r\n\r\nhi$/,
  );
  assert.equal(client.writes, 1);
  assert.equal(app.writes, 1);
  assert.deepEqual(mesh.log, [
    {
      status: 200,
      flags: "",
      details: "via_upstream",
      method: "GET",
      path: "/a?b=1",
      attempts: 1,
      received: 0,
      sent: 2,
    },
  ]);
  assert.deepEqual(mesh.inUse, { connection: 1, pending: 0, request: 0, retry: 0 });
});

test("proxy() uses a connection again and answers pipelined requests in order", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  client.send(get + get.replace("/a", "/b") + get.replace("/a", "/c").slice(0, 20));
  const app = mesh.upstream();
  assert.match(app.take(), /^GET \/a/);
  app.send(answer);
  assert.match(app.take(), /^GET \/b/);
  app.send(answer.replace("hi", "ho"));
  client.send(get.replace("/a", "/c").slice(20));
  assert.match(app.take(), /^GET \/c/);
  app.send(answer);
  assert.equal(
    client
      .take()
      .match(/\r\n\r\nh[io]/g)
      ?.join(),
    "\r\n\r\nhi,\r\n\r\nho,\r\n\r\nhi",
  );
  assert.equal(mesh.upstreams.length, 1);
});

test("proxy() reframes bodies both ways", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  client.send("POST / HTTP/1.1\r\nhost: a\r\ntransfer-encoding: chunked\r\n\r\n3;x=1\r\nabc\r\n");
  const app = mesh.upstream();
  assert.match(app.take(), /\r\ntransfer-encoding: chunked\r\n[^]*\r\n\r\n3\r\nabc\r\n$/);
  client.send("2\r\nde\r\n0\r\nx-t: 1\r\n\r\n");
  assert.equal(app.take(), "2\r\nde\r\n0\r\n\r\n");
  app.send("HTTP/1.1 200 OK\r\n\r\nxyz");
  app.send("w");
  app.sendEnd();
  assert.match(
    client.take(),
    /\r\ntransfer-encoding: chunked\r\n[^]*\r\n\r\n3\r\nxyz\r\n1\r\nw\r\n0\r\n\r\n$/,
  );
  assert.equal(mesh.log[0]?.received, 5);
  assert.equal(mesh.log[0]?.sent, 4);
});

test("proxy() throws away a connection that says more than was asked", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  client.send(get);
  mesh.upstream().send(`${answer}HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nforged`);
  assert.doesNotMatch(client.take(), /forged/);
  client.send(get);
  assert.equal(mesh.upstreams.length, 2);
  const second = mesh.upstream();
  second.send(answer);
  assert.match(client.take(), /hi$/);
  second.send(answer);
  assert.equal(second.isClosed, true);
});

test("proxy() answers what the upstream did to it in Envoy's words", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  client.send(get);
  mesh.refuse();
  assert.match(
    client.take(),
    /^HTTP\/1\.1 503 .*upstream connect error or disconnect\/reset before headers\. reset reason: remote connection failure$/s,
  );
  client.send(get);
  mesh.upstream().close();
  assert.match(client.take(), /reset reason: connection termination$/);
  client.send(get);
  mesh.upstream().send("HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 1\r\n\r\n");
  assert.match(client.take(), /^HTTP\/1\.1 502 .*protocol error$/s);
  client.send(get);
  mesh.upstream();
  mesh.clock.advance(15_100);
  assert.match(client.take(), /^HTTP\/1\.1 504 .*upstream request timeout$/s);
  assert.deepEqual(
    mesh.log.map((entry) => [entry.status, entry.flags, entry.details]),
    [
      [
        503,
        "UF",
        "upstream_reset_before_response_started{remote_connection_failure|delayed_connect_error:_Connection_refused}",
      ],
      [503, "UC", "upstream_reset_before_response_started{connection_termination}"],
      [502, "UPE", "upstream_reset_before_response_started{protocol_error}"],
      [504, "UT", "response_timeout"],
    ],
  );
  assert.deepEqual(mesh.inUse, { connection: 0, pending: 0, request: 0, retry: 0 });
  assert.equal(mesh.endpoints[0]?.active, 0);
});

const retrying = routesToApp({
  retryPolicy: {
    retryOn: "connect-failure,retriable-status-codes,reset",
    numRetries: 2,
    retriableStatusCodes: [503],
  },
});

test("proxy() retries with the body it kept, and gives up with URX", () => {
  const mesh = new HttpHarness({ routes: retrying });
  const client = mesh.connect();
  client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 4\r\n\r\nbody");
  mesh.refuse();
  mesh.clock.advance(200);
  const second = mesh.upstream();
  assert.match(second.take(), /\r\n\r\nbody$/);
  second.send("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n");
  mesh.clock.advance(200);
  const third = mesh.upstream();
  assert.match(third.take(), /\r\n\r\nbody$/);
  third.send("HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n");
  assert.match(client.take(), /^HTTP\/1\.1 503 No\r\n/);
  assert.equal(mesh.log[0]?.flags, "URX");
  assert.equal(mesh.log[0]?.attempts, 3);
  assert.deepEqual(mesh.inUse, { connection: 1, pending: 0, request: 0, retry: 0 });
});

test("proxy() sends again what an idle connection lost, once, if it may happen twice", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  client.send(get);
  mesh.upstream().send(answer);
  client.take();
  client.send(get);
  mesh.upstream(0).close();
  mesh.upstream(1).send(answer);
  assert.match(client.take(), /^HTTP\/1\.1 200/);
  client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 0\r\n\r\n");
  mesh.upstream(1).close();
  assert.match(client.take(), /^HTTP\/1\.1 503/);
});

test("proxy() sends again on a fresh connection: others of the pool may be as dead", () => {
  const mesh = new HttpHarness();
  const clients = [mesh.connect(), mesh.connect()];
  for (const client of clients) client.send(get);
  for (const index of [0, 1]) mesh.upstream(index).send(answer);
  for (const client of clients) client.take();
  clients[0]?.send(get);
  mesh.upstream(1).close();
  assert.equal(mesh.upstreams.length, 3);
  mesh.upstream(0).close();
  mesh.upstream(2).send(answer);
  assert.match(clients[0]?.take() ?? "", /^HTTP\/1\.1 200/);
});

test("proxy() holds early bytes of an upgrade until 101", () => {
  const mesh = new HttpHarness({ manager: { upgradeConfigs: [{ upgradeType: "websocket" }] } });
  const client = mesh.connect();
  const upgrade =
    "GET /feed HTTP/1.1\r\nhost: a\r\nconnection: Upgrade\r\nupgrade: WebSocket\r\n\r\n";
  client.send(`${upgrade}GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n`);
  const app = mesh.upstream();
  const sent = app.take();
  assert.match(sent, /\r\nupgrade: WebSocket\r\n[^]*\r\nconnection: upgrade\r\n\r\n$/);
  assert.doesNotMatch(sent, /smuggled/);
  app.send(
    "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: upgrade\r\n\r\nWS1",
  );
  assert.match(app.take(), /^GET \/smuggled/);
  assert.match(client.take(), /^HTTP\/1\.1 101 .*\r\nconnection: upgrade\r\n\r\nWS1$/s);
  client.send("ping");
  assert.equal(app.take(), "ping");
  app.send("pong");
  assert.equal(client.take(), "pong");
  app.close();
  assert.equal(client.isClosed, true);
  assert.deepEqual(
    mesh.log.map((entry) => [entry.status, entry.details]),
    [[101, "via_upstream"]],
  );
  assert.equal(mesh.endpoints[0]?.active, 0);
});

test("proxy() goes on in HTTP when the upstream does not switch", () => {
  const mesh = new HttpHarness({ manager: { upgradeConfigs: [{ upgradeType: "websocket" }] } });
  const client = mesh.connect();
  client.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: websocket\r\n\r\n");
  mesh.upstream().send("HTTP/1.1 403 No\r\ncontent-length: 0\r\n\r\n");
  assert.match(client.take(), /^HTTP\/1\.1 403 No[^]*\r\nconnection: close\r\n/);
  const second = mesh.connect();
  second.send("GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\nupgrade: other\r\n\r\n");
  assert.match(second.take(), /^HTTP\/1\.1 403 Forbidden/);
  assert.equal(mesh.log[1]?.details, "upgrade_failed");
});

test("proxy() refuses to switch to a protocol without a name", () => {
  const mesh = new HttpHarness({ manager: { upgradeConfigs: [{ upgradeType: "websocket" }] } });
  for (const fields of ["upgrade:\r\n", "upgrade: \t\r\n", "upgrade:\r\nupgrade: websocket\r\n"]) {
    const client = mesh.connect();
    client.send(`GET / HTTP/1.1\r\nhost: a\r\nconnection: upgrade\r\n${fields}\r\n`);
    assert.match(client.take(), /^HTTP\/1\.1 403 Forbidden/, fields);
  }
  assert.equal(mesh.log[0]?.details, "upgrade_failed");
  assert.equal(mesh.upstreams.length, 0);
});

test("proxy() sends nothing where it would take too much work to rewrite it", () => {
  const costly = { pattern: { regex: "/+(.*/end)?" }, substitution: "/" };
  const copies = { requestMirrorPolicies: [{ cluster: "app" }] };
  for (const routes of [
    routesToApp({ regexRewrite: costly, ...copies }),
    routesToApp({ hostRewritePathRegex: costly, ...copies }),
    {
      virtualHosts: [
        {
          name: "all",
          domains: ["*"],
          routes: [{ match: { prefix: "/" }, redirect: { regexRewrite: costly } }],
        },
      ],
    },
  ]) {
    const mesh = new HttpHarness({ routes });
    const client = mesh.connect();
    client.send(`GET ${"/a".repeat(4000)} HTTP/1.1\r\nhost: a\r\n\r\n`);
    assert.match(client.take(), /^HTTP\/1\.1 400 Bad Request/);
    assert.equal(mesh.log[0]?.details, "rewrite_too_costly");
    assert.equal(mesh.log[0]?.flags, "IH");
    assert.equal(mesh.upstreams.length, 0);
    assert.equal(mesh.endpoints[0]?.active, 0);
    const other = mesh.connect();
    other.send("GET /a HTTP/1.1\r\nhost: a\r\n\r\n");
    const { upstreams } = mesh;
    assert.ok(upstreams.length === 2 || other.take().startsWith("HTTP/1.1 301"));
  }
});

test("proxy() tunnels CONNECT only where a route says so", () => {
  const mesh = new HttpHarness({
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
  });
  const client = mesh.connect();
  client.send("CONNECT app:80 HTTP/1.1\r\nhost: app:80\r\n\r\nearly");
  const app = mesh.upstream();
  assert.match(client.take(), /^HTTP\/1\.1 200 OK\r\n/);
  assert.equal(app.take(), "early");
  app.send("bytes");
  assert.equal(client.take(), "bytes");
  client.close();
  assert.equal(app.isClosed, true);
  assert.equal(mesh.log.length, 1);
});

test("proxy() bounds what it holds and stops a fast sender", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 9000\r\n\r\n");
  client.send("x".repeat(5000));
  assert.equal(client.isPaused, true);
  const app = mesh.upstream();
  assert.equal(client.isPaused, false);
  assert.match(app.take(), /x{5000}$/);
  app.accepts = false;
  client.send("y".repeat(2000));
  assert.equal(client.isPaused, true);
  app.drain();
  assert.equal(client.isPaused, false);
  client.send("z".repeat(2000));
  client.accepts = false;
  app.send("HTTP/1.1 200 OK\r\ncontent-length: 20\r\n\r\n0123456789");
  assert.equal(app.isPaused, true);
  client.drain();
  assert.equal(app.isPaused, false);
  app.send("0123456789");
  assert.match(client.take(), /\r\n\r\n01234567890123456789$/);
});

test("proxy() sends nothing more on an upstream connection that has grown too old", () => {
  const mesh = new HttpHarness({ maxConnectionDurationMs: 10_000 });
  const client = mesh.connect();
  const ask = (): void => {
    client.send(get);
    mesh.upstream().send(answer);
  };
  ask();
  mesh.clock.advance(6_000);
  ask();
  assert.equal(mesh.upstreams.length, 1);
  mesh.clock.advance(6_000);
  assert.equal(mesh.upstreams[0]?.channel.isClosed, true, "idle, and too old");
  ask();
  assert.equal(mesh.upstreams.length, 2);
  // In flight as its time runs out: the answer is whole, and the last.
  client.send(get);
  mesh.clock.advance(11_000);
  mesh.upstream().send(answer);
  assert.equal(mesh.upstreams[1]?.channel.isClosed, true);
  assert.equal(mesh.log.length, 4);
});

test("proxy() sees a client go, and leaves the upstream", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  client.send(get);
  const app = mesh.upstream();
  client.close({ code: "ECONNRESET", message: "reset" });
  assert.equal(app.isClosed, true);
  assert.deepEqual(
    mesh.log.map((entry) => [entry.status, entry.flags, entry.details]),
    [[0, "DC", "downstream_remote_disconnect"]],
  );
});

test("proxy() breaks off an answer that broke off", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  client.send(get);
  const app = mesh.upstream();
  app.send("HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf");
  app.close();
  assert.match(client.take(), /half$/);
  assert.equal(client.isClosed, true);
  assert.deepEqual(
    mesh.log.map((entry) => [entry.flags, entry.details]),
    [["UC", "upstream_reset_after_response_started{connection_termination}"]],
  );
});

test("proxy() answers early and closes when the request never ended", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  client.send("POST / HTTP/1.1\r\nhost: a\r\ncontent-length: 100\r\n\r\nsome");
  const app = mesh.upstream();
  app.send("HTTP/1.1 413 No\r\ncontent-length: 0\r\n\r\n");
  assert.match(client.take(), /^HTTP\/1\.1 413/);
  assert.equal(app.isClosed, true);
  assert.equal(client.hasEnded, true);
  client.send("GET /smuggled HTTP/1.1\r\nhost: a\r\n\r\n");
  assert.equal(mesh.log.length, 1);
});

test("proxy() keeps the limits of a cluster", () => {
  const mesh = new HttpHarness({ limits: { connection: 1, pending: 1 } });
  const clients = [mesh.connect(), mesh.connect(), mesh.connect()];
  clients[0]?.send(get);
  const app = mesh.upstream();
  clients[1]?.send(get);
  clients[2]?.send(get);
  assert.match(
    clients[2]?.take() ?? "",
    /^HTTP\/1\.1 503 .*x-envoy-overloaded: true.*reset reason: overflow$/s,
  );
  assert.equal(mesh.log[0]?.flags, "UO");
  app.send(answer);
  app.send(answer);
  assert.match(clients[1]?.take() ?? "", /hi$/);
  assert.equal(mesh.upstreams.length, 1);
});

test("proxy() serves who waits for an endpoint that leaves meanwhile, and keeps no connection", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  client.send(get);
  Object.assign(mesh.endpoints[0] ?? {}, { isRemoved: true });
  const app = mesh.upstream();
  assert.match(app.take(), /^GET \/a/);
  app.send(answer);
  assert.match(client.take(), /hi$/);
  assert.equal(mesh.upstreams.length, 1);
  assert.equal(app.isClosed, true);
});

test("proxy() drains: an answer ends its connection, and only what is quiet is closed", () => {
  const mesh = new HttpHarness();
  const [busy, idle, late] = [mesh.connect(), mesh.connect(), mesh.connect()];
  busy.send(get);
  const app = mesh.upstream();
  mesh.drain.begin(endingPlan(5000));
  mesh.clock.advance(500);
  late.send(get);
  mesh.upstream().send(answer);
  assert.match(late.take(), /\r\nconnection: close\r\n/);
  assert.deepEqual([idle.hasEnded, late.hasEnded], [false, true]);
  mesh.closeIdle(mesh.clock.monotonicMs() - 1000);
  assert.equal(idle.hasEnded, false);
  mesh.clock.advance(500);
  mesh.closeIdle(mesh.clock.monotonicMs() - 1000);
  assert.deepEqual([idle.hasEnded, busy.hasEnded], [true, false]);
  app.send(answer);
  assert.match(busy.take(), /\r\nconnection: close\r\n/);
  assert.equal(busy.hasEnded, true);
  mesh.clock.advance(2000);
  assert.equal(busy.isClosed, true);
});

test("proxy() times out slow heads and idle connections", () => {
  const mesh = new HttpHarness({
    manager: {
      requestHeadersTimeout: { seconds: 2n, nanos: 0 },
      commonHttpProtocolOptions: { idleTimeout: { seconds: 5n, nanos: 0 } },
    },
  });
  const slow = mesh.connect();
  slow.send("GET / HT");
  const idle = mesh.connect();
  mesh.clock.advance(2100);
  assert.match(slow.take(), /^HTTP\/1\.1 408 .*request header timeout$/s);
  assert.equal(idle.hasEnded, false);
  mesh.clock.advance(3100);
  assert.equal(idle.hasEnded, true);
});

test("proxy() asks for the body it was told to wait for", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n");
  assert.equal(client.take(), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("ok");
  const app = mesh.upstream();
  assert.doesNotMatch(app.take(), /\nexpect:/);
  app.send(
    "HTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\nHTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n",
  );
  assert.match(client.take(), /^HTTP\/1\.1 200 OK/);
});

test("proxy() leaves 100 to the upstream where it is configured", () => {
  const mesh = new HttpHarness({ manager: { proxy100Continue: true } });
  const client = mesh.connect();
  client.send("POST / HTTP/1.1\r\nhost: a\r\nexpect: 100-continue\r\ncontent-length: 2\r\n\r\n");
  assert.equal(client.take(), "");
  const app = mesh.upstream();
  assert.match(app.take(), /\r\nexpect: 100-continue\r\n/);
  app.send("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
  assert.equal(client.take(), "HTTP/1.1 100 Continue\r\n\r\n");
  client.send("ok");
  assert.equal(app.take(), "ok");
});

test("proxy() mirrors whole requests and ignores the answers", () => {
  const mesh = new HttpHarness({
    routes: routesToApp({ requestMirrorPolicies: [{ cluster: "app" }] }),
  });
  const client = mesh.connect();
  client.send("POST /x HTTP/1.1\r\nhost: a:80\r\ncontent-length: 4\r\n\r\nbo");
  const app = mesh.upstream(0);
  client.send("dy");
  const copy = mesh.upstream(1);
  assert.match(copy.take(), /^POST \/x HTTP\/1\.1\r\nhost: a-shadow:80\r\n[^]*\r\n\r\nbody$/);
  copy.close();
  app.send(answer);
  assert.match(client.take(), /^HTTP\/1\.1 200 OK/);
  assert.equal(mesh.log.length, 1);
});

test("proxy() leaves an idle connection before its endpoint does", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  const ask = (keepAlive: string): void => {
    client.send(get);
    mesh.upstream().send(answer.replace("\r\n\r\n", `\r\nKeep-Alive: ${keepAlive}\r\n\r\n`));
  };
  ask("max=100, timeout=5");
  mesh.clock.advance(3_900);
  ask("timeout=5");
  assert.equal(mesh.upstreams.length, 1);
  mesh.clock.advance(4_020);
  assert.equal(mesh.upstreams[0]?.channel.isClosed, true);
  ask("timeout=1");
  assert.equal(mesh.upstreams.length, 2);
  mesh.clock.advance(600);
  assert.equal(mesh.upstreams[1]?.channel.isClosed, true);
  for (const silent of ["5", "timeout", "timeout=x", "x-timeout=1", "max=1"]) ask(silent);
  mesh.clock.advance(30_000);
  assert.equal(mesh.upstreams[2]?.channel.isClosed, false);
});

test("proxy() passes long content on in order, and stops while the other side is slow", () => {
  const mesh = new HttpHarness();
  const client = mesh.connect();
  const piece = "0123456789".repeat(1000);
  client.send(`POST / HTTP/1.1\r\nhost: a\r\ncontent-length: ${piece.length * 2 + 5}\r\n\r\nstart`);
  const app = mesh.upstream();
  app.accepts = false;
  client.send(piece);
  assert.equal(client.isPaused, true);
  app.drain();
  assert.equal(client.isPaused, false);
  client.send(piece);
  assert.equal(app.take().split("\r\n\r\n")[1], `start${piece}${piece}`);
  app.send(`HTTP/1.1 200 OK\r\ncontent-length: ${piece.length * 2 + 2}\r\n\r\nab`);
  client.accepts = false;
  app.send(piece);
  assert.equal(app.isPaused, true);
  client.drain();
  assert.equal(app.isPaused, false);
  app.send(piece);
  assert.equal(client.take().split("\r\n\r\n")[1], `ab${piece}${piece}`);
  assert.equal(mesh.log[0]?.sent, piece.length * 2 + 2);
});
