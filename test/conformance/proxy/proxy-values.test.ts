/**
 * What the listener filter `proxy_protocol` makes of a client's header: values that become metadata, versions
 * that are not taken, and what is counted. Heddle on each backend, and Envoy with the same file.
 */
import assert from "node:assert/strict";
import net from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const extensions = "type.googleapis.com/envoy.extensions";
const doors = ["values", "late", "second", "http"] as const;
type Door = (typeof doors)[number];

const own = "envoy.filters.listener.proxy_protocol";
const format = `%DOWNSTREAM_REMOTE_ADDRESS% %DYNAMIC_METADATA(${own}:authority)% %DYNAMIC_METADATA(${own}:raw)% %DYNAMIC_METADATA(cloud:vpc)%\\n`;

function bootstrapOf(
  ports: { readonly [door in Door]: number },
  { logFile }: { readonly logFile: string },
  upstream: number,
): string {
  const log = `access_log: [{name: file, typed_config: {"@type": ${extensions}.access_loggers.file.v3.FileAccessLog, path: ${logFile}, log_format: {text_format_source: {inline_string: "${format}"}}}}]`;
  const tcp = `{name: tcp, typed_config: {"@type": ${extensions}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: app, ${log}}}`;
  const http = `{name: http, typed_config: {"@type": ${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: http, ${log}, route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, direct_response: {status: 200}}]}]}, http_filters: [{name: router, typed_config: {"@type": ${extensions}.filters.http.router.v3.Router}}]}}`;
  const rule = (type: number, key: string, more = ""): string =>
    `{tlv_type: ${type}, on_tlv_present: {key: ${key}${more}}}`;
  const rules = `rules: [${rule(2, "authority")}, ${rule(3, "raw", ", value_string_encoding: BASE64")}, ${rule(234, "vpc", ", metadata_namespace: cloud")}]`;
  const door = (name: Door, filter: string, config: string): string =>
    `{name: ${name}, address: {socket_address: {address: 127.0.0.1, port_value: ${ports[name]}}}, filter_chains: [{filters: [${filter}]}], listener_filters: [{name: header, typed_config: {"@type": ${extensions}.filters.listener.proxy_protocol.v3.ProxyProtocol, ${config}}}]}`;
  return `static_resources:
  clusters:
  - {name: app, connect_timeout: 2s, load_assignment: {cluster_name: app, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${upstream}}}}}]}]}}
  listeners:
  - ${door("values", tcp, rules)}
  - ${door("late", tcp, "disallowed_versions: [V2], allow_requests_without_proxy_protocol: true, stat_prefix: late")}
  - ${door("second", tcp, "disallowed_versions: [V1], stat_prefix: second")}
  - ${door("http", http, `stat_prefix: http, ${rules}`)}
`;
}

const echo = net.createServer((socket) => {
  socket.on("error", () => {});
  socket.on("data", (chunk) => socket.end(`heard ${chunk.toString("latin1")}`, "latin1"));
});

let planes: Planes<Door> | undefined;

before(async () => {
  await new Promise<void>((resolve) => echo.listen(0, "127.0.0.1", resolve));
  const { port } = echo.address() as net.AddressInfo;
  planes = await startPlanes(doors, (ports, files) => bootstrapOf(ports, files, port));
});

after(async () => {
  await planes?.close();
  echo.close();
});

/** Everything that comes back until the other side closes. */
function say(port: number, text: string): Promise<string> {
  return new Promise((resolve) => {
    let got = "";
    const socket = net.connect({ host: "127.0.0.1", port }, () => socket.write(text, "latin1"));
    socket.on("data", (chunk) => (got += chunk.toString("latin1")));
    socket.on("error", () => {});
    socket.on("close", () => resolve(got));
  });
}

const bytes = (...values: readonly number[]): string => String.fromCharCode(...values);
const signature = "\r\n\r\n\0\r\nQUIT\n";
const addresses = bytes(203, 0, 113, 7, 198, 18, 0, 9, 156, 64, 1, 187);
const line = "PROXY TCP4 203.0.113.7 198.18.0.9 40000 443\r\n";

function headerOf(...tlvs: readonly (readonly [type: number, value: string])[]): string {
  const values = tlvs.map(
    ([type, value]) => `${bytes(type, value.length >> 8, value.length & 255)}${value}`,
  );
  const body = `${addresses}${values.join("")}`;
  return `${signature}\x21\x11${bytes(body.length >> 8, body.length & 255)}${body}`;
}

/** Not UTF-8: cut short, no lead, half a pair, beyond Unicode, longer than it need be; and what is. */
const broken = "a\xe2\x82b\xff\xc3\xa9\xed\xa0\x80\xf0\x9f\x98\x80\xf4\x90\x80\x80\xc0\x80\xe2\x82";

