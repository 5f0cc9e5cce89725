import assert from "node:assert/strict";
import { test } from "node:test";

import { type HarnessOptions, HttpHarness } from "../../../test/support/http-harness.ts";
import { type Fields, message } from "../../../test/support/message.ts";
import { HTTPFault } from "../../wire/gen/ts/envoy/extensions/filters/http/fault/v3/fault.ts";

const typeUrl = "type.googleapis.com/envoy.extensions.filters.http.fault.v3.HTTPFault";
const get = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";

function harness(fields: Fields<HTTPFault>, more: HarnessOptions = {}): HttpHarness {
  const value = HTTPFault.encode(message(HTTPFault, fields)).finish();
  return new HttpHarness({ ...more, filters: [{ typeUrl, value }] });
}

/** 1024 bytes a second. */
const slow: Fields<HTTPFault> = {
  responseRateLimit: { fixedLimit: { limitKbps: 1n }, percentage: { numerator: 100 } },
};

function answer(bytes: number): string {
  return `HTTP/1.1 200 OK\r\ncontent-length: ${bytes}\r\n\r\n${"x".repeat(bytes)}`;
}

function bodyOf(text: string): string {
  return text.slice(text.indexOf("\r\n\r\n") + 4);
}

/** In steps as fine as the proxy's own. */
function pass(mesh: HttpHarness, ms: number): void {
  for (let passed = 0; passed < ms; passed += 10) mesh.clock.advance(10);
}

test("fault: an answer leaves no faster than it may", () => {
  const mesh = harness(slow);
  const client = mesh.connect();
  client.send(get);
  mesh.upstream().send(answer(1_500));
  // What has flowed into an empty bucket in a twentieth of a second.
  assert.equal(bodyOf(client.take()).length, 51);
  pass(mesh, 500);
  const half = client.take().length;
  assert.ok(half > 400 && half <= 563, String(half));
  assert.equal(mesh.log.length, 0);
  pass(mesh, 1_000);
  assert.equal(51 + half + client.take().length, 1_500);
  assert.deepEqual(
    mesh.log.map(({ status, sent, details }) => ({ status, sent, details })),
    [{ status: 200, sent: 1_500, details: "via_upstream" }],
  );
});

test("fault: a slow answer keeps its fields while its server's connection serves others", () => {
  const mesh = harness(slow);
  const first = mesh.connect();
  first.send(get);
  const upstream = mesh.upstream();
  upstream.send(answer(300).replace("content-length", "x-who: first\r\ncontent-length"));
  const second = mesh.connect();
  second.send(get);
  // The same connection, and the same memory.
  assert.equal(mesh.upstreams.length, 1);
  upstream.send(answer(2).replace("content-length", "x-who: other\r\ncontent-length"));
  pass(mesh, 400);
  assert.equal(mesh.record?.responseHeader("x-who"), "first");
  assert.equal(mesh.log.length, 2);
  first.take();
  first.send(get);
  upstream.send(answer(2));
  assert.match(first.take(), /^HTTP\/1\.1 200/);
});

test("fault: what a slow answer keeps is bounded, and its server waits", () => {
  const mesh = harness(slow);
  mesh.connect().send(get);
  const upstream = mesh.upstream();
  upstream.send("HTTP/1.1 200 OK\r\ncontent-length: 10000\r\n\r\n");
  // The harness's listener keeps 4096 bytes.
  upstream.send("x".repeat(4_000));
  assert.equal(upstream.isPaused, false);
  upstream.send("x".repeat(1_000));
  assert.equal(upstream.isPaused, true);
  pass(mesh, 1_000);
  assert.equal(upstream.isPaused, false);
});

test("fault: a slow answer waits for a client that is slower", () => {
  const mesh = harness(slow);
  const client = mesh.connect();
  client.send(get);
  const upstream = mesh.upstream();
  client.accepts = false;
  upstream.send(answer(6_000).slice(0, 5_000));
  assert.equal(upstream.isPaused, true);
  pass(mesh, 4_000);
  assert.equal(upstream.isPaused, true);
  client.drain();
  assert.equal(upstream.isPaused, false);
});

test("fault: a client that leaves while its answer comes slowly leaves nothing behind", () => {
  const mesh = harness({ ...slow, maxActiveFaults: 1 });
  const client = mesh.connect();
  client.send(get);
  mesh.upstream().send(answer(1_000));
  pass(mesh, 100);
  client.close();
  assert.equal(mesh.log[0]?.flags, "DC");
  pass(mesh, 2_000);
  assert.equal(mesh.log.length, 1);
  // The one fault that may be in force is free again.
  const next = mesh.connect();
  next.send(get);
  mesh.upstream().send(answer(1_000));
  assert.ok(bodyOf(next.take()).length < 100);
});

test("fault: an answer that comes slowly may be idle for no longer than any other", () => {
  const mesh = harness(slow, { manager: { streamIdleTimeout: { seconds: 1n, nanos: 0 } } });
  const client = mesh.connect();
  client.send(get);
  mesh.upstream().send(answer(3_000));
  pass(mesh, 3_500);
  assert.equal(mesh.log[0]?.flags, "");
  assert.equal(bodyOf(client.take()).length, 3_000);
});

test("fault: a limit that is none is refused", () => {
  const percentage = { numerator: 100 };
  assert.throws(() => harness({ responseRateLimit: { percentage } }), {
    message: /response_rate_limit: names no limit/,
  });
  assert.throws(
    () => harness({ responseRateLimit: { fixedLimit: { limitKbps: 0n }, percentage } }),
    { message: /limit_kbps: must be at least 1/ },
  );
});
