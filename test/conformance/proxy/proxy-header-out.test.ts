/**
 * PROXY headers that connections to endpoints begin with (`upstream_proxy_protocol`): whom they tell of,
 * which connections are shared, what stands in them. Heddle on each backend, and Envoy with the same file.
 */
import assert from "node:assert/strict";
import net from "node:net";
import { after, before, test } from "node:test";
import tls from "node:tls";

import { decodeProxyHeader, tlvsOf } from "../../../src/wire/proxy-protocol.ts";
import { makeTestAuthority } from "../../support/test-certificates.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const extensions = "type.googleapis.com/envoy.extensions";
const listenerFilter = `${extensions}.filters.listener.proxy_protocol.v3.ProxyProtocol`;
const authority = await makeTestAuthority();
const issued = await authority.issue({ dnsNames: ["app.test"] });

/** One connection that the application took: how it began, and the paths asked for on it. */
interface Taken {
  readonly header: string;
  readonly from: number;
  readonly said: string[];
}

let taken: Taken[] = [];
/** Connections over which endpoints were asked whether they are well. */
const checks: string[] = [];
const sockets = new Set<net.Socket>();
/** What the application says the ports of a connection are for. */
type Naming = (port: number) => string;

function describe(bytes: Buffer, name: Naming): { text: string; length: number } | undefined {
  const found = decodeProxyHeader(bytes);
  if (found.kind === "incomplete") return undefined;
  if (found.kind !== "header") return { text: found.kind, length: 0 };
  const { version, addresses, tlvs } = found;
  const end = ({ address, port }: { address: string; port: number }): string =>
    `${address.includes(":") ? `[${address}]` : address}:${name(port)}`;
  const ends =
    addresses === undefined ? "own" : `${end(addresses.source)} > ${end(addresses.destination)}`;
  const values = [...tlvsOf(tlvs)].map(
    ({ type, value }) => ` ${type}=${Buffer.from(value).toString("latin1")}`,
  );
  return { text: `v${version} ${ends}${values.join("")}`, length: found.bytes };
}

/** Of the connection that is being made now. */
let naming: Naming = String;

function serve(socket: net.Socket, isTls: boolean): void {
  sockets.add(socket);
  socket.on("close", () => sockets.delete(socket));
  socket.on("error", () => {});
  const from = socket.remotePort ?? 0;
  const to = socket.localPort;
  const name: Naming = (port) => (port === from ? "PROXY" : port === to ? "SERVER" : naming(port));
  let begun = Buffer.alloc(0);
  const onBegin = (chunk: Buffer): void => {
    begun = Buffer.concat([begun, chunk]);
    const found = describe(begun, name);
    if (found === undefined) return;
    socket.off("data", onBegin);
    const one: Taken = { header: found.text, from, said: [] };
    taken.push(one);
    const rest = begun.subarray(found.length);
    if (!isTls) {
      socket.on("data", (bytes: Buffer) => talk(one, socket, bytes));
      if (rest.length > 0) talk(one, socket, rest);
      return;
    }
    socket.pause();
    socket.unshift(rest);
    const { chainPem: cert, privateKeyPem: key } = issued;
    const secured = new tls.TLSSocket(socket, { isServer: true, cert, key });
    secured.on("error", () => {});
    secured.on("data", (bytes: Buffer) => talk(one, secured, bytes));
  };
  socket.on("data", onBegin);
}

function talk(one: Taken, socket: net.Socket, bytes: Buffer): void {
  const text = bytes.toString("latin1");
  if (text === "well?") {
    taken = taken.filter((other) => other !== one);
    checks.push(one.header);
    socket.write("yes");
    return;
  }
  const path = /^GET (\S+)/.exec(text)?.[1];
  one.said.push(path ?? text);
  socket.write(path === undefined ? "hello" : "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok");
}

const servers = {
  plain: net.createServer((socket) => serve(socket, false)),
  secured: net.createServer((socket) => serve(socket, true)),
};

const doors = [
  "http1",
  "http2",
  "edge",
  "tcp1",
  "tcp2",
  "silent",
  "values",
  "kept",
  "few",
  "tls",
] as const;
type Door = (typeof doors)[number];

