/**
 * What filters set for those behind them (filter state, `access_log_hint`), and what policies, routes,
 * hash policies, `tcp_proxy` and logs make of it: over one file, under Heddle's data plane (both I/O
 * backends, and data workers) and under Envoy.
 */
import assert from "node:assert/strict";
import http from "node:http";
import net from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import tls from "node:tls";

import { makeTestAuthority } from "../../support/test-certificates.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const authority = await makeTestAuthority();
const own = await authority.issue({ uris: ["spiffe://cluster.local/ns/shop/sa/catalog"] });
const client = await authority.issue({ uris: ["spiffe://cluster.local/ns/shop/sa/cart"] });

const doors = ["http", "tls", "tcp"] as const;
type Door = (typeof doors)[number];

const extensions = "type.googleapis.com/envoy.extensions";
const set = (key: string, text: string, more = "factory_key: envoy.string"): string =>
  `{object_key: ${key}, format_string: {text_format_source: {inline_string: "${text}"}}, ${more}}`;
const ofConnection = `
      - name: state
        typed_config:
          "@type": ${extensions}.filters.network.set_filter_state.v3.Config
          on_new_connection:
          - ${set("c.plain", "of the connection")}
          - ${set("c.sni", "%REQUESTED_SERVER_NAME%")}
          - ${set("c.peer", "%DOWNSTREAM_PEER_URI_SAN%")}
          - ${set("c.once", "first", "factory_key: envoy.string, read_only: true")}
          - ${set("c.once", "second")}
          - ${set("c.twice", "first")}
          - ${set("c.twice", "second")}
          on_downstream_tls_handshake:
          - ${set("c.after", "%DOWNSTREAM_PEER_URI_SAN% %DOWNSTREAM_TLS_VERSION%")}`;

const keys = ["c.plain", "c.sni", "c.peer", "c.after", "c.once", "c.twice", "r.user", "r.skip"];
const rest = ["r.empty", "r.twice", "r.hash", "r.level", "r.none"];
const states = [...keys, ...rest].map((key) => `${key}=%FILTER_STATE(${key}:PLAIN)%`).join(" ");
const hint = "hint=%DYNAMIC_METADATA(envoy.common:access_log_hint)%";
const shadow = "shadow=%DYNAMIC_METADATA(envoy.filters.network.rbac)%";

function log(file: string, what: string, filter = ""): string {
  return `
          access_log:
          - name: file${filter}
            typed_config:
              "@type": ${extensions}.access_loggers.file.v3.FileAccessLog
              path: ${file}
              log_format: {text_format_source: {inline_string: "${what}\\n"}}`;
}

const stateFilter = `${extensions}.filters.http.set_filter_state.v3.Config`;
const httpRbac = `${extensions}.filters.http.rbac.v3`;
const anyone = "permissions: [{any: true}]";
const byState = (key: string, match: string): string =>
  `{${anyone}, principals: [{filter_state: {key: ${key}, string_match: {${match}}}}]}`;
const level = (name: string): string =>
  `typed_per_filter_config: {state: {"@type": ${stateFilter}, on_request_headers: [${set("r.level", name)}]}}`;

const routes = `
              virtual_hosts:
              - name: all
                domains: ["*"]
                ${level("host")}
                routes:
                - {match: {prefix: /matched, filter_state: [{key: r.json, string_match: {safe_regex: {regex: '\\\\{"a":"json","b":1\\\\}\\\\n'}}}]}, direct_response: {status: 210}}
                - {match: {prefix: /matched, filter_state: [{key: r.user, string_match: {prefix: an}}]}, direct_response: {status: 211}}
                - {match: {prefix: /matched, filter_state: [{key: c.plain, string_match: {suffix: tion}}, {key: r.empty, string_match: {exact: "-"}}]}, direct_response: {status: 212}}
                - {match: {prefix: /matched}, direct_response: {status: 213}}
                - {match: {prefix: /routed, headers: [{name: x-route, string_match: {exact: "1"}}]}, ${level("route")}, direct_response: {status: 214}}
                - {match: {prefix: /off}, typed_per_filter_config: {state: {"@type": type.googleapis.com/envoy.config.route.v3.FilterConfig, disabled: true}}, direct_response: {status: 215}}
                - {match: {prefix: /hashed}, route: {cluster: ring, hash_policy: [{filter_state: {key: r.hash}}]}}
                - {match: {prefix: /unhashed}, route: {cluster: ring, hash_policy: [{filter_state: {key: r.user}}, {header: {header_name: x-hash}}]}}
                - {match: {prefix: /}, direct_response: {status: 200}}`;

