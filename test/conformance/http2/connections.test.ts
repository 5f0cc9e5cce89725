/**
 * How connections of HTTP/2 begin and end, with Node's client: agreed on in TLS, shared by many
 * streams, old, idle, without answers. Heddle on either backend, and Envoy with the same file.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import http2 from "node:http2";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import { connect as connectTls } from "node:tls";

import { findEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { startProxyInProcess } from "../../support/proxy-in-process.ts";
import { makeTestAuthority } from "../../support/test-certificates.ts";
import { RawClient } from "./raw-client.ts";
import { get } from "./scenarios.ts";

const doors = ["tls", "few", "idle", "unread", "pinged"] as const;
type Door = (typeof doors)[number];
const names = ["portable", "epoll", "envoy"] as const;

interface Plane {
  readonly ports: Readonly<Record<Door, number>>;
  readonly close: () => Promise<void>;
}

const planes = new Map<string, Plane>();
const authority = await makeTestAuthority();
const certificate = await authority.issue({ dnsNames: ["shop.test"] });
const extensions = "type.googleapis.com/envoy.extensions";

const application = http.createServer((request, response) => {
  if (request.url === "/large") return void response.end(Buffer.alloc(2_000_000, "x"));
  let bytes = 0;
  request.on("data", (chunk: Buffer) => (bytes += chunk.length));
  request.on("end", () => response.end(`${request.method} ${request.url} ${bytes}`));
});

const options: Readonly<Record<Door, object>> = {
  tls: {},
  few: { common_http_protocol_options: { max_requests_per_connection: 3 }, drain_timeout: "0.1s" },
  // Long enough for a busy machine to ask in.
  idle: { common_http_protocol_options: { idle_timeout: "1.5s" }, drain_timeout: "0.1s" },
  unread: { stream_idle_timeout: "0.3s" },
  pinged: {
    http2_protocol_options: { connection_keepalive: { interval: "0.1s", timeout: "0.2s" } },
  },
};

const inspector = { "@type": `${extensions}.filters.listener.tls_inspector.v3.TlsInspector` };

function listener(door: Door, port: number): object {
  const inline = (text: string): object => ({ inline_string: text });
  const tls = {
    "@type": `${extensions}.transport_sockets.tls.v3.DownstreamTlsContext`,
    common_tls_context: {
      alpn_protocols: ["h2", "http/1.1"],
      tls_certificates: [
        {
          certificate_chain: inline(certificate.chainPem),
          private_key: inline(certificate.privateKeyPem),
        },
      ],
    },
  };
  return {
    name: door,
    address: { socket_address: { address: "127.0.0.1", port_value: port } },
    // What a client offers is known before TLS is begun, as in a mesh.
    ...(door === "tls" ? { listener_filters: [{ name: "tls", typed_config: inspector }] } : {}),
    filter_chains: [
      {
        ...(door === "tls" ? { transport_socket: { name: "tls", typed_config: tls } } : {}),
        filters: [
          {
            name: "hcm",
            typed_config: {
              "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
              stat_prefix: door,
              ...options[door],
              http_filters: [
                {
                  name: "envoy.filters.http.router",
                  typed_config: { "@type": `${extensions}.filters.http.router.v3.Router` },
                },
              ],
              route_config: {
                virtual_hosts: [
                  {
                    name: "all",
                    domains: ["*"],
                    routes: [{ match: { prefix: "/" }, route: { cluster: "app" } }],
                  },
                ],
              },
            },
          },
        ],
      },
    ],
  };
}

function bootstrap(ports: Plane["ports"], applicationPort: number): object {
  const address = { socket_address: { address: "127.0.0.1", port_value: applicationPort } };
  const endpoints = [{ lb_endpoints: [{ endpoint: { address } }] }];
  return {
    static_resources: {
      clusters: [
        {
          name: "app",
          connect_timeout: "1s",
          type: "STATIC",
          load_assignment: { cluster_name: "app", endpoints },
        },
      ],
      listeners: doors.map((door) => listener(door, ports[door])),
    },
  };
}

async function start(name: (typeof names)[number], applicationPort: number): Promise<Plane> {
  const entries = await Promise.all(doors.map(async (door) => [door, await freePort()] as const));
  const free = new Map<Door, number>(entries);
  const portOf = (door: Door): number => free.get(door) ?? 0;
  const ports = {
    tls: portOf("tls"),
    few: portOf("few"),
    idle: portOf("idle"),
    unread: portOf("unread"),
    pinged: portOf("pinged"),
  };
  const config = bootstrap(ports, applicationPort);
  if (name === "envoy") {
    const envoy = startEnvoy(findEnvoy() ?? assert.fail("no Envoy at hand"), config);
    await untilServed(ports.pinged);
    return { ports, close: () => envoy.stop() };
  }
  return { ports, ...(await startProxyInProcess(config, name)) };
}

async function untilServed(port: number): Promise<void> {
  for (let turn = 0; turn < 400; turn++) {
    const isOpen = await fetch(`http://127.0.0.1:${port}/`).then(
      () => true,
      () => false,
    );
    if (isOpen) return;
    await sleep(50);
  }
  assert.fail("Envoy does not serve");
}

before(async () => {
  await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
  const address = application.address();
  assert.ok(address !== null && typeof address !== "string");
  for (const name of names) planes.set(name, await start(name, address.port));
});

after(async () => {
  for (const plane of planes.values()) await plane.close();
  application.close();
  application.closeAllConnections();
});

function portsOf(name: string): Plane["ports"] {
  return planes.get(name)?.ports ?? assert.fail();
}

async function ask(client: http2.ClientHttp2Session, path: string, body?: Buffer): Promise<string> {
  const method = body === undefined ? "GET" : "POST";
  const stream = client.request({ ":path": path, ":method": method });
  stream.end(body);
  const parts: Buffer[] = [];
  stream.on("data", (part: Buffer) => parts.push(part));
  await once(stream, "end");
  return Buffer.concat(parts).toString("latin1");
}

for (const name of names) {
  test(`http2 is agreed on in TLS, and shared by many streams (${name})`, async () => {
    const client = http2.connect(`https://127.0.0.1:${portsOf(name).tls}`, {
      ca: authority.rootPem,
      servername: "shop.test",
    });
    const large = Buffer.alloc(700_000, "y");
    const answers = await Promise.all([
      ...Array.from({ length: 50 }, (_, at) => ask(client, `/${at}`)),
      ...Array.from({ length: 5 }, (_, at) => ask(client, `/post${at}`, large)),
      ...Array.from({ length: 5 }, () => ask(client, "/large")),
    ]);
    assert.equal(client.alpnProtocol, "h2");
    assert.deepEqual(answers.slice(0, 2), ["GET /0 0", "GET /1 0"]);
    assert.equal(answers[50], "POST /post0 700000");
    assert.deepEqual(new Set(answers.slice(55).map(({ length }) => length)), new Set([2_000_000]));
    client.destroy();
  });

  test(`a client with whom nothing was agreed on in TLS is told by its first bytes (${name})`, async () => {
    // What proxies of a mesh offer where they go on in their client's protocol: names of chains alone.
    const offered = {
      port: portsOf(name).tls,
      ca: authority.rootPem,
      servername: "shop.test",
      ALPNProtocols: ["istio-http/1.1", "istio"],
    };
    const socket = connectTls(offered);
    await once(socket, "secureConnect");
    assert.equal(socket.alpnProtocol, false);
    // Node's client takes such a socket for one that has been agreed on when it is handed over.
    const client = http2.connect("http://shop.test", { createConnection: () => socket });
    assert.equal(await ask(client, "/two"), "GET /two 0");
    client.destroy();
    const plain = connectTls(offered);
    plain.write("GET /one HTTP/1.1\r\nhost: shop.test\r\nconnection: close\r\n\r\n");
    let answer = "";
    for await (const chunk of plain) answer += String(chunk);
    assert.match(answer, /^HTTP\/1\.1 200 [^]*GET \/one 0/);
  });

  test(`http2 says farewell after a number of requests, and serves what was begun (${name})`, async () => {
    const client = http2.connect(`http://127.0.0.1:${portsOf(name).few}`);
    const codes: number[] = [];
    client.on("goaway", (code) => codes.push(code));
    const closed = once(client, "close");
    for (let at = 0; at < 3; at++) assert.equal(await ask(client, `/${at}`), `GET /${at} 0`);
    await closed;
    assert.deepEqual(new Set(codes), new Set([0]));
  });

  test(`http2 closes a connection that is idle, without an error (${name})`, async () => {
    const client = http2.connect(`http://127.0.0.1:${portsOf(name).idle}`);
    const codes: number[] = [];
    client.on("goaway", (code) => codes.push(code));
    const closed = once(client, "close");
    assert.equal(await ask(client, "/"), "GET / 0");
    await closed;
    assert.deepEqual(new Set(codes), new Set([0]));
  });

  test(`http2 breaks off an answer that is not read, and goes on with others (${name})`, async () => {
    const client = await RawClient.connect(portsOf(name).unread);
    // Windows of nothing: the answer's head leaves, and waits.
    client.begin(Buffer.from([0, 4, 0, 0, 0, 0]));
    client.request(1, get("/large"));
    client.request(3, get("/small"));
    await client.settle([1, 3], 5000);
    for (const id of [1, 3]) {
      assert.equal(client.streams.get(id)?.status, "200");
      assert.ok(client.streams.get(id)?.reset !== undefined, `stream ${id} is not broken off`);
    }
    assert.equal(client.isClosed, false);
    client.close();
  });

  test(`http2 ends a connection whose client does not answer PING (${name})`, async () => {
    const client = await RawClient.connect(portsOf(name).pinged);
    client.begin();
    client.request(1, get("/"));
    await client.settle([1], 2000);
    assert.equal(client.streams.get(1)?.body, "GET / 0");
    await client.settle([], 5000);
    assert.equal(client.isClosed, true);
  });

  test(`http2 keeps a connection whose client answers PING (${name})`, async () => {
    const client = http2.connect(`http://127.0.0.1:${portsOf(name).pinged}`);
    let pings = 0;
    client.on("ping", () => pings++);
    while (pings < 4) await once(client, "ping");
    assert.equal(await ask(client, "/"), "GET / 0");
    client.destroy();
  });
}
