import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../test/support/fake-clock.ts";
import { requestRecord } from "../../test/support/request-record.ts";
import { createMetricRegistry } from "../telemetry/metric-registry.ts";
import type { RequestSink } from "../telemetry/request-record.ts";
import {
  standardHttpLoggers,
  standardTcpLoggers,
  unknownPeer,
  type PeerDirectory,
  type StatsLogger,
} from "../telemetry/standard-metrics.ts";
import { AccessLog, AccessLogFilter } from "../wire/gen/ts/envoy/config/accesslog/v3/accesslog.ts";
import { AccessLogType } from "../wire/gen/ts/envoy/data/accesslog/v3/accesslog.ts";
import { FileAccessLog } from "../wire/gen/ts/envoy/extensions/access_loggers/file/v3/file.ts";
import { Config } from "../wire/gen/ts/envoy/extensions/access_loggers/stats/v3/stats.ts";
import { ExportTraceServiceRequest } from "../wire/gen/ts/opentelemetry/proto/collector/trace/v1/trace_service.ts";
import type { LogOptions } from "./context.ts";
import { createSinkCompiler } from "./stats.ts";
import { OtlpSpans } from "./stats/otlp-spans.ts";
import { ReportMemory } from "./stats/report-memory.ts";
import { SpanSink } from "./stats/span-sink.ts";

const peers: PeerDirectory = {
  revision: 0,
  resolve: (instance) =>
    instance === "web-0.shop" ? { ...unknownPeer, workload: "web" } : undefined,
};
const own = { ...unknownPeer, workload: "cart", namespace: "default" };

/** The same loggers as the control plane writes them. */
function accessLogs(loggers: readonly StatsLogger[]): AccessLog[] {
  return loggers.map(({ filter, counters, histograms }) => {
    const filters = [];
    if (filter.logTypes !== undefined) {
      const types = filter.logTypes.map((name) => Object(AccessLogType)[name]);
      filters.push(AccessLogFilter.fromPartial({ logTypeFilter: { types } }));
    }
    if (filter.responseFlags !== undefined) {
      const flags = [...filter.responseFlags];
      filters.push(AccessLogFilter.fromPartial({ responseFlagFilter: { flags } }));
    }
    const stat = (name: string, tags: readonly { name: string; format: string }[]) => ({
      name,
      tags: tags.map((tag) => ({ name: tag.name, valueFormat: tag.format })),
    });
    const config = Config.fromPartial({
      counters: counters.map(({ name, tags, value }) => ({
        stat: stat(name, tags),
        ...(value === 1 ? { valueFixed: 1n } : { valueFormat: value }),
      })),
      histograms: histograms.map(({ name, tags, valueFormat }) => ({
        stat: stat(name, tags),
        unit: 3,
        valueFormat,
      })),
    });
    return AccessLog.fromPartial({
      name: "envoy.access_loggers.stats",
      filter: { andFilter: { filters } },
      typedConfig: {
        typeUrl: "type.googleapis.com/envoy.extensions.access_loggers.stats.v3.Config",
        value: Config.encode(config).finish(),
      },
    });
  });
}

function open(loggers: readonly AccessLog[], options?: LogOptions) {
  const metrics = createMetricRegistry();
  const lines: string[] = [];
  const compile = createSinkCompiler({
    metrics,
    peers,
    openLog: (path) => (memory, length) =>
      void lines.push(`${path}: ${memory.toString("utf8", 0, length)}`),
  });
  const sink: RequestSink = compile(loggers, "outbound", options);
  const valueOf = (name: string): number =>
    metrics
      .expose()
      .split("\n")
      .filter((line) => line.startsWith(`${name}{`))
      .reduce((sum, line) => sum + Number(line.slice(line.lastIndexOf(" "))), 0);
  return { sink, metrics, lines, valueOf };
}

test("sinkFor() counts Istio's HTTP metrics with the labels of both ends", () => {
  const { sink, metrics, valueOf } = open(accessLogs(standardHttpLoggers("source", own)));
  const record = requestRecord({
    upstreamMetadata: { heddle: { workload: "catalog-v1", namespace: "default" } },
    clusterMetadata: { heddle: { service: "catalog.default.svc.cluster.local" } },
    upstreamPeerUriSans: ["spiffe://cluster.local/ns/default/sa/catalog"],
  });
  sink.onEnd(record);
  sink.onEnd(record);
  assert.equal(valueOf("istio_requests_total"), 2);
  assert.equal(valueOf("istio_response_bytes_sum"), 1400);
  const [line = ""] = metrics.expose().match(/^istio_requests_total.*$/m) ?? [];
  for (const label of [
    'reporter="source"',
    'source_workload="cart"',
    'destination_workload="catalog-v1"',
    'destination_principal="spiffe://cluster.local/ns/default/sa/catalog"',
    'destination_service="catalog.default.svc.cluster.local"',
    'response_code="200"',
    'request_protocol="http"',
  ]) {
    assert.ok(line.includes(label), `${label} in ${line}`);
  }
});

test("sinkFor() names the source at the destination by its certificate", () => {
  const { sink, metrics } = open(accessLogs(standardHttpLoggers("destination", own)));
  sink.onEnd(requestRecord({ downstreamPeerCommonName: "web-0.shop" }));
  assert.match(metrics.expose(), /source_workload="web"/);
});