function manager(logFile: string): string {
  return `
      - name: http
        typed_config:
          "@type": ${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http${log(logFile, `%RESPONSE_CODE% ${states} typed=%FILTER_STATE(r.user)% ${hint}`)}
          http_filters:
          - name: state
            typed_config:
              "@type": ${stateFilter}
              clear_route_cache: true
              on_request_headers:
              - ${set("r.user", "%REQ(X-USER)%")}
              - ${set("r.empty", "%REQ(X-NOT)%")}
              - {object_key: r.skip, factory_key: envoy.string, skip_if_empty: true, format_string: {omit_empty_values: true, text_format_source: {inline_string: "%REQ(X-SKIP)%"}}}
              - ${set("r.twice", "%REQ(:METHOD)%")}
              - ${set("r.twice", "%REQ(:PATH)% %PROTOCOL% %REQ(:AUTHORITY)%")}
              - ${set("r.hash", "%REQ(X-HASH)%", "factory_key: envoy.hashable_string")}
              - ${set("c.plain", "of a request")}
              - {object_key: r.json, factory_key: envoy.string, format_string: {json_format: {a: "%REQ(X-USER)%", b: 1}}}
          - name: deny
            typed_config:
              "@type": ${httpRbac}.RBAC
              rules: {action: DENY, policies: {by-user: ${byState("r.user", "exact: eve")}, by-missing: {${anyone}, principals: [{and_ids: {ids: [{header: {name: x-missing, present_match: true}}, {filter_state: {key: r.none, string_match: {safe_regex: {regex: ".*"}}}}]}}]}, by-connection: {${anyone}, principals: [{and_ids: {ids: [{header: {name: x-connection, present_match: true}}, {filter_state: {key: c.plain, string_match: {exact: "of the connection"}}}]}}]}, by-peer: ${byState("c.after", "contains: /sa/evil")}}}
          - name: hint
            typed_config:
              "@type": ${httpRbac}.RBAC
              rules: {action: LOG, policies: {logged: ${byState("r.user", "prefix: l")}}}
          - name: envoy.filters.http.router
            typed_config: {"@type": ${extensions}.filters.http.router.v3.Router}
          route_config:${routes}`;
}

interface Backends {
  readonly one: number;
  readonly two: number;
}

