import assert from "node:assert/strict";
import { test } from "node:test";

import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { unknownPeer, type PeerDirectory } from "../../telemetry/standard-metrics.ts";
import { StatsTranslator } from "./stats-translator.ts";

const peers: PeerDirectory = {
  revision: 0,
  resolve: (instance) =>
    instance.startsWith("web-") ? { ...unknownPeer, workload: "web" } : undefined,
};

function open(): StatsTranslator {
  return new StatsTranslator(peers, createMetricRegistry());
}

const requests = (peer: string, value: number, code = 200): string =>
  `envoy_heddle_istio_requests_total{reporter="destination",heddle_peer="CN=${peer}",source_principal="spiffe://x",request_protocol="HTTP/1.1",response_code="${code}",response_flags="-"} ${value}`;
const type = "# TYPE envoy_heddle_istio_requests_total counter";

function valueOf(text: string, name = "istio_requests_total"): number[] {
  return text
    .split("\n")
    .filter((line) => line.startsWith(`${name}{`))
    .map((line) => Number(line.slice(line.lastIndexOf(" "))));
}

test("translate() adds replicas of one source up and names them", () => {
  const text = open().translate(
    [type, requests("web-0.shop", 3), requests("web-1.shop", 4)].join("\n"),
  );
  assert.deepEqual(valueOf(text), [7]);
  assert.match(text, /source_workload="web"/);
  assert.match(text, /# TYPE istio_requests_total counter/);
  assert.doesNotMatch(text, /heddle_peer|envoy_heddle/);
});

test("translate() never lets a counter fall: not by eviction, not by a restart of Envoy", () => {
  const translator = open();
  const scrape = (...lines: string[]) => valueOf(translator.translate([type, ...lines].join("\n")));
  assert.deepEqual(scrape(requests("web-0.shop", 10), requests("web-1.shop", 5)), [15]);
  assert.deepEqual(scrape(requests("web-1.shop", 6)), [16]);
  assert.deepEqual(scrape(requests("web-0.shop", 1), requests("web-1.shop", 6)), [17]);
  assert.deepEqual(scrape(requests("web-1.shop", 2)), [19]);
});

test("translate() leaves Envoy's own series as they are", () => {
  const own =
    '# TYPE envoy_cluster_upstream_rq_total counter\nenvoy_cluster_upstream_rq_total{cluster_name="a"} 1\n';
  assert.ok(
    open()
      .translate(`${own}${type}\n${requests("x.y", 1)}\n`)
      .startsWith(own),
  );
});

test("translate() keeps histograms whole", () => {
  const labels = 'reporter="source",request_protocol="HTTP/1.1"';
  const name = "envoy_heddle_istio_request_bytes";
  const text = open().translate(
    [
      `# TYPE ${name} histogram`,
      `${name}_bucket{${labels},le="1"} 2`,
      `${name}_bucket{${labels},le="+Inf"} 3`,
      `${name}_sum{${labels}} 12.5`,
      `${name}_count{${labels}} 3`,
    ].join("\n"),
  );
  assert.equal(text.match(/# TYPE/g)?.length, 1);
  assert.deepEqual(valueOf(text, "istio_request_bytes_bucket"), [2, 3]);
  assert.deepEqual(valueOf(text, "istio_request_bytes_sum"), [12.5]);
  assert.match(text, /le="\+Inf"\} 3/);
});

test("translate() multiplies gRPC messages out", () => {
  const line = (messages: string, count: number) =>
    `envoy_heddle_istio_grpc_messages_total{reporter="source",grpc_response_status="0",heddle_messages="${messages}"} ${count}`;
  const text = open().translate([line("1,1", 10), line("1,20", 2)].join("\n"));
  assert.deepEqual(valueOf(text, "istio_request_messages_total"), [12]);
  assert.deepEqual(valueOf(text, "istio_response_messages_total"), [50]);
  assert.match(text, /request_protocol="grpc"/);
});

test("translate() passes over lines it cannot read", () => {
  assert.equal(open().translate('envoy_heddle_istio_x{a="b" 1\nenvoy_heddle_istio_y NaN\n'), "");
});
