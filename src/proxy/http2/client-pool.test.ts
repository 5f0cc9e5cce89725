import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { defaultHeadLimits } from "../../wire/http1-head.ts";
import { clusterHttp2Counters } from "./counters.ts";
import { compileHttp2Settings } from "./settings.ts";

const metrics = createMetricRegistry();
const http2 = {
  when: "always",
  settings: compileHttp2Settings(undefined, {
    limits: defaultHeadLimits,
    resetsMalformed: false,
    drainMs: 0,
  }),
  counters: clusterHttp2Counters((name) => metrics.counter(name, name)),
} as const;

/** SETTINGS_MAX_CONCURRENT_STREAMS. */
const settings = (streams: number): string =>
  `\0\0\x06\x04\0\0\0\0\0\0\x03\0\0\0${String.fromCharCode(streams)}`;

test("ClientPool opens another connection for who waits when a server takes fewer streams", () => {
  const mesh = new HttpHarness({ http2, limits: { pending: 200, request: 200 } });
  // A connection is begun for as many as we would begin; before the server has spoken it has a hundred.
  for (let i = 0; i < 120; i++) mesh.connect().send("GET / HTTP/1.1\r\nhost: shop\r\n\r\n");
  assert.equal(mesh.upstreams.length, 1);
  const first = mesh.upstream();
  assert.equal(mesh.inUse.request, 100);
  assert.equal(mesh.inUse.pending, 20);
  first.send(settings(50));
  assert.equal(mesh.upstreams.length, 2);
  mesh.upstream();
  assert.equal(mesh.inUse.pending, 0);
  assert.equal(mesh.inUse.request, 120);
});
