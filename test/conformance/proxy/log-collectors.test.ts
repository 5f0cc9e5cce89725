/**
 * Access logs that go to a collector (Envoy's access-log service, OpenTelemetry's logs over gRPC and
 * HTTP), over one file, under Heddle's data plane (both I/O backends, and data workers) and under Envoy:
 * what arrives.
 */
import assert from "node:assert/strict";
import net from "node:net";
import { after, before, test } from "node:test";
import tls from "node:tls";

import { makeTestAuthority } from "../../support/test-certificates.ts";
import { type Collector, startCollector, type Tree, treeOf, until } from "./collector.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";
import { type ScenarioApplication, startApplication } from "./scenario-application.ts";

const doors = ["http", "tls", "tcp"] as const;
type Door = (typeof doors)[number];

const type = "type.googleapis.com/envoy.extensions";
const authority = await makeTestAuthority();
const own = await authority.issue({ uris: ["spiffe://cluster.local/ns/shop/sa/catalog"] });
const client = await authority.issue({ uris: ["spiffe://cluster.local/ns/shop/sa/cart"] });

const grpcTo = (cluster: string): string =>
  `grpc_service: {envoy_grpc: {cluster_name: ${cluster}}, initial_metadata: [{key: X-Token, value: secret}]}`;

function loggers(plane: string, door: Door): string {
  const tags = `custom_tags: [{tag: c.literal, literal: {value: as it is}}, {tag: c.header, request_header: {name: X-User, default_value: nobody}}, {tag: c.env, environment: {name: HEDDLE_TEST_VARIABLE, default_value: none}}, {tag: c.none, environment: {name: HEDDLE_NO_VARIABLE, default_value: none}}, {tag: c.route, metadata: {kind: {route: {}}, metadata_key: {key: own, path: [{key: a}]}}}]`;
  const common = (kind: string): string =>
    `common_config: {log_name: "${plane} ${door} ${kind}", transport_api_version: V3, ${grpcTo("logs")}, buffer_size_bytes: 1, filter_state_objects_to_log: [heddle.own], ${tags}}`;
  const httpGrpc = `{name: als, typed_config: {"@type": ${type}.access_loggers.grpc.v3.HttpGrpcAccessLogConfig, ${common("http")}, additional_request_headers_to_log: [X-User, x-none], additional_response_headers_to_log: [Server, x-none], additional_response_trailers_to_log: [x-none]}}`;
  const tcpGrpc = `{name: als, typed_config: {"@type": ${type}.access_loggers.grpc.v3.TcpGrpcAccessLogConfig, ${common("tcp")}}}`;
  const otlp = (kind: string, service: string, more: string): string =>
    `{name: otlp, typed_config: {"@type": ${type}.access_loggers.open_telemetry.v3.OpenTelemetryAccessLogConfig, log_name: "${plane} ${door} ${kind}", ${service}, buffer_size_bytes: 1, resource_attributes: {values: [{key: team, value: {string_value: shop}}]}, ${more}}}`;
  const attributes = `attributes: {values: [{key: method, value: {string_value: "%REQ(:METHOD)% %RESPONSE_CODE%"}}, {key: none, value: {string_value: "%REQ(x-none)%"}}, {key: nested, value: {kvlist_value: {values: [{key: flags, value: {string_value: "%RESPONSE_FLAGS%"}}, {key: list, value: {array_value: {values: [{string_value: "%PROTOCOL%"}, {string_value: plain}]}}}]}}}]}`;
  return [
    httpGrpc,
    tcpGrpc,
    otlp(
      "grpc",
      grpcTo("logs"),
      `body: {string_value: "%BYTES_SENT% of %ROUTE_NAME%"}, ${attributes}`,
    ),
    otlp(
      "plain",
      `http_service: {http_uri: {uri: "http://logs.test/v1/${plane}/${door}", cluster: posts, timeout: 1s}, request_headers_to_add: [{header: {key: X-Token, value: secret}}]}`,
      `disable_builtin_labels: true, filter_state_objects_to_log: [heddle.own], ${attributes}, ${tags}`,
    ),
  ].join(", ");
}

