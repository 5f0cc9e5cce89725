/**
 * Endpoints with which the protocol is agreed on by ALPN (`auto_config`), under Heddle on either backend and
 * under Envoy with the same file.
 */
import assert from "node:assert/strict";
import http2 from "node:http2";
import https from "node:https";
import net, { type AddressInfo } from "node:net";
import { after, before, test } from "node:test";
import tls from "node:tls";

import { freePort } from "../../support/free-port.ts";
import { makeTestAuthority } from "../../support/test-certificates.ts";
import { bootstrapOf, type Plane, startPlanes } from "../balancing/planes.ts";

const authority = await makeTestAuthority();
const issued = await authority.issue({ dnsNames: ["app.test"] });
const identity = { cert: issued.chainPem, key: issued.privateKeyPem };
const upstreamTls =
  "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";
const optionsType = "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions";

/** Connections that servers have taken since it was last looked at. */
let connections = 0;
/** Requests that wait for as many as were sent together. */
const waiting: (() => void)[] = [];
let together = 1;

/** Says which protocol it was asked by, and names as they came. */
function answer(
  request: { readonly rawHeaders: readonly string[]; readonly httpVersion: string },
  response: { end(text: string): unknown },
): void {
  const names = request.rawHeaders.filter((name) => /^x-name$/i.test(name));
  waiting.push(() => void response.end(`HTTP/${request.httpVersion} ${names.join(" ")}`.trim()));
  if (waiting.length >= together) for (const one of waiting.splice(0)) one();
}

/** One that is replaced by another on its port. */
const changing = {
  http1: () => https.createServer(identity, answer),
  http2: () => http2.createSecureServer(identity, answer),
} as const;
const changingPort = await freePort();

const servers = {
  both: http2.createSecureServer({ ...identity, allowHTTP1: true }, answer),
  burst: http2.createSecureServer({ ...identity, allowHTTP1: true }, answer),
  h2: http2.createSecureServer(identity, answer),
  http1: https.createServer(identity, answer),
  silent: tls.createServer(identity, (socket) => {
    socket.on("error", () => {});
    socket.on("data", () => socket.write("HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\nsilent"));
  }),
} as const;
type Name = keyof typeof servers;

/** What is said to the server behind takes its time to come there. */
function slowed(name: Name): net.Server {
  return net.createServer((client) => {
    const server = net.connect(portOf(servers[name]), "127.0.0.1");
    client.on("error", () => server.destroy());
    server.on("error", () => client.destroy());
    setTimeout(() => client.pipe(server).pipe(client), 300);
  });
}
const slow = { slow: slowed("burst"), "slow-http1": slowed("http1") };
const everybody = [...Object.values(servers), ...Object.values(slow)];

const sockets = new Set<tls.TLSSocket>();
for (const server of Object.values(servers)) {
  server.on("secureConnection", (socket: tls.TLSSocket) => {
    connections++;
    sockets.add(socket);
    socket.on("close", () => sockets.delete(socket));
    socket.on("error", () => {});
  });
}

function portOf(server: net.Server): number {
  return (server.address() as AddressInfo).port;
}

function cluster(name: string, to: number, how: { auto?: string; tls?: string } = {}): string {
  const endpoint = `{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${to}}}}}`;
  const trusted = `{trusted_ca: {inline_string: ${JSON.stringify(authority.rootPem)}}}`;
  const common = `validation_context: ${trusted}${how.tls ?? ""}`;
  const socket = `{name: tls, typed_config: {"@type": ${upstreamTls}, sni: app.test, common_tls_context: {${common}}}}`;
  const options = `{${JSON.stringify("envoy.extensions.upstreams.http.v3.HttpProtocolOptions")}: {"@type": ${optionsType}, auto_config: {${how.auto ?? ""}}}}`;
  return `{name: ${name}, connect_timeout: 5s, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [${endpoint}]}]}, transport_socket: ${socket}, typed_extension_protocol_options: ${options}}`;
}

let planes: readonly Plane[] = [];