function bootstrapOf(
  ports: { readonly [door in Door]: number },
  upstream: { plain: number; secured: number },
): string {
  const raw = `{name: raw, typed_config: {"@type": ${extensions}.transport_sockets.raw_buffer.v3.RawBuffer}}`;
  const secure = `{name: tls, typed_config: {"@type": ${extensions}.transport_sockets.tls.v3.UpstreamTlsContext, sni: app.test, common_tls_context: {validation_context: {trusted_ca: {inline_string: ${JSON.stringify(authority.rootPem)}}}}}}`;
  const cluster = (
    name: string,
    config: string,
    more: { to?: number; inner?: string; of?: string; rest?: string } = {},
  ): string =>
    `{name: ${name}, connect_timeout: 2s, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${more.to ?? upstream.plain}}}}${more.of ?? ""}}]}]}, transport_socket: {name: header, typed_config: {"@type": ${extensions}.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport, config: {${config}}, transport_socket: ${more.inner ?? raw}}}${more.rest ?? ""}}`;
  const value = (type: number, text: string): string =>
    `{type: ${type}, value: ${Buffer.from(text).toString("base64")}}`;
  const added = `added_tlvs: [${value(241, "one")}, ${value(2, "ours")}]`;
  const own = `, metadata: {typed_filter_metadata: {envoy.transport_sockets.proxy_protocol: {"@type": type.googleapis.com/envoy.config.core.v3.PerHostConfig, added_tlvs: [${value(241, "host")}, ${value(242, "two")}]}}}`;
  const http = (name: string, target: string, options = ""): string =>
    `{filters: [{name: http, typed_config: {"@type": ${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: ${name}, route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: ${target}}}]}]}, http_filters: [{name: router, typed_config: {"@type": ${extensions}.filters.http.router.v3.Router}}]${options}}}]}`;
  const tcp = (name: string, target: string): string =>
    `{filters: [{name: tcp, typed_config: {"@type": ${extensions}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: ${name}, cluster: ${target}}}]}`;
  const door = (name: Door, chain: string, header?: string): string =>
    `{name: ${name}, address: {socket_address: {address: 127.0.0.1, port_value: ${ports[name]}}}, filter_chains: [${chain}]${header === undefined ? "" : `, listener_filters: [{name: header, typed_config: {"@type": ${listenerFilter}, ${header}}}]`}}`;
  const hex = (words: string): string => `"${Buffer.from(words).toString("hex")}"`;
  const checked = `, health_checks: [{timeout: 5s, interval: 600s, unhealthy_threshold: 1, healthy_threshold: 1, tcp_health_check: {send: {text: ${hex("well?")}}, receive: [{text: ${hex("yes")}}]}}]`;
  const passing = "pass_through_tlvs: {match_type: INCLUDE, tlv_type: [2, 234, 241]}";
  return `static_resources:
  clusters:
  - ${cluster("v1", "version: V1")}
  - ${cluster("v2", "version: V2")}
  - ${cluster("added", `version: V2, ${added}, ${passing}`, { of: own })}
  - ${cluster("kept", `version: V2, pass_through_tlvs: {match_type: INCLUDE_ALL}`)}
  - ${cluster("few", "version: V2", { rest: ", circuit_breakers: {thresholds: [{max_connection_pools: 1}]}" })}
  - ${cluster("checked1", "version: V1", { rest: checked })}
  - ${cluster("checked2", "version: V2", { rest: checked })}
  - ${cluster("secured", "version: V2", { to: upstream.secured, inner: secure })}
  listeners:
  - ${door("http1", http("http1", "v1"))}
  - ${door("http2", http("http2", "v2"))}
  - ${door("edge", http("edge", "v2", ", use_remote_address: true, xff_num_trusted_hops: 1"))}
  - ${door("tcp1", tcp("tcp1", "v1"))}
  - ${door("tcp2", tcp("tcp2", "v2"))}
  - ${door("silent", http("silent", "v2", ", add_proxy_protocol_connection_state: false"))}
  - ${door("values", tcp("values", "added"), "allow_requests_without_proxy_protocol: true, pass_through_tlvs: {match_type: INCLUDE_ALL}")}
  - ${door("kept", http("kept", "kept"), "allow_requests_without_proxy_protocol: true, pass_through_tlvs: {match_type: INCLUDE, tlv_type: [2]}")}
  - ${door("few", http("few", "few"))}
  - ${door("tls", http("tls", "secured"))}
`;
}