function bootstrap(
  ports: { readonly [door in Door]: number },
  plane: string,
  to: { readonly grpc: number; readonly posts: number; readonly application: number },
): string {
  const cluster = (name: string, port: number, more = ""): string =>
    `{name: ${name}, type: STATIC, connect_timeout: 1s, ${more}load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]}}`;
  const http2 = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": ${type}.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}, `;
  const pem = (text: string): string => JSON.stringify(text);
  const socket = `
      transport_socket:
        name: tls
        typed_config:
          "@type": ${type}.transport_sockets.tls.v3.DownstreamTlsContext
          require_client_certificate: true
          common_tls_context:
            tls_params: {tls_minimum_protocol_version: TLSv1_3}
            tls_certificates: [{certificate_chain: {inline_string: ${pem(own.chainPem)}}, private_key: {inline_string: ${pem(own.privateKeyPem)}}}]
            validation_context: {trusted_ca: {inline_string: ${pem(authority.rootPem)}}}`;
  const inspector = `{name: tls, typed_config: {"@type": ${type}.filters.listener.tls_inspector.v3.TlsInspector}}`;
  const listener = (door: Door, filters: string, more = ""): string => `
  - name: ${door}
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports[door]}}}
    listener_filters: [${door === "tls" ? inspector : ""}]
    filter_chains:
    - filters: [${filters}]${more}`;
  const state = `{name: state, typed_config: {"@type": ${type}.filters.http.set_filter_state.v3.Config, on_request_headers: [{object_key: heddle.own, factory_key: envoy.string, format_string: {text_format_source: {inline_string: "state of %REQ(:METHOD)%"}}}]}}`;
  const rbac = `{name: hint, typed_config: {"@type": ${type}.filters.http.rbac.v3.RBAC, rules: {action: LOG, policies: {p: {permissions: [{any: true}], principals: [{any: true}]}}}}}`;
  const manager = (door: Door): string =>
    `{name: http, typed_config: {"@type": ${type}.filters.network.http_connection_manager.v3.HttpConnectionManager, stat_prefix: http, access_log: [${loggers(plane, door)}], http_filters: [${state}, ${rbac}, {name: router, typed_config: {"@type": ${type}.filters.http.router.v3.Router}}], route_config: {validate_clusters: false, virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /direct}, name: direct, direct_response: {status: 201}}, {match: {prefix: /old/}, name: old, route: {cluster: app, prefix_rewrite: /new/}}, {match: {prefix: /none}, route: {cluster: nowhere}}, {match: {prefix: /}, name: app, metadata: {filter_metadata: {own: {a: of-route}}}, route: {cluster: app}}]}]}}}`;
  const proxy = `{name: tcp, typed_config: {"@type": ${type}.filters.network.tcp_proxy.v3.TcpProxy, stat_prefix: tcp, cluster: app, access_log: [${loggers(plane, "tcp")}]}}`;
  return `
node: {id: own-node, cluster: own-cluster, locality: {zone: own-zone}}
static_resources:
  clusters:
  - ${cluster("app", to.application)}
  - ${cluster("posts", to.posts)}
  - ${cluster("logs", to.grpc, http2)}
  listeners:${listener("http", manager("http"))}${listener("tls", manager("tls"), socket)}${listener("tcp", proxy)}
`;
}

let collector: Collector;
let application: ScenarioApplication;
let planes: Planes<Door>;
const label = (plane: PlaneName): string => `of-${plane.replace(" ", "-")}`;

before(async () => {
  process.env["HEDDLE_TEST_VARIABLE"] = "of the process";
  collector = await startCollector();
  application = await startApplication();
  const to = {
    grpc: collector.grpcPort,
    posts: collector.httpPort,
    application: application.port,
  };
  const order = [...planeNames, "envoy"] as const;
  let made = 0;
  planes = await startPlanes(doors, (ports) =>
    bootstrap(ports, label(order[made++] ?? "envoy"), to),
  );
});

after(async () => {
  delete process.env["HEDDLE_TEST_VARIABLE"];
  await planes?.close();
  application?.close();
  await collector?.close();
});

async function ask(plane: PlaneName, door: Door, text: string): Promise<void> {
  const port = planes.port(plane, door);
  await new Promise<void>((resolve, reject) => {
    const socket =
      door === "tls"
        ? tls.connect({
            // Of several, the two data planes choose by different orders (known-differences.md).
            ciphers: "TLS_AES_128_GCM_SHA256",
            host: "127.0.0.1",
            port,
            servername: "shop.test",
            rejectUnauthorized: false,
            cert: client.chainPem,
            key: client.privateKeyPem,
          })
        : net.connect({ host: "127.0.0.1", port });
    socket.on("error", reject);
    socket.on("close", () => resolve());
    socket.on("data", () => {});
    socket.write(text);
  });
}

const varies = new Set([
  "portValue",
  "seconds",
  "nanos",
  "requestId",
  "streamId",
  "startTime",
  "tlsSessionId",
]);

/** Bytes as they were on the wire, which are not counted here. */
const uncounted = /WireBytes|HeaderBytes(?:Sent|Received)$/;
/** Heads have other fields of the proxy's own; `%REQUEST_HEADERS_BYTES%` is compared elsewhere. */
const ofHeads = new Set(["requestHeadersBytes", "responseHeadersBytes"]);
/** What a policy without effect has found is not told by Heddle. */
const ofFilters = new Set(["envoy.filters.http.rbac"]);

