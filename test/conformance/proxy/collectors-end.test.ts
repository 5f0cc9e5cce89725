/**
 * What waits for a collector when a proxy ends in order, under both I/O backends, with data workers, and
 * under Envoy, which is not compared: it leaves with what it has not sent yet.
 */
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";
import { isDeepStrictEqual } from "node:util";

import { ExportTraceServiceRequest } from "../../../src/wire/gen/ts/opentelemetry/proto/collector/trace/v1/trace_service.ts";
import { type Collector, startCollector, until } from "./collector.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const type = "type.googleapis.com/envoy.extensions";
const label = (plane: PlaneName): string => `of-${plane.replace(" ", "-")}`;

/** Nothing would leave by itself for an hour, but spans after a second. */
function bootstrap(
  port: number,
  plane: string,
  to: { readonly grpc: number; readonly posts: number; readonly application: number },
): string {
  const cluster = (name: string, toPort: number, more = ""): string =>
    `{name: ${name}, type: STATIC, connect_timeout: 1s, ${more}load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${toPort}}}}}]}]}}`;
  const http2 = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": ${type}.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}, `;
  const service = "grpc_service: {envoy_grpc: {cluster_name: logs}}";
  const late = "buffer_flush_interval: 3600s, buffer_size_bytes: 1000000";
  const als = `{name: als, typed_config: {"@type": ${type}.access_loggers.grpc.v3.HttpGrpcAccessLogConfig, common_config: {log_name: "${plane}", transport_api_version: V3, ${service}, ${late}}}}`;
  const otlp = `{name: otlp, typed_config: {"@type": ${type}.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig, log_name: "${plane}", http_service: {http_uri: {uri: "http://logs.test/logs/${plane}", cluster: posts, timeout: 1s}}, ${late}}}`;
  const tracer = `{name: otel, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, service_name: "${plane}", http_service: {http_uri: {uri: "http://spans.test/spans/${plane}", cluster: posts, timeout: 1s}}}}`;
  return `
static_resources:
  clusters:
  - ${cluster("app", to.application)}
  - ${cluster("posts", to.posts)}
  - ${cluster("logs", to.grpc, http2)}
  listeners:
  - name: in
    address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": ${type}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          access_log: [${als}, ${otlp}]
          tracing: {provider: ${tracer}}
          http_filters: [{name: router, typed_config: {"@type": ${type}.filters.http.router.v3.Router}}]
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: app}}]}]}
`;
}

let collector: Collector;
let application: http.Server;
let planes: Planes<"in"> | undefined;

before(async () => {
  collector = await startCollector();
  application = http.createServer((_, answer) => answer.end("ok"));
  await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
  const address = application.address();
  assert.ok(typeof address === "object" && address !== null);
  const to = {
    grpc: collector.grpcPort,
    posts: collector.httpPort,
    application: address.port,
  };
  const order = [...planeNames, "envoy"] as const;
  let made = 0;
  planes = await startPlanes(["in"], (ports) =>
    bootstrap(ports.in, label(order[made++] ?? "envoy"), to),
  );
});

after(async () => {
  await planes?.close();
  application?.closeAllConnections();
  application?.close();
  await collector?.close();
});

async function get(port: number): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    http
      .get({ host: "127.0.0.1", port, agent: false }, (answer) =>
        answer.resume().on("end", resolve),
      )
      .on("error", reject);
  });
}

test("logs and spans that wait leave before their proxy ends", async () => {
  assert.ok(planes !== undefined);
  for (const plane of planeNames) {
    for (let i = 0; i < 3; i++) await get(planes.port(plane, "in"));
  }
  await planes.close();
  planes = undefined;
  for (const plane of planeNames) {
    const own = label(plane);
    const streams = () => collector.streams.filter(({ logName }) => logName === own);
    const entries = () => streams().flatMap((stream) => stream.http);
    const logs = () => collector.posts.filter(({ path }) => path === `/logs/${own}`);
    const spans = () =>
      collector.posts
        .filter(({ path }) => path === `/spans/${own}`)
        .flatMap(({ body }) => ExportTraceServiceRequest.decode(body).resourceSpans)
        .flatMap(({ scopeSpans }) => scopeSpans.flatMap((scope) => scope.spans));
    const told = () => [entries().length, logs().length > 0, spans().length];
    // They have left; the collector may still have to read them.
    await until(
      () => (isDeepStrictEqual(told(), [3, true, 3]) ? true : undefined),
      () => `${plane}: ${told().join(" ")}`,
    );
  }
});
