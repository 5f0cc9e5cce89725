/**
 * TCP connections through proxies with which the protocol is agreed on by ALPN (`auto_config`), by CONNECT and by
 * POST, and the ids of the requests that ask for them (`request_id_extension`). Heddle on each backend, and Envoy
 * with the same file.
 */
import assert from "node:assert/strict";
import http2 from "node:http2";
import https from "node:https";
import net, { type AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import type tls from "node:tls";

import { makeTestAuthority } from "../../support/test-certificates.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const extensions = "type.googleapis.com/envoy.extensions";
const doors = ["both", "old", "bothPost", "oldPost", "refused", "named", "made"] as const;
type Door = (typeof doors)[number];

const authority = await makeTestAuthority();
const issued = await authority.issue({ dnsNames: ["proxy.test"] });
const identity = { cert: issued.chainPem, key: issued.privateKeyPem };

/** What proxies on the way were asked, in lines. */
let asked: string[] = [];
let open = 0;
const uuid = /[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}/g;

function note(
  version: string,
  method: string | undefined,
  fields: http2.IncomingHttpHeaders,
): void {
  const told = Object.entries(fields).filter(([name]) => name.startsWith("x-"));
  asked.push(`${version} ${method} ${fields[":authority"] ?? fields.host} ${JSON.stringify(told)}`);
}

/** Says everything back, and ends when its client has. */
const both = http2.createSecureServer({ ...identity, allowHTTP1: true });
both.on("stream", (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
  note("2", headers[":method"], headers);
  stream.on("error", () => {});
  stream.respond({ ":status": 200 });
  stream.pipe(stream);
});

const old = https.createServer(identity, (request, response) => {
  note("1", request.method, request.headers);
  response.writeHead(200);
  response.flushHeaders();
  request.pipe(response);
});
old.on("connect", (request, socket: net.Socket, head: Buffer) => {
  note("1", request.method, request.headers);
  socket.on("error", () => {});
  if (request.url?.startsWith("refused") === true) {
    socket.end("HTTP/1.1 403 Forbidden\r\ncontent-length: 0\r\n\r\n");
    return;
  }
  // What it says first comes with the answer.
  socket.write("HTTP/1.1 200 Opened\r\n\r\nhello ");
  socket.unshift(head);
  socket.pipe(socket);
});

const sockets = new Set<tls.TLSSocket>();
for (const server of [both, old]) {
  server.on("sessionError", () => {});
  server.on("secureConnection", (socket: tls.TLSSocket) => {
    open++;
    sockets.add(socket);
    socket.on("error", () => {});
    socket.on("close", () => {
      open--;
      sockets.delete(socket);
    });
  });
}

let planes: Planes<Door>;

before(async () => {
  for (const server of [both, old]) {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  }
  const trusted = JSON.stringify(authority.rootPem);
  const cluster = (name: string, server: net.Server): string =>
    `{name: ${name}, connect_timeout: 5s, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${(server.address() as AddressInfo).port}}}}}]}]}, transport_socket: {name: tls, typed_config: {"@type": ${extensions}.transport_sockets.tls.v3.UpstreamTlsContext, sni: proxy.test, common_tls_context: {validation_context: {trusted_ca: {inline_string: ${trusted}}}}}}, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": ${extensions}.upstreams.http.v3.HttpProtocolOptions, auto_config: {}}}}`;
  const metadata = (key: string): string =>
    `%DYNAMIC_METADATA(envoy.filters.network.tcp_proxy:${key})%`;
  const format = `${metadata("tunnel_request_id")} ${metadata("id")} %BYTES_RECEIVED% %BYTES_SENT% %RESPONSE_FLAGS%`;
  const ids = `request_id_extension: {typed_config: {"@type": ${extensions}.request_id.uuid.v3.UuidRequestIdConfig}}`;
  planes = await startPlanes(doors, (ports, { logFile }) => {
    const log = `access_log: [{name: file, typed_config: {"@type": ${extensions}.access_loggers.file.v3.FileAccessLog, path: ${logFile}, log_format: {text_format_source: {inline_string: "${format}\\n"}}}}]`;
    const door = (name: Door, target: string, tunnel: string): string =>
      `{name: ${name}, address: {socket_address: {address: 127.0.0.1, port_value: ${ports[name]}}}, filter_chains: [{filters: [{name: tcp, typed_config: {"@type": ${extensions}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: ${name}, cluster: ${target}, ${log}, tunneling_config: {${tunnel}}}}]}]}`;
    return `static_resources:
  clusters: [${cluster("both", both)}, ${cluster("old", old)}]
  listeners:
  - ${door("both", "both", 'hostname: "a.test:443"')}
  - ${door("old", "old", 'hostname: "a.test:443"')}
  - ${door("bothPost", "both", 'hostname: "a.test:443", use_post: true')}
  - ${door("oldPost", "old", 'hostname: "a.test:443", use_post: true')}
  - ${door("refused", "old", 'hostname: "refused.test:443"')}
  - ${door("named", "both", `hostname: "a.test:443", ${ids}, request_id_header: "X-Tunnel", request_id_metadata_key: id`)}
  - ${door("made", "both", `hostname: "a.test:443", ${ids}, headers_to_add: [{header: {key: x-request-id, value: mine}}]`)}
`;
  });
  // Envoy was asked for one by who waited for it to listen.
  while (planes.log("envoy").length === 0) await sleep(5);
});

after(async () => {
  await planes?.close();
  for (const socket of sockets) socket.destroy();
  for (const server of [both, old]) server.close();
});

/** What a client gets, what was asked and what the log says of it. */
async function tunnel(plane: PlaneName, door: Door): Promise<readonly string[]> {
  asked = [];
  const before = planes.log(plane).length;
  const got = await new Promise<string>((resolve) => {
    let text = "";
    const socket = net.connect(planes.port(plane, door), "127.0.0.1", () => socket.write("first"));
    socket.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      if (text.endsWith("first")) socket.end();
    });
    socket.on("end", () => socket.end());
    // Where nobody was reached, we say so by a reset.
    socket.on("error", () => {});
    socket.on("close", () => resolve(text));
  });
  const deadline = Date.now() + 30_000;
  while (planes.log(plane).length === before && Date.now() < deadline) await sleep(5);
  return [got, ...asked, ...planes.log(plane).slice(before)];
}