function masked(entry: unknown): unknown {
  const text = JSON.stringify(entry, (key: string, value: unknown) => {
    if (key === "_unknownFields" || uncounted.test(key)) return undefined;
    // Heddle's records hold the names of our own certificate alone.
    if (key === "localCertificateProperties" && typeof value === "object") {
      return { ...value, subject: "" };
    }
    if (ofHeads.has(key) || ofFilters.has(key)) return undefined;
    if (varies.has(key)) return value === undefined || value === "" ? "NONE" : "SOME";
    if (typeof value === "bigint") return String(value);
    return value instanceof Uint8Array ? Buffer.from(value).toString("latin1") : value;
  });
  return JSON.parse(text);
}

function withoutLabel(plane: PlaneName, value: unknown): unknown {
  const text = JSON.stringify(value).replaceAll(label(plane), "PLANE");
  return JSON.parse(text.replaceAll(/[0-9a-f]{8}-[0-9a-f-]{27}/g, "ID"));
}

/** What came of one request to a door: from each of its four loggers. */
async function entriesOf(plane: PlaneName, door: Door, text: string): Promise<unknown> {
  const streamOf = (kind: string) =>
    collector.streams.find(({ logName }) => logName === `${label(plane)} ${door} ${kind}`);
  const callsOf = () =>
    collector.calls.filter(({ message }) =>
      Buffer.from(message).includes(`${label(plane)} ${door} grpc`),
    );
  const postsOf = () =>
    collector.posts.filter(({ path }) => path === `/v1/${label(plane)}/${door}`);
  const before = {
    http: streamOf("http")?.http.length ?? 0,
    tcp: streamOf("tcp")?.tcp.length ?? 0,
    calls: callsOf().length,
    posts: postsOf().length,
  };
  await ask(plane, door, text);
  const told = await until(
    () => {
      const http = streamOf("http")?.http.at(before.http);
      const tcp = streamOf("tcp")?.tcp.at(before.tcp);
      const call = callsOf().at(before.calls);
      const post = postsOf().at(before.posts);
      const has = http !== undefined && tcp !== undefined;
      return has && call !== undefined && post !== undefined
        ? { http, tcp, call, post }
        : undefined;
    },
    () => `${plane} ${door}: ${JSON.stringify(collector.streams.map((one) => one.logName))}`,
  );
  const { path, headers, body } = told.post;
  return withoutLabel(plane, {
    http: masked(told.http),
    tcp: masked(told.tcp),
    otlp: [told.call.metadata, timeless(treeOf(told.call.message))],
    post: [path, headers["content-type"], headers["x-token"], headers.host, timeless(treeOf(body))],
  });
}

/** The time of its record left out, and tags in an order: Envoy's is any. */
function timeless(tree: Tree | undefined): unknown {
  const text = JSON.stringify(tree, (_key, value: unknown) =>
    Array.isArray(value) && value.length > 4
      ? value.toSorted((a, b) => (JSON.stringify(a) < JSON.stringify(b) ? -1 : 1))
      : value,
  );
  return JSON.parse(text.replaceAll(/\["1\d{18}"\]/g, '["TIME"]'));
}

const get = (path: string, ...fields: readonly string[]): string =>
  `${[`GET ${path} HTTP/1.1`, "Host: shop.test", "Connection: close", ...fields].join("\r\n")}\r\n\r\n`;

const post = (path: string, body: string): string =>
  `POST ${path} HTTP/1.1\r\nHost: shop.test\r\nConnection: close\r\nContent-Length: ${body.length}\r\n\r\n${body}`;

const scenarios: readonly [name: string, door: Door, text: string][] = [
  [
    "a request",
    "http",
    get("/a?q=1", "X-User: ann", "User-Agent: me", "Referer: /b", "X-Forwarded-For: 203.0.113.9"),
  ],
  ["a request that says little", "http", get("/a")],
  ["a request that is sent elsewhere", "http", get("/old/a")],
  ["an answer of the proxy's own", "http", get("/direct")],
  ["a request to no cluster", "http", get("/none")],
  ["a request that fails", "http", post("/reset", "body")],
  ["a client with a certificate", "tls", get("/a")],
  ["a connection", "tcp", get("/close")],
];

for (const [name, door, text] of scenarios) {
  test(`compileHttpGrpcLog(), compileOtlpLog() tell of ${name}, as Envoy`, async () => {
    const expected = await entriesOf("envoy", door, text);
    for (const plane of planeNames) {
      assert.deepEqual(await entriesOf(plane, door, text), expected, `${plane} (actual), Envoy`);
    }
  });
}

test("GrpcLog says who it is once in a stream", () => {
  for (const stream of collector.streams) {
    assert.equal(stream.identified, 1, stream.logName);
    assert.deepEqual(stream.node, { id: "own-node", cluster: "own-cluster" });
    assert.ok(stream.messages >= 1);
  }
});