before(async () => {
  for (const server of everybody) {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  }
  const at = (name: Name): number => portOf(servers[name]);
  const named = "http_protocol_options: {header_key_format: {proper_case_words: {}}}";
  const clusters = [
    ...(Object.keys(servers) as Name[]).map((name) => cluster(name, at(name))),
    cluster("one", at("burst"), { auto: "http2_protocol_options: {max_concurrent_streams: 1}" }),
    cluster("changing", changingPort),
    cluster("slow", portOf(slow.slow)),
    cluster("slow-http1", portOf(slow["slow-http1"])),
    cluster("proper", at("http1"), { auto: named }),
    cluster("fixed", at("both"), { tls: ", alpn_protocols: [http/1.1]" }),
  ];
  const routes = [
    ...Object.keys(servers),
    "one",
    "proper",
    "fixed",
    "changing",
    ...Object.keys(slow),
  ].map((name) => `{match: {path: /${name}}, route: {cluster: ${name}}}`);
  planes = await startPlanes((place) => bootstrapOf(place, { clusters, routes }));
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  for (const socket of sockets) socket.destroy();
  for (const server of everybody) server.close();
});

/** Runs it through each data plane; all come to the same. */
function compare(title: string, run: (plane: Plane) => Promise<readonly unknown[]>): void {
  test(title, async () => {
    const outcomes: (readonly unknown[])[] = [];
    for (const plane of planes) {
      connections = 0;
      outcomes.push(await run(plane));
    }
    const expected = outcomes.at(-1);
    for (const [i, outcome] of outcomes.entries()) {
      assert.deepEqual(outcome, expected, planes[i]?.name ?? "");
    }
  });
}

for (const [name, spoken] of [
  ["both", "HTTP/2.0"],
  ["h2", "HTTP/2.0"],
  ["http1", "HTTP/1.1"],
  ["silent", "silent"],
  ["fixed", "HTTP/1.1"],
] as const) {
  compare(`'${name}' is asked by ${spoken}, on a connection that is kept`, async (plane) => {
    const first = await plane.ask(`/${name}`);
    const second = await plane.ask(`/${name}`);
    const counts = (await plane.admin("/stats/prometheus"))
      .split("\n")
      .filter((line) => line.includes("upstream_cx_http") && line.includes(`"${name}"`))
      .map((line) => line.replace(/\{.*\}/, ""))
      .filter((line) => !line.endsWith(" 0"));
    assert.equal(counts.length, 1, plane.name);
    assert.equal(first.body, spoken, plane.name);
    return [
      first.status,
      first.body,
      second.status,
      second.body,
      connections,
      ...counts.toSorted(),
    ];
  });
}

async function askTogether(plane: Plane, path: string, count: number): Promise<readonly unknown[]> {
  together = count;
  try {
    const answers = await Promise.all(Array.from({ length: count }, () => plane.ask(path)));
    return answers.map(({ status, body }) => `${status} ${body}`);
  } finally {
    together = 1;
  }
}

for (const name of ["slow", "slow-http1"]) {
  compare(`'${name}': requests that wait for the first connection`, async (plane) => {
    const answers = await askTogether(plane, `/${name}`, 4);
    return [connections, ...answers, ...(await askTogether(plane, `/${name}`, 4)), connections];
  });
}

compare("options of HTTP/2 count where it is spoken", async (plane) => {
  const answers = await askTogether(plane, "/one", 3);
  return [connections, ...answers];
});

compare("options of HTTP/1.1 count where it is spoken", async (plane) => {
  const { body } = await plane.ask("/proper", { "x-name": "a" });
  assert.equal(body, "HTTP/1.1 X-Name");
  return [body];
});

compare("an endpoint that comes back with another protocol is asked by that", async (plane) => {
  const said: string[] = [];
  for (const next of [changing.http2(), changing.http1(), changing.http2()]) {
    const open: tls.TLSSocket[] = [];
    next.on("secureConnection", (socket: tls.TLSSocket) => void open.push(socket));
    await new Promise<void>((resolve) => next.listen(changingPort, "127.0.0.1", resolve));
    said.push((await plane.ask("/changing")).body);
    for (const socket of open) socket.destroy();
    await new Promise<void>((resolve) => next.close(() => resolve()));
    // Until the proxy has seen that its connection is gone.
    for (let status = 0; status !== 503;) ({ status } = await plane.ask("/changing"));
  }
  assert.deepEqual(said, ["HTTP/2.0", "HTTP/1.1", "HTTP/2.0"], plane.name);
  return said;
});