function bootstrap(
  ports: { readonly [door in Door]: number },
  { logFile }: { readonly logFile: string },
  { one, two }: Backends,
): string {
  const endpoint = (port: number): string =>
    `{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}`;
  const cluster = (name: string, of: readonly number[]): string =>
    `{name: ${name}, type: STATIC, connect_timeout: 10s, lb_policy: RING_HASH, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [${of.map(endpoint).join(", ")}]}]}}`;
  const listener = (name: Door): string => `
  - name: ${name}
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports[name]}}}`;
  const rbac = `${extensions}.filters.network.rbac.v3.RBAC`;
  const inspector = `
    listener_filters: [{name: tls, typed_config: {"@type": ${extensions}.filters.listener.tls_inspector.v3.TlsInspector}}]`;
  const socket = `
      transport_socket:
        name: tls
        typed_config:
          "@type": ${extensions}.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            tls_certificates: [{certificate_chain: {inline_string: ${JSON.stringify(own.chainPem)}}, private_key: {inline_string: ${JSON.stringify(own.privateKeyPem)}}}]
            validation_context: {trusted_ca: {inline_string: ${JSON.stringify(authority.rootPem)}}}`;
  const tcpChain = (name: string, cluster_: string): string => `
    - filter_chain_match: {server_names: [${name}.test]}
      filters:${ofConnection}
      - name: where
        typed_config: {"@type": ${extensions}.filters.network.set_filter_state.v3.Config, on_new_connection: [${cluster_}]}
      - name: deny
        typed_config: {"@type": ${rbac}, stat_prefix: d, rules: {action: DENY, policies: {evil: ${byState("c.sni", "prefix: evil")}}}, shadow_rules: {action: DENY, policies: {rehearsed: ${byState("c.plain", "prefix: of")}}}, shadow_rules_stat_prefix: try_}
      - name: hint
        typed_config: {"@type": ${rbac}, stat_prefix: h, rules: {action: LOG, policies: {logged: ${byState("c.sni", "prefix: log")}}}}
      - name: tcp
        typed_config:
          "@type": ${extensions}.filters.network.tcp_proxy.v3.TcpProxy
          stat_prefix: tcp
          cluster: one${log(logFile, `tcp cluster=%UPSTREAM_CLUSTER% ${states} where=%FILTER_STATE(envoy.tcp_proxy.cluster:PLAIN)% ${hint} ${shadow} %CONNECTION_TERMINATION_DETAILS%`)}${log(logFile, `hinted ${hint}`, "\n            filter: {metadata_filter: {matcher: {filter: envoy.common, path: [{key: access_log_hint}], value: {bool_match: true}}, match_if_key_not_found: false}}").replace("\n          access_log:", "")}`;
  return `
static_resources:
  clusters:
  - ${cluster("one", [one])}
  - ${cluster("two", [two])}
  - ${cluster("ring", [one, two])}
  listeners:${listener("http")}
    filter_chains:
    - filters:${ofConnection}${manager(logFile)}${listener("tls")}${inspector}
    filter_chains:
    - filters:${ofConnection}${manager(logFile)}${socket}${listener("tcp")}${inspector}
    filter_chains:${["plain", "evil", "logged"].map((name) => tcpChain(name, "")).join("")}${tcpChain("other", set("envoy.tcp_proxy.cluster", "two", "read_only: true"))}${tcpChain("nowhere", set("where", "nowhere", "factory_key: envoy.tcp_proxy.cluster"))}`;
}

interface Outcome {
  readonly said: string;
  readonly log: readonly string[];
}

const applications: net.Server[] = [];
let planes: Planes<Door> | undefined;

before(async () => {
  const ports: number[] = [];
  for (const name of ["one", "two"]) {
    // HTTP to who speaks it, its name to who does not.
    const server = net.createServer((socket) => {
      socket.on("error", () => {});
      socket.once("data", (chunk) => {
        const isHttp = chunk.toString("latin1").startsWith("GET ");
        socket.end(
          isHttp
            ? `HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 3\r\n\r\n${name}`
            : name,
        );
      });
    });
    applications.push(server);
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
    const address = server.address();
    assert.ok(typeof address === "object" && address !== null);
    ports.push(address.port);
  }
  const [one = 0, two = 0] = ports;
  planes = await startPlanes(doors, (each, files) => bootstrap(each, files, { one, two }));
});

after(async () => {
  await planes?.close();
  for (const server of applications) server.close();
});

async function outcomeOf(plane: PlaneName, lines: number, ask: () => Promise<string>) {
  assert.ok(planes !== undefined);
  const start = planes.log(plane).length;
  const said = await ask();
  const deadline = Date.now() + 30_000;
  while (planes.log(plane).length < start + lines && Date.now() < deadline) await sleep(5);
  const outcome: Outcome = { said, log: planes.log(plane).slice(start).map(unquoted).toSorted() };
  return outcome;
}