test("sinkFor() counts TCP bytes while they flow, each byte once", () => {
  const { sink, valueOf } = open(accessLogs(standardTcpLoggers("source", own)));
  const record = requestRecord({ kind: "tcp", bytesReceived: 0, bytesSent: 0 });
  sink.onConnected?.(record);
  assert.equal(valueOf("istio_tcp_connections_opened_total"), 1);
  record.bytesReceived = 100;
  sink.onProgress?.(record);
  assert.equal(valueOf("istio_tcp_received_bytes_total"), 100);
  record.bytesReceived = 150;
  sink.onEnd(record);
  assert.equal(valueOf("istio_tcp_received_bytes_total"), 150);
  assert.equal(valueOf("istio_tcp_connections_opened_total"), 1);
  assert.equal(valueOf("istio_tcp_connections_closed_total"), 1);
  assert.equal(record.bytesReceived, 150);
});

test("sinkFor() counts a TCP connection as opened also when it reached no upstream", () => {
  const { sink, valueOf } = open(accessLogs(standardTcpLoggers("source", own)));
  sink.onEnd(requestRecord({ kind: "tcp", responseFlags: "UF", upstreamHost: undefined }));
  assert.equal(valueOf("istio_tcp_connections_opened_total"), 1);
  assert.equal(valueOf("istio_tcp_connections_closed_total"), 1);
});

type LogFormat = { readonly textFormat: string } | { readonly jsonFormat: Record<string, string> };

function fileLog(path: string, logFormat: LogFormat, filter?: AccessLogFilter): AccessLog {
  return AccessLog.fromPartial({
    name: "envoy.access_loggers.file",
    ...(filter === undefined ? {} : { filter }),
    typedConfig: {
      typeUrl: "type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog",
      value: FileAccessLog.encode(FileAccessLog.fromPartial({ path, logFormat })).finish(),
    },
  });
}

test("sinkFor() writes files by the format and filter of the configuration", () => {
  const only5xx = AccessLogFilter.fromPartial({
    statusCodeFilter: { comparison: { op: 1, value: { defaultValue: 500 } } },
  });
  const { sink, lines } = open([
    fileLog("a.log", { jsonFormat: { code: "%RESPONSE_CODE%" } }),
    fileLog("b.log", { textFormat: "%RESPONSE_CODE%\n" }, only5xx),
  ]);
  sink.onEnd(requestRecord());
  sink.onEnd(requestRecord({ responseCode: 503 }));
  assert.deepEqual(lines, ['a.log: {"code":200}\n', 'a.log: {"code":503}\n', "b.log: 503\n"]);
});

test("sinkFor() logs a TCP connection when it is connected where the filter asks for it", () => {
  const logs = [fileLog("a.log", { textFormat: "%ACCESS_LOG_TYPE% %BYTES_SENT%\n" })];
  const lines = (options?: LogOptions): readonly string[] => {
    const opened = open(logs, options);
    const record = requestRecord({ kind: "tcp", bytesSent: 0 });
    opened.sink.onConnected?.(record);
    record.bytesSent = 7;
    opened.sink.onEnd(record);
    return opened.lines;
  };
  assert.deepEqual(lines(), ["a.log: TcpConnectionEnd 7\n"]);
  assert.deepEqual(lines({ tellsConnected: true }), [
    "a.log: TcpUpstreamConnected 0\n",
    "a.log: TcpConnectionEnd 7\n",
  ]);
});

test("sinkFor() refuses loggers and formats it cannot honour", () => {
  assert.throws(() => open([AccessLog.fromPartial({ name: "x" })]), /not supported/);
  assert.throws(() => open([fileLog("a", { textFormat: "%NOPE%" })]), /NOPE% is not supported/);
});

test("SpanSink sends sampled requests in batches, one at a time, and drops past its bound", () => {
  const clock = new FakeClock();
  const metrics = createMetricRegistry();
  const posts: { readonly body: Uint8Array; readonly done: (isAccepted: boolean) => void }[] = [];
  const spans = new SpanSink({
    clock,
    metrics,
    encoding: new OtlpSpans({ resource: { "service.name": "cart.default" } }),
    memory: new ReportMemory(),
    post: (body, done) => void posts.push({ body, done }),
  });
  const sampled = { isSampled: true, traceId: "a".repeat(32), spanId: "b".repeat(16) };
  spans.add(requestRecord());
  spans.add(requestRecord({ ...sampled, responseCode: 503, parentSpanId: "c".repeat(16) }));
  clock.advance(1000);
  const [first] = posts;
  const span = ExportTraceServiceRequest.decode(first?.body ?? new Uint8Array(0)).resourceSpans[0]
    ?.scopeSpans[0]?.spans[0];
  assert.equal(Buffer.from(span?.traceId ?? []).toString("hex"), "a".repeat(32));
  assert.equal(span?.status?.code, 2);
  for (let i = 0; i < 5000; i++) spans.add(requestRecord(sampled));
  assert.equal(posts.length, 1);
  assert.match(metrics.expose(), /heddle_spans_total\{outcome="dropped"\} 904/);
  first?.done(true);
  assert.equal(posts.length, 2);
});

test("SpanSink sends all that waits at its end, until a collector refuses", async () => {
  const clock = new FakeClock();
  const sampled = { isSampled: true, traceId: "a".repeat(32), spanId: "b".repeat(16) };
  const sentOf = async (isAccepted: (posted: number) => boolean): Promise<number> => {
    let posted = 0;
    const spans = new SpanSink({
      clock,
      metrics: createMetricRegistry(),
      encoding: new OtlpSpans({ resource: {} }),
      memory: new ReportMemory(),
      pendingMax: 2,
      post: (_, done) => queueMicrotask(() => done(isAccepted(++posted))),
    });
    // Two leave at once, and so two wait.
    for (let i = 0; i < 5; i++) spans.add(requestRecord(sampled));
    await spans.finish();
    return posted;
  };
  assert.equal(await sentOf(() => true), 2);
  assert.equal(await sentOf(() => false), 1);
});
