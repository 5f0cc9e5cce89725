/** The ports of a sidecar's metrics answer in the format that the scraper asks for. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { startStatusServers } from "../../../src/agent/status/status-servers.ts";
import { createMetricRegistry } from "../../../src/telemetry/metric-registry.ts";
import { decodeFamilies } from "../../support/prometheus-protobuf.ts";
import { silentLog } from "../../support/silent-log.ts";

const prometheus =
  "application/vnd.google.protobuf;proto=io.prometheus.client.MetricFamily;encoding=delimited,application/openmetrics-text;version=1.0.0;q=0.8,text/plain;version=0.0.4;q=0.5,*/*;q=0.1";

test("the metrics port speaks protobuf with those who ask, and text with everybody else", async () => {
  const registry = createMetricRegistry();
  registry.histogram("h", "H.", [1]).record(0.5);
  const servers = await startStatusServers({
    address: "127.0.0.1",
    ports: { mergedMetrics: 0, ready: 0, metrics: 0 },
    notReady: () => undefined,
    metrics: () => registry.expose(),
    protobuf: () => registry.exposeProtobuf(),
    log: silentLog,
  });
  try {
    const url = `http://127.0.0.1:${servers.ports.metrics}/stats/prometheus`;
    const text = await fetch(url);
    assert.match(text.headers.get("content-type") ?? "", /^text\/plain; version=0\.0\.4/);
    assert.match(await text.text(), /^h_bucket\{le="1"\} 1$/m);
    const native = await fetch(url, { headers: { accept: prometheus } });
    assert.match(native.headers.get("content-type") ?? "", /^application\/vnd\.google\.protobuf/);
    const [family] = decodeFamilies(new Uint8Array(await native.arrayBuffer()));
    assert.equal(family?.series[0]?.histogram?.schema, 3);
  } finally {
    await servers.close();
  }
});