/** Heddle's lines escape quotes inside of what others say. */
function unquoted(line: string): string {
  return line.replaceAll("\\x22", '"');
}

async function compare(lines: number, ask: (plane: PlaneName) => Promise<string>): Promise<void> {
  const expected = await outcomeOf("envoy", lines, () => ask("envoy"));
  assert.equal(expected.log.length, lines, "what Envoy logs");
  for (const plane of planeNames) {
    assert.deepEqual(await outcomeOf(plane, lines, () => ask(plane)), expected, plane);
  }
}

function request(plane: PlaneName, door: "http" | "tls", path: string, headers: object) {
  assert.ok(planes !== undefined);
  const port = planes.port(plane, door);
  return new Promise<string>((resolve, reject) => {
    const asked = http.request({
      host: "127.0.0.1",
      port,
      path,
      headers: { host: "shop.test", connection: "close", ...headers },
      ...(door === "http"
        ? {}
        : {
            createConnection: () =>
              tls.connect({
                host: "127.0.0.1",
                port,
                servername: "shop.test",
                rejectUnauthorized: false,
                cert: client.chainPem,
                key: client.privateKeyPem,
                maxVersion: "TLSv1.3",
              }),
          }),
    });
    asked.on("error", reject);
    asked.on("response", (answer) => {
      let body = "";
      answer.setEncoding("utf8");
      answer.on("data", (chunk: string) => (body += chunk));
      answer.on("end", () => resolve(`${answer.statusCode ?? 0} ${body}`));
    });
    asked.end();
  });
}

const requests: readonly (readonly [name: string, path: string, headers: object])[] = [
  ["sets nothing of what is not there", "/", {}],
  ["sets what the request says", "/x?y", { "x-user": "ann q", "x-skip": "kept", "x-hash": "h" }],
  ["denies by what it set", "/", { "x-user": "eve" }],
  ["does not deny by what was not set", "/", { "x-missing": "1" }],
  ["denies by what the connection has", "/", { "x-connection": "1" }],
  ["marks what shall be logged", "/", { "x-user": "log me" }],
  ["matches routes by JSON", "/matched", { "x-user": "json" }],
  ["matches routes", "/matched", { "x-user": "ann" }],
  ["matches routes by the connection", "/matched", { "x-user": "bob" }],
  ["sets more on a route", "/routed", { "x-route": "1" }],
  ["sets nothing where it is off", "/off", { "x-user": "ann" }],
  ...["a", "b", "c", "d", "e", "f"].map((hash): (typeof requests)[number] => [
    `hashes ${hash}`,
    "/hashed",
    { "x-hash": hash },
  ]),
  ["hashes no text that is none to hash", "/unhashed", { "x-user": "zzz", "x-hash": "c" }],
];

for (const [name, path, headers] of requests) {
  for (const door of ["http", "tls"] as const) {
    test(`set_filter_state ${name} (${door}), as in Envoy`, () =>
      compare(1, (plane) => request(plane, door, path, headers)));
  }
}

function speak(plane: PlaneName, name: string): Promise<string> {
  assert.ok(planes !== undefined);
  const port = planes.port(plane, "tcp");
  // A ClientHello that names the chain; what answers it is no TLS.
  return new Promise((resolve) => {
    const hello = tls.connect({ host: "127.0.0.1", port, servername: `${name}.test` });
    hello.on("error", () => {});
    let said = "";
    const raw: unknown = Reflect.get(hello, "_parent") ?? hello;
    if (raw instanceof net.Socket) raw.on("data", (chunk) => (said += chunk.toString("latin1")));
    hello.on("close", () => resolve(said));
  });
}

for (const [name, lines] of [
  ["plain", 1],
  ["logged", 2],
  ["other", 1],
  ["nowhere", 1],
  ["evil", 1],
] as const) {
  test(`set_filter_state for connections to ${name}, as in Envoy`, () =>
    compare(lines, (plane) => speak(plane, name)));
}