const client = "203.0.113.7:40000";
const values: readonly {
  readonly name: string;
  readonly header: string;
  readonly logs: string;
}[] = [
  { name: "none", header: headerOf(), logs: `${client} - - -` },
  { name: "text", header: headerOf([2, "shop.test"]), logs: `${client} shop.test - -` },
  {
    name: "bytes that are no UTF-8",
    header: headerOf([2, broken]),
    logs: `${client} a!!b!é!!!😀!!!!!!!! - -`,
  },
  {
    name: "another encoding, and another namespace",
    header: headerOf([3, "\xff\0A"], [234, "vpc-1"]),
    logs: `${client} - /wBB vpc-1`,
  },
  {
    name: "the first of a type, and none of others",
    header: headerOf([4, "noop"], [2, "one"], [2, "two"], [5, "id"]),
    logs: `${client} one - -`,
  },
  {
    name: "a long one",
    header: headerOf([2, "x".repeat(300)]),
    logs: `${client} ${"x".repeat(300)} - -`,
  },
  { name: "version 1", header: line, logs: `${client} - - -` },
];

async function logged(plane: PlaneName, door: Door, text: string): Promise<string | undefined> {
  assert.ok(planes !== undefined);
  const from: number = planes.log(plane).length;
  const got = await say(planes.port(plane, door), text);
  if (got === "") return undefined;
  assert.match(got, /^heard/, plane);
  while (planes.log(plane).length === from) await sleep(5);
  return planes.log(plane)[from];
}

for (const { name, header, logs } of values) {
  test(`a PROXY header's values become metadata: ${name}`, async () => {
    for (const plane of ["envoy", ...planeNames] as const) {
      assert.equal(await logged(plane, "values", `${header}hello`), logs, plane);
    }
  });
}

test("requests see nothing of the connection's values in their own metadata", async () => {
  assert.ok(planes !== undefined);
  for (const plane of ["envoy", ...planeNames] as const) {
    const from: number = planes.log(plane).length;
    const request = "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
    const got = await say(planes.port(plane, "http"), `${headerOf([2, "shop"])}${request}`);
    assert.match(got, /^HTTP\/1\.1 200/, plane);
    while (planes.log(plane).length === from) await sleep(5);
    assert.equal(planes.log(plane)[from], `${client} - - -`, plane);
  }
});

const outcomes: readonly {
  readonly name: string;
  readonly door: Door;
  readonly text: string;
  /** What the application heard; undefined where the connection was refused. */
  readonly heard: string | undefined;
}[] = [
  { name: "allowed", door: "late", text: `${line}hello`, heard: "hello" },
  {
    name: "one that is not looked for is the application's",
    door: "late",
    text: `${headerOf()}hello`,
    heard: `${headerOf()}hello`,
  },
  { name: "none", door: "late", text: "hello", heard: "hello" },
  { name: "disallowed", door: "second", text: `${line}hello`, heard: undefined },
  { name: "allowed beside it", door: "second", text: `${headerOf()}hello`, heard: "hello" },
  { name: "none where one must be", door: "second", text: "hello, who are you?", heard: undefined },
  {
    name: "malformed",
    door: "second",
    text: `${headerOf().replace("\x21\x11", "\x25\x11")}hello`,
    heard: undefined,
  },
  {
    name: "a value cut short",
    door: "second",
    text: `${signature}\x21\x11\0\x0f${addresses}\x02\0\x05hello`,
    heard: undefined,
  },
  {
    name: "malformed, of the first version",
    door: "late",
    text: "PROXY TCP4 nobody 198.18.0.9 40000 443\r\nhello",
    heard: undefined,
  },
];

for (const { name, door, text, heard } of outcomes) {
  test(`versions of PROXY headers: ${name}`, async () => {
    assert.ok(planes !== undefined);
    for (const plane of ["envoy", ...planeNames] as const) {
      const got = await say(planes.port(plane, door), text);
      assert.equal(got, heard === undefined ? "" : `heard ${heard}`, plane);
    }
  });
}

/** Envoy's labels begin with its name, and ours do not. */
async function counted(plane: PlaneName): Promise<readonly string[]> {
  assert.ok(planes !== undefined);
  const { body } = await planes.admin(plane, "/stats/prometheus");
  return body
    .split("\n")
    .filter((text) => /^envoy_(?:proxy_proto_|downstream_cx_proxy_proto)/.test(text))
    .map((text) => text.replaceAll("envoy_proxy_protocol_", "proxy_protocol_").replace("{}", ""))
    .toSorted();
}

test("PROXY headers are counted by version and prefix, as Envoy counts them", async () => {
  const expected = await counted("envoy");
  assert.equal(expected.length, 4 * 8 + 1);
  for (const plane of planeNames) assert.deepEqual(await counted(plane), expected, plane);
});