const wanted: { readonly [door in Door]: string } = {
  both: "2 CONNECT",
  old: "1 CONNECT",
  bothPost: "2 POST",
  oldPost: "1 POST",
  refused: "1 CONNECT",
  named: "2 CONNECT",
  made: "2 CONNECT",
};

for (const door of doors) {
  test(`tunnels speak what is agreed on, as in Envoy: ${door}`, async () => {
    const lines = async (plane: PlaneName): Promise<readonly string[]> => {
      const told = await tunnel(plane, door);
      // The same id wherever it stands.
      assert.ok(new Set(told.join().match(uuid)).size <= 1, told.join());
      // A second value is on a line of its own, or not.
      return told.map((line) => line.replaceAll(uuid, "ID").replaceAll(", ", ","));
    };
    const expected = await lines("envoy");
    assert.ok(expected[1]?.startsWith(wanted[door]), expected.join("\n"));
    for (const plane of planeNames) assert.deepEqual(await lines(plane), expected, plane);
  });
}

test("connections that have become tunnels end with them, and are counted no more", async () => {
  for (const plane of planeNames) {
    for (const socket of sockets) socket.destroy();
    for (const deadline = Date.now() + 30_000; open > 0 && Date.now() < deadline;) await sleep(5);
    for (let i = 0; i < 3; i++) await tunnel(plane, "old");
    const active = async (): Promise<string | undefined> => {
      const { body } = await planes.admin(plane, "/stats/prometheus");
      return /^envoy_cluster_upstream_cx_active\{[^}]*"old"[^}]*\} (\d+)/m.exec(body)?.[1];
    };
    const deadline = Date.now() + 30_000;
    while (((await active()) !== "0" || open > 0) && Date.now() < deadline) await sleep(5);
    assert.deepEqual([await active(), open], ["0", 0], plane);
  }
});
