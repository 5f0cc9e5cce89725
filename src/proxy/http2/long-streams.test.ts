import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness, routesToApp } from "../../../test/support/http-harness.ts";

const preface = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";
/** Ours, and that we have read the others. */
const settings = "\0\0\0\x04\0\0\0\0\0\0\0\0\x04\x01\0\0\0\0";
/** GET / of `a`, from the static table, on stream 1. */
const http2Request = `\0\0\x06\x01\x05\0\0\0\x01\x82\x86\x84\x01\x01a`;
const requests = {
  "HTTP/1.1": "GET / HTTP/1.1\r\nhost: a\r\n\r\n",
  "HTTP/2": preface + settings + http2Request,
};
const minuteMs = 60_000;

/** A stream of events, one each 40 s; what may take a minute is that nothing moves. */
function begin(request: string) {
  const mesh = new HttpHarness({
    routes: routesToApp({ timeout: { seconds: 0n, nanos: 0 } }),
    manager: { streamIdleTimeout: { seconds: 60n, nanos: 0 } },
  });
  const client = mesh.connect();
  client.send(request);
  const upstream = mesh.upstream();
  upstream.take();
  upstream.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
  client.take();
  return { mesh, client, upstream };
}

for (const [protocol, request] of Object.entries(requests)) {
  test(`HttpStream lasts while events come, each of which leaves at once (${protocol})`, () => {
    const { mesh, client, upstream } = begin(request);
    for (let event = 0; event < 100; event++) {
      mesh.clock.advance(40_000);
      upstream.send("5\r\nevent\r\n");
      assert.match(client.take(), /event/);
    }
    assert.equal(mesh.log.length, 0);
    mesh.clock.advance(minuteMs + 100);
    const [logged] = mesh.log;
    assert.deepEqual([logged?.status, logged?.flags], [200, "SI"]);
    assert.equal(upstream.isClosed, true);
  });

  test(`HttpStream lasts no longer than it may in all, events or none (${protocol})`, () => {
    const mesh = new HttpHarness({
      routes: routesToApp({
        timeout: { seconds: 0n, nanos: 0 },
        maxStreamDuration: { maxStreamDuration: { seconds: 600n, nanos: 0 } },
      }),
    });
    const client = mesh.connect();
    client.send(request);
    const upstream = mesh.upstream();
    upstream.send("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n");
    for (let event = 0; event < 9; event++) {
      mesh.clock.advance(minuteMs);
      upstream.send("5\r\nevent\r\n");
      assert.match(client.take(), /event/);
    }
    assert.equal(mesh.log.length, 0);
    mesh.clock.advance(minuteMs + 100);
    assert.equal(mesh.log[0]?.details, "max_duration_timeout");
  });
}
