/**
 * TCP connections through another proxy by POST (`use_post`), over HTTP/1.1 and HTTP/2: Heddle on each
 * backend, and Envoy with the same file.
 */
import assert from "node:assert/strict";
import http from "node:http";
import http2 from "node:http2";
import net from "node:net";
import { after, before, test } from "node:test";
import type { Readable } from "node:stream";

import { planeNames, type Planes, startPlanes } from "./planes.ts";

const extensions = "type.googleapis.com/envoy.extensions";
const doors = ["http1", "http2", "path1", "path2", "refused1", "refused2"] as const;
type Door = (typeof doors)[number];

/** Of the request that opened the last tunnel. */
let asked: Readonly<Record<string, unknown>> = {};
/** What it carried until its client had said all. */
let carried: Promise<string> = Promise.resolve("");

function carry(stream: Readable, answer: (text: string) => void): void {
  let text = "";
  carried = new Promise((resolve) => {
    stream.on("data", (chunk: Buffer) => {
      text += chunk.toString("latin1");
      answer(`heard ${chunk.toString("latin1")}`);
    });
    stream.on("end", () => resolve(`${text} and all`));
    stream.on("error", () => resolve(`${text} and broke off`));
    stream.on("close", () => resolve(`${text} and closed`));
  });
}

const one = http.createServer((request, response) => {
  const { method, url, headers } = request;
  asked = { method, path: url, authority: headers.host, told: headers["x-told"] };
  if (headers.host?.startsWith("refused") === true) {
    response.writeHead(403).end();
    return;
  }
  response.flushHeaders();
  carry(request, (text) => response.write(text));
});
const two = http2.createServer();
two.on("stream", (stream: http2.ServerHttp2Stream, headers: http2.IncomingHttpHeaders) => {
  stream.on("error", () => {});
  const { ":method": method, ":path": path, ":authority": authority, "x-told": told } = headers;
  asked = { method, path, authority, told };
  if (authority?.startsWith("refused") === true) {
    stream.respond({ ":status": 403 }, { endStream: true });
    return;
  }
  stream.respond({ ":status": 200 });
  carry(stream, (text) => stream.write(text));
});

let planes: Planes<Door> | undefined;

before(async () => {
  await new Promise<void>((resolve) => one.listen(0, "127.0.0.1", resolve));
  await new Promise<void>((resolve) => two.listen(0, "127.0.0.1", resolve));
  const portOf = (server: net.Server | http2.Http2Server): number =>
    (server.address() as net.AddressInfo).port;
  const cluster = (name: string, port: number, more: string): string =>
    `{name: ${name}, connect_timeout: 5s, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]}${more}}`;
  const options = `, typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": ${extensions}.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}`;
  planes = await startPlanes(doors, (ports) => {
    const door = (name: Door, target: string, tunnel: string): string =>
      `{name: ${name}, address: {socket_address: {address: 127.0.0.1, port_value: ${ports[name]}}}, filter_chains: [{filters: [{name: tcp, typed_config: {"@type": ${extensions}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: ${name}, cluster: ${target}, tunneling_config: {use_post: true, ${tunnel}}}}]}]}`;
    const path = `hostname: "tunnel.test:443", post_path: "/tunnel?to=1", headers_to_add: [{header: {key: X-Told, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}]`;
    return `static_resources:
  clusters:
  - ${cluster("one", portOf(one), "")}
  - ${cluster("two", portOf(two), options)}
  listeners:
  - ${door("http1", "one", 'hostname: "tunnel.test:443"')}
  - ${door("http2", "two", 'hostname: "tunnel.test:443"')}
  - ${door("path1", "one", path)}
  - ${door("path2", "two", path)}
  - ${door("refused1", "one", 'hostname: "refused.test:1"')}
  - ${door("refused2", "two", 'hostname: "refused.test:1"')}
`;
  });
});

after(async () => {
  await planes?.close();
  one.closeAllConnections();
  one.close();
  two.close();
});

/** What comes back to two texts, the second said once the first is answered; then it hangs up. */
function say(port: number): Promise<string> {
  return new Promise((resolve) => {
    let got = "";
    const socket = net.connect({ host: "127.0.0.1", port }, () => socket.write("first"));
    socket.on("data", (chunk) => {
      got += chunk.toString("latin1");
      if (got === "heard first") socket.write("second");
      if (got === "heard firstheard second") socket.destroy();
    });
    socket.on("error", () => {});
    socket.on("close", () => resolve(got));
  });
}

for (const [door, path, told] of [
  ["http1", "/", undefined],
  ["http2", "/", undefined],
  ["path1", "/tunnel?to=1", "127.0.0.1"],
  ["path2", "/tunnel?to=1", "127.0.0.1"],
] as const) {
  test(`a tunnel by POST carries both ways: ${door}`, async () => {
    for (const plane of ["envoy", ...planeNames] as const) {
      assert.ok(planes !== undefined);
      assert.equal(await say(planes.port(plane, door)), "heard firstheard second", plane);
      const request = { method: "POST", path, authority: "tunnel.test:443", told };
      assert.deepEqual(asked, request, plane);
      assert.match(await carried, /^firstsecond and /, plane);
    }
  });
}

for (const door of ["refused1", "refused2"] as const) {
  test(`a connection ends where no tunnel by POST is opened: ${door}`, async () => {
    for (const plane of ["envoy", ...planeNames] as const) {
      assert.ok(planes !== undefined);
      assert.equal(await say(planes.port(plane, door)), "", plane);
    }
  });
}