let planes: Planes<Door> | undefined;

before(async () => {
  for (const server of Object.values(servers)) {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  }
  const portOf = (server: net.Server): number => (server.address() as net.AddressInfo).port;
  const upstream = { plain: portOf(servers.plain), secured: portOf(servers.secured) };
  planes = await startPlanes(doors, (ports) => bootstrapOf(ports, upstream));
});

after(async () => {
  await planes?.close();
  for (const socket of sockets) socket.destroy();
  for (const server of Object.values(servers)) server.close();
});

/** Says each text once the answer to the one before has come; the connection then stays open. */
async function say(port: number, texts: readonly string[], door: string): Promise<net.Socket> {
  const socket = net.connect({ host: "127.0.0.1", port });
  socket.on("error", () => {});
  await new Promise<void>((resolve, reject) => {
    socket.once("connect", resolve);
    socket.once("close", () => reject(new Error("not connected")));
  });
  const own = socket.localPort;
  const before = naming;
  naming = (one) => (one === own ? `CLIENT${door}` : one === port ? "DOOR" : before(one));
  for (const text of texts) {
    if (socket.destroyed) throw new Error(`closed before ${JSON.stringify(text)}`);
    const answered = new Promise<void>((resolve) => {
      socket.once("data", () => resolve());
      socket.once("close", () => resolve());
    });
    socket.write(text, "latin1");
    await answered;
  }
  return socket;
}

const get = (path: string, more = ""): string => `GET ${path} HTTP/1.1\r\nHost: a\r\n${more}\r\n`;
const from = (address: string): string => `X-Forwarded-For: ${address}\r\n`;
const signature = "\r\n\r\n\0\r\nQUIT\n";
const bytes = (...values: readonly number[]): string => String.fromCharCode(...values);

function headerOf(
  tlvs: readonly (readonly [type: number, text: string])[],
  command = 0x21,
): string {
  const values = tlvs.map(([type, text]) => `${bytes(type, 0, text.length)}${text}`).join("");
  const body = `${bytes(203, 0, 113, 7, 198, 18, 0, 9, 156, 64, 1, 187)}${values}`;
  return `${signature}${bytes(command, 0x11, 0, body.length)}${body}`;
}

/** Connections of clients, one after another, and what each says. */
type Clients = readonly (readonly string[])[];

