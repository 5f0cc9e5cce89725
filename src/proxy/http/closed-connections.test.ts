import assert from "node:assert/strict";
import { test } from "node:test";
import { setImmediate } from "node:timers/promises";
import v8 from "node:v8";
import vm from "node:vm";

import { HttpHarness } from "../../../test/support/http-harness.ts";

v8.setFlagsFromString("--expose-gc");
const collect: unknown = vm.runInNewContext("gc");

const get = "GET / HTTP/1.1\r\nhost: shop\r\n\r\n";
const answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok";

/** What holds a connection's objects; those of the harness are let go of. */
function serve(mesh: HttpHarness): readonly WeakRef<object>[] {
  const client = mesh.connect();
  client.send(get);
  const upstream = mesh.upstream();
  upstream.send(answer);
  assert.match(client.take(), /^HTTP\/1\.1 200 OK/);
  const held = [new WeakRef(client.handler), new WeakRef(upstream.handler)];
  upstream.close();
  client.close();
  mesh.upstreams.length = 0;
  return held;
}

test("a closed connection is held by none of its timeouts", async () => {
  const mesh = new HttpHarness({
    manager: {
      requestHeadersTimeout: { seconds: 60, nanos: 0 },
      streamIdleTimeout: { seconds: 300, nanos: 0 },
      commonHttpProtocolOptions: {
        idleTimeout: { seconds: 3600, nanos: 0 },
        maxConnectionDuration: { seconds: 3600, nanos: 0 },
      },
    },
  });
  const held = Array.from({ length: 20 }, () => serve(mesh)).flat();
  // A WeakRef keeps its object until the turn is over.
  await setImmediate();
  assert.ok(typeof collect === "function");
  collect();
  const left = held.filter((reference) => reference.deref() !== undefined).length;
  // The last one may still be in a register or an inline cache.
  assert.ok(left <= 2, `${left} of ${held.length} objects are still there`);
});
