import assert from "node:assert/strict";
import { describe, test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";

const get = "GET / HTTP/1.1\r\nhost: shop\r\n\r\n";
const answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/** Three requests that wait for one connection; `mayBegin`: of each, in turn, whether it may. */
function waiting(mayBegin: readonly boolean[]) {
  let turn = 0;
  const mesh = new HttpHarness({
    limits: {
      connection: 1,
      get request() {
        return mayBegin[turn++] === false ? 0 : 100;
      },
    },
  });
  const clients = mayBegin.map(() => {
    const client = mesh.connect();
    client.send(get);
    return client;
  });
  assert.equal(mesh.upstreams.length, 1);
  return { mesh, clients };
}

describe("EndpointPool", () => {
  test("leaves nobody waiting where the first in the row may not begin its request", () => {
    const { mesh, clients } = waiting([false, true, true]);
    const [first, second, third] = clients;
    const upstream = mesh.upstream();
    assert.match(first?.take() ?? "", /^HTTP\/1\.1 503 /);
    upstream.send(answer);
    assert.match(second?.take() ?? "", /^HTTP\/1\.1 200 /);
    upstream.send(answer);
    assert.match(third?.take() ?? "", /^HTTP\/1\.1 200 /);
    assert.deepEqual(mesh.inUse, { connection: 1, pending: 0, request: 0, retry: 0 });
  });

  test("answers all where none may begin, and its connection grows idle", () => {
    const { mesh, clients } = waiting([false, false, false]);
    const upstream = mesh.upstream();
    for (const client of clients) assert.match(client.take(), /^HTTP\/1\.1 503 /);
    assert.equal(upstream.isClosed, false);
    mesh.clock.advance(61_000);
    assert.equal(upstream.isClosed, true);
    assert.deepEqual(mesh.inUse, { connection: 0, pending: 0, request: 0, retry: 0 });
  });
});

test("UpstreamConnection ends what lasts longer than its cluster lets a request last", () => {
  const mesh = new HttpHarness({ maxStreamDurationMs: 5000 });
  const client = mesh.connect();
  client.send(get);
  const upstream = mesh.upstream();
  mesh.clock.advance(4900);
  upstream.send(answer);
  assert.match(client.take(), /^HTTP\/1\.1 200 /);
  // The connection is kept for longer, and each request has its own time.
  mesh.clock.advance(4900);
  client.send(get);
  mesh.clock.advance(4900);
  assert.equal(client.take(), "");
  assert.equal(mesh.upstreams.length, 1);
  mesh.clock.advance(200);
  assert.match(client.take(), /^HTTP\/1\.1 504 /);
  assert.deepEqual([mesh.log.at(-1)?.flags, upstream.isClosed], ["UMSDR", true]);
  assert.equal(mesh.inUse.request, 0);
});