const line = "PROXY TCP6 2001:db8::7 fd00::9 40000 443\r\n";
const scenarios: readonly {
  readonly name: string;
  readonly door: Door;
  readonly clients: Clients;
  readonly expect: readonly string[];
  /** Where Envoy does otherwise; "dies": where it may end by a fault of its own. */
  readonly envoy?: readonly string[] | "dies";
}[] = [
  {
    name: "version 1 tells of the client's connection",
    door: "http1",
    clients: [[get("/a"), get("/b")]],
    expect: ["v1 127.0.0.1:CLIENT0 > 127.0.0.1:DOOR: /a /b"],
  },
  {
    name: "version 2, and each client has connections of its own",
    door: "http2",
    clients: [[get("/a")], [get("/b")], [get("/c"), get("/d")]],
    expect: [
      "v2 127.0.0.1:CLIENT0 > 127.0.0.1:DOOR: /a",
      "v2 127.0.0.1:CLIENT1 > 127.0.0.1:DOOR: /b",
      "v2 127.0.0.1:CLIENT2 > 127.0.0.1:DOOR: /c /d",
    ],
  },
  {
    name: "the connection's own addresses, whoever its requests say that they come from",
    door: "edge",
    clients: [[get("/a", from("10.9.8.7")), get("/b", from("10.1.1.1"))]],
    expect: ["v2 127.0.0.1:CLIENT0 > 127.0.0.1:DOOR: /a /b"],
  },
  {
    name: "TCP, version 1",
    door: "tcp1",
    clients: [["abc"]],
    expect: ["v1 127.0.0.1:CLIENT0 > 127.0.0.1:DOOR: abc"],
  },
  {
    name: "TCP, version 2",
    door: "tcp2",
    clients: [["abc"], ["def"]],
    expect: [
      "v2 127.0.0.1:CLIENT0 > 127.0.0.1:DOOR: abc",
      "v2 127.0.0.1:CLIENT1 > 127.0.0.1:DOOR: def",
    ],
  },
  {
    name: "nobody is told of where the connection manager does not say",
    door: "silent",
    clients: [[get("/a")], [get("/b")]],
    expect: ["v2 own: /a /b"],
  },
  {
    name: "values: the endpoint's, the cluster's, the client's",
    door: "values",
    clients: [
      [
        `${headerOf([
          [2, "theirs"],
          [234, "vpc"],
          [4, "no"],
          [234, "again"],
        ])}abc`,
      ],
    ],
    expect: [
      "v2 203.0.113.7:40000 > 198.18.0.9:443 241=host 242=two 2=ours 234=vpc 234=again: abc",
    ],
  },
  {
    name: "a client's header of version 1, over IPv6",
    door: "values",
    clients: [[`${line}abc`]],
    expect: ["v2 [2001:db8::7]:40000 > [fd00::9]:443 241=host 242=two 2=ours: abc"],
  },
  {
    name: "a client's proxy that speaks for itself",
    door: "values",
    clients: [[`${headerOf([[234, "vpc"]], 0x20)}abc`]],
    expect: ["v2 127.0.0.1:CLIENT0 > 127.0.0.1:DOOR 241=host 242=two 2=ours: abc"],
  },
  {
    // Envoy goes by the addresses alone, so that one client's values stand for another's.
    name: "clients with the same addresses share connections where the same values go on",
    door: "kept",
    clients: [
      [`${headerOf([[2, "one"]])}${get("/a")}`],
      [`${headerOf([[2, "two"]])}${get("/b")}`],
      [
        `${headerOf([
          [2, "one"],
          [4, "passed by no one"],
        ])}${get("/c")}`,
      ],
    ],
    expect: [
      "v2 203.0.113.7:40000 > 198.18.0.9:443 2=one: /a /c",
      "v2 203.0.113.7:40000 > 198.18.0.9:443 2=two: /b",
    ],
    envoy: ["v2 203.0.113.7:40000 > 198.18.0.9:443 2=one: /a /b /c"],
  },
  {
    // Envoy 1.40 destroys the pool it frees at once (`freeOnePool`), while that tells that it is idle and is to be
    // erased: memory is used after it was freed, which its allocator sees now and then, and ends the process.
    name: "a client's idle connections make room for another's where there may be one pool",
    door: "few",
    clients: [[get("/a")], [get("/b"), get("/c")]],
    expect: [
      "v2 127.0.0.1:CLIENT0 > 127.0.0.1:DOOR: /a",
      "v2 127.0.0.1:CLIENT1 > 127.0.0.1:DOOR: /b /c",
    ],
    envoy: "dies",
  },
  {
    name: "the header comes before TLS",
    door: "tls",
    clients: [[get("/a"), get("/b")]],
    expect: ["v2 127.0.0.1:CLIENT0 > 127.0.0.1:DOOR: /a /b"],
  },
];

test("PROXY header to endpoints: who asks whether they are well speaks for itself", () => {
  // Each data plane once: one thread checks for all.
  const each = Array.from({ length: planeNames.length + 1 }, () => 0);
  const wanted = each.flatMap(() => ["v1 127.0.0.1:PROXY > 127.0.0.1:SERVER", "v2 own"]);
  assert.deepEqual(checks.toSorted(), wanted.toSorted());
});

async function outcomeOf(
  plane: PlaneName,
  { door, clients }: (typeof scenarios)[number],
): Promise<readonly string[]> {
  assert.ok(planes !== undefined);
  taken = [];
  naming = String;
  const open: net.Socket[] = [];
  for (const [i, texts] of clients.entries()) {
    open.push(await say(planes.port(plane, door), texts, String(i)));
  }
  for (const socket of open) socket.destroy();
  return taken.map(({ header, said }) => `${header}: ${said.join(" ")}`).toSorted();
}

for (const scenario of scenarios) {
  test(`PROXY header to endpoints: ${scenario.name}`, async () => {
    for (const plane of ["envoy", ...planeNames] as const) {
      // A worker has connections of its own, and which takes a client is chance.
      if (plane === "two workers" && scenario.clients.length > 1) continue;
      const { expect, envoy = expect } = scenario;
      const wanted = plane === "envoy" ? envoy : expect;
      if (wanted === "dies") continue;
      assert.deepEqual(await outcomeOf(plane, scenario), wanted, plane);
    }
  });
}
