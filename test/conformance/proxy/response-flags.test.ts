/**
 * Response flags that the scenarios have no place for, over one file, under Heddle's data plane (both
 * I/O backends, and data workers) and under Envoy: those of HTTP/2's resets, of a connection that is too
 * old, of a request that is, of an endpoint assignment that sheds load, and of a request that is unsound;
 * with their long names, the details, and what the client is told.
 */
import assert from "node:assert/strict";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { after, before, test } from "node:test";

import { until } from "./collector.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const doors = ["plain", "tcp"] as const;
type Door = (typeof doors)[number];
type Ports = { readonly [door in Door]: number };

const type = "type.googleapis.com/envoy.extensions";

function bootstrap(ports: Ports, logFile: string, upstream: number): string {
  const cluster = (name: string, more: string, policy = ""): string =>
    `{name: ${name}, type: STATIC, connect_timeout: 10s, ${more}load_assignment: {cluster_name: ${name}, ${policy}endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${upstream}}}}}]}]}}`;
  const http2Options = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": ${type}.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}, `;
  const briefOptions = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": ${type}.upstreams.http.v3.HttpProtocolOptions, common_http_protocol_options: {max_stream_duration: 0.2s}, explicit_http_config: {http2_protocol_options: {}}}}, `;
  const log = `access_log: [{name: file, typed_config: {"@type": ${type}.access_loggers.file.v3.FileAccessLog, path: ${logFile}, log_format: {text_format_source: {inline_string: "%RESPONSE_FLAGS% %RESPONSE_FLAGS_LONG% %RESPONSE_CODE% %RESPONSE_CODE_DETAILS%\\n"}}}}]`;
  const listener = (door: Door, filter: string): string => `
  - name: ${door}
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports[door]}}}
    filter_chains: [{filters: [${filter}]}]`;
  const manager = `{name: http, typed_config: {"@type": ${type}.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: http, codec_type: AUTO, ${log}, http_filters: [{name: router, typed_config: {"@type": ${type}.filters.http.router.v3.Router}}], route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /dropped}, route: {cluster: dropped}}, {match: {prefix: /all-dropped}, route: {cluster: all-dropped}}, {match: {prefix: /brief}, route: {cluster: brief, timeout: 0s}}, {match: {prefix: /}, route: {cluster: app, timeout: 0s}}]}]}}}`;
  const tcp = `{name: tcp, typed_config: {"@type": ${type}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: raw, max_downstream_connection_duration: 0.3s, ${log}}}`;
  const drops = (numerator: number): string =>
    `policy: {drop_overloads: [{category: load, drop_percentage: {numerator: ${numerator}, denominator: MILLION}}]}, `;
  return `
static_resources:
  clusters:
  - ${cluster("app", http2Options)}
  - ${cluster("dropped", "", drops(999_999))}
  - ${cluster("all-dropped", "", drops(1_000_000))}
  - ${cluster("brief", briefOptions)}
  - ${cluster("raw", "")}
  listeners:${listener("plain", manager)}${listener("tcp", tcp)}
`;
}

let planes: Planes<Door>;
const upstream = http2.createServer();
/** Streams that their client shall leave. */
const waiting: http2.Http2Stream[] = [];

before(async () => {
  upstream.on("stream", (stream, headers) => {
    stream.on("error", () => {});
    if (headers[":path"] === "/reset") stream.close(http2.constants.NGHTTP2_INTERNAL_ERROR);
    else waiting.push(stream);
  });
  upstream.on("sessionError", () => {});
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", resolve));
  const address = upstream.address();
  assert.ok(typeof address === "object" && address !== null);
  const { port } = address;
  planes = await startPlanes(doors, (ports, { logFile }) => bootstrap(ports, logFile, port));
});

after(async () => {
  await planes?.close();
  upstream.close();
});

const asks: Readonly<Record<string, (port: number) => Promise<void>>> = {
  DO: (port) => get(port, "/dropped"),
  UDO: (port) => get(port, "/all-dropped"),
  UMSDR: (port) => get(port, "/brief"),
  DPE: (port) => send(port, "GET / HTTP/1.1\r\nhost: a\r\nbad header\r\n\r\n"),
  UR: (port) => get(port, "/reset"),
  DR: leaveStream,
  DT: outstay,
};

/** What has been answered last, but for what differs from day to day. */
let lastAnswer = "";

async function get(port: number, path: string): Promise<void> {
  await new Promise<void>((resolve, reject) => {
    http
      .get({ host: "127.0.0.1", port, path, agent: false }, (answer) => {
        let body = "";
        answer.setEncoding("utf8").on("data", (chunk: string) => (body += chunk));
        answer.on("end", () => {
          const { date, ...told } = answer.headers;
          assert.ok(date !== undefined);
          lastAnswer = JSON.stringify([answer.statusCode, told, body]);
          resolve();
        });
      })
      .on("error", reject);
  });
}

/** Until the connection ends. */
async function send(port: number, text: string): Promise<void> {
  await new Promise<void>((resolve) => {
    const socket = net.connect({ host: "127.0.0.1", port });
    socket.on("error", () => {});
    socket.on("close", () => resolve());
    socket.resume().write(text);
  });
}

/** Resets its stream when the upstream has it. */
async function leaveStream(port: number): Promise<void> {
  const session = http2.connect(`http://127.0.0.1:${port}`);
  session.on("error", () => {});
  const stream = session.request({ ":path": "/waits" });
  stream.on("error", () => {});
  waiting.length = 0;
  await until(
    () => waiting[0],
    () => "the stream",
  );
  stream.close(http2.constants.NGHTTP2_CANCEL);
  await new Promise<void>((resolve) => stream.once("close", resolve));
  session.close();
}

/** Says nothing until it is cut off. */
async function outstay(port: number): Promise<void> {
  await new Promise<void>((resolve) => {
    const socket = net.connect({ host: "127.0.0.1", port });
    socket.on("error", () => {});
    socket.on("close", () => resolve());
    socket.resume();
  });
}

async function flagsOf(plane: PlaneName, flag: string): Promise<string> {
  const before = planes.log(plane).length;
  lastAnswer = "";
  await asks[flag]?.(planes.port(plane, flag === "DT" ? "tcp" : "plain"));
  const line = await until(
    () => planes.log(plane)[before],
    () => `${plane} ${flag}`,
  );
  return `${line} ${lastAnswer}`;
}

for (const flag of Object.keys(asks)) {
  test(`the flag ${flag} is told as Envoy tells it`, async () => {
    const expected = await flagsOf("envoy", flag);
    assert.ok(expected.startsWith(`${flag} `), expected);
    for (const plane of planeNames) {
      assert.equal(await flagsOf(plane, flag), expected, `${plane} (actual), Envoy`);
    }
  });
}
