/**
 * External authorization over gRPC, over one file, under Heddle's data plane (both I/O backends, and
 * data workers) and under Envoy: what the service is asked, what the client sees, what the upstream sees.
 */
import assert from "node:assert/strict";
import net from "node:net";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";
import tls from "node:tls";

import { systemClock } from "../../../src/base/clock.ts";
import { type GrpcServer, startGrpcServer } from "../../../src/net/grpc-server.ts";
import { defaultGrpcKeepalive, GrpcError } from "../../../src/net/grpc.ts";
import { grpcStatus } from "../../../src/wire/grpc.ts";
import {
  CheckRequest,
  CheckResponse,
} from "../../../src/wire/gen/ts/envoy/service/auth/v3/external_auth.ts";
import type { HeaderValue } from "../../../src/wire/gen/ts/envoy/config/core/v3/base.ts";
import { freePort } from "../../support/free-port.ts";
import { type Fields, message } from "../../support/message.ts";
import { silentLog } from "../../support/silent-log.ts";
import { makeTestAuthority } from "../../support/test-certificates.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "../proxy/planes.ts";
import { type ScenarioApplication, startApplication } from "../proxy/scenario-application.ts";

const doors = [
  "mesh",
  "body",
  "bytes",
  "tls",
  "lenient",
  "gone",
  "short",
  "told",
  "present",
  "behind",
  "ruled",
  "strict",
  "routing",
  "validated",
] as const;
type Door = (typeof doors)[number];

const authority = await makeTestAuthority();
const own = await authority.issue({ uris: ["spiffe://cluster.local/ns/shop/sa/catalog"] });
const client = await authority.issue({
  uris: ["spiffe://cluster.local/ns/shop/sa/cart"],
  dnsNames: ["cart.test"],
});

const header = (key: string, value: string, more: object = {}): object => ({
  header: { key, value },
  ...more,
});
/** One for each way to append, and what was said before there were ways. */
const everyWay = ["absent", "present"].flatMap((state) => [
  ...[0, 1, 2, 3].map((appendAction) =>
    header(`x-${state}-${appendAction}`, "new", { appendAction }),
  ),
  header(`x-${state}-true`, "new", { append: true }),
  header(`x-${state}-false`, "new", { append: false }),
]);
/** What a request has of them. */
const present = ["0", "1", "2", "3", "true", "false"].map((way) => `X-Present-${way}: old`);
const ok = (okResponse: object, more: object = {}): object => ({
  status: { code: 0 },
  okResponse,
  ...more,
});

/** By the path's last segment; all others pass. */
const answers: Readonly<Record<string, object | "fails" | "silent">> = {
  denied: { status: { code: 7 } },
  "denied-more": {
    status: { code: 16 },
    deniedResponse: {
      status: { code: 401 },
      body: "who are you?",
      headers: [
        header("www-authenticate", "Basic"),
        header("x-reason", "one"),
        header("x-reason", "two", { append: true }),
      ],
    },
    dynamicMetadata: { who: "nobody" },
  },
  "denied-empty": { status: { code: 7 }, deniedResponse: {} },
  user: ok({
    headers: [header("x-user", "alice"), header("X-Given", "set", { append: false })],
    headersToRemove: ["x-secret", "X-Other"],
  }),
  groups: ok({ headers: [header("x-groups", "b", { append: true })] }),
  cookies: {
    status: { code: 7 },
    deniedResponse: {
      status: { code: 302 },
      headers: [
        header("location", "/login"),
        header("set-cookie", "a=1"),
        header("set-cookie", "b=2"),
      ],
    },
  },
  overwrites: ok({ headers: [header("x-user", "new", { appendAction: 2 })] }),
  twice: ok({ headers: [header("x-user", "one"), header("x-user", "two")] }),
  tells: ok({ responseHeadersToAdd: [header("x-told", "yes"), header("set-cookie", "a=1")] }),
  meta: ok({}, { dynamicMetadata: { who: "alice", level: 3, nested: { a: [true, "x"] } } }),
  "every-way": ok({ headers: everyWay }),
  "every-way-back": ok({ responseHeadersToAdd: everyWay }),
  "denied-every-way": { status: { code: 7 }, deniedResponse: { headers: everyWay } },
  "meta-of-old": ok({ dynamicMetadata: { who: "old" } }, { dynamicMetadata: { who: "new" } }),
  "query-set": ok({
    queryParametersToSet: [
      { key: "b", value: "2" },
      { key: "new", value: "a%20b" },
      { key: "none", value: "" },
    ],
  }),
  "query-remove": ok({ queryParametersToRemove: ["a", "c", "%65"] }),
  "query-both": ok({
    queryParametersToSet: [{ key: "b", value: "3" }],
    queryParametersToRemove: ["b", "z"],
  }),
  error: { status: { code: 13 }, errorResponse: {} },
  "error-more": {
    status: { code: 14 },
    errorResponse: {
      status: { code: 502 },
      body: "try again",
      headers: [header("x-reason", "busy"), header("x-more", "1", { append: true })],
    },
    dynamicMetadata: { who: "nobody" },
  },
  "error-ok": { status: { code: 0 }, errorResponse: { status: { code: 502 } } },
  "denied-status": { status: { code: 7 }, deniedResponse: { status: { code: 999 } } },
  "denied-name": { status: { code: 7 }, deniedResponse: { headers: [header("x y", "1")] } },
  "denied-action": {
    status: { code: 7 },
    deniedResponse: { headers: [header("x-a", "1", { appendAction: 9 })] },
  },
  large: ok({ headers: [header("x-large", "a".repeat(70_000))] }),
  many: ok({ headers: Array.from({ length: 120 }, (_, i) => header(`x-many-${i}`, "1")) }),
  "role-set": ok({ queryParametersToSet: [{ key: "role", value: "guest" }] }),
  "role-remove": ok({ queryParametersToRemove: ["role"] }),
  path: ok({ headers: [header(":path", "/changed?x=1")] }),
  method: ok({ headers: [header(":method", "PUT")] }),
  host: ok({ headers: [header("host", "other.test:81")] }),
  authority: ok({ headers: [header(":authority", "other.test")] }),
  scheme: ok({ headers: [header(":scheme", "https")] }),
  target: ok({
    headers: [
      header(":path", "/changed"),
      header(":method", "PUT"),
      header("host", "other.test"),
      header("x-envoy-own", "1"),
      header("x-user", "alice"),
      header("x-groups", "b", { append: true }),
    ],
    headersToRemove: ["x-sent", "x-envoy-sent", "host"],
  }),
  "remove-host": ok({ headersToRemove: ["host", ":path"] }),
  "query-coded": ok({ queryParametersToSet: [{ key: "b", value: "a%20b" }] }),
  "query-plain": ok({ queryParametersToSet: [{ key: "b", value: "a.b" }] }),
  fails: "fails",
  silent: "silent",
};

let questions: CheckRequest[] = [];
let server: GrpcServer | undefined;
let application: ScenarioApplication | undefined;
let planes: Planes<Door> | undefined;

function answerTo(bytes: Uint8Array): Promise<Uint8Array> {
  const question = CheckRequest.decode(bytes);
  questions.push(question);
  const path = question.attributes?.request?.http?.path ?? "";
  const name = path.split("?", 1)[0]?.split("/").at(-1) ?? "";
  const answer = Object.hasOwn(answers, name) ? answers[name] : {};
  if (answer === "fails") return Promise.reject(new GrpcError(grpcStatus.unavailable, "no"));
  if (answer === "silent") return sleep(1500).then(() => new Uint8Array(0));
  const fields: Fields<CheckResponse> = answer ?? {};
  return Promise.resolve(CheckResponse.encode(message(CheckResponse, fields)).finish());
}

const type = "type.googleapis.com/envoy.extensions";

function bootstrap(
  ports: { readonly [door in Door]: number },
  logFile: string,
  to: { readonly authz: number; readonly application: number; readonly gone: number },
): string {
  const cluster = (name: string, port: number, more = ""): string =>
    `{name: ${name}, type: STATIC, connect_timeout: 10s, ${more}load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]}}`;
  const http2 = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": ${type}.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}, `;
  const check = (context: string): string =>
    `typed_per_filter_config: {authz: {"@type": ${type}.filters.http.ext_authz.v3.ExtAuthzPerRoute, check_settings: {context_extensions: {${context}}}}}`;
  const asks = (settings: string): string =>
    `typed_per_filter_config: {authz: {"@type": ${type}.filters.http.ext_authz.v3.ExtAuthzPerRoute, check_settings: {${settings}}}}`;
  const service = (name: string, timeout = "10s"): string =>
    `grpc_service: {timeout: ${timeout}, envoy_grpc: {cluster_name: ${name}}}`;
  const chain = (fields: string, socket = "", before = "", behind = ""): string => `
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": ${type}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          access_log:
          - {name: file, typed_config: {"@type": ${type}.access_loggers.file.v3.FileAccessLog, path: ${logFile}, log_format: {text_format_source: {inline_string: "%RESPONSE_CODE% %RESPONSE_FLAGS% %RESPONSE_CODE_DETAILS% %DYNAMIC_METADATA(envoy.filters.http.ext_authz:who)%\\n"}}}}
          http_filters:${before}
          - {name: authz, typed_config: {"@type": ${type}.filters.http.ext_authz.v3.ExtAuthz, transport_api_version: V3, ${fields}}}${behind}
          - {name: router, typed_config: {"@type": ${type}.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              ${check("host: here, both: host")}
              routes:
              - {match: {prefix: /route}, ${check("route: there, both: route")}, metadata: {filter_metadata: {io.route: {list: [1, x], deep: {a: true}}, io.other: {b: 1}}}, route: {cluster: app}}
              - {match: {prefix: /elsewhere}, ${asks(service("gone"))}, route: {cluster: app}}
              - {match: {prefix: /by-http}, ${asks(`http_service: {server_uri: {uri: "http://a", cluster: app, timeout: 10s}, path_prefix: /check, authorization_response: {allowed_upstream_headers: {patterns: [{exact: x-app}]}}}`)}, route: {cluster: app}}
              - {match: {prefix: /, headers: [{name: x-user, string_match: {exact: alice}}]}, direct_response: {status: 418}}
              - {match: {prefix: /}, route: {cluster: app}}${socket}`;
  const listener = (name: Door, rest: string): string => `
  - name: ${name}
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports[name]}}}${rest}`;
  const socket = `
      transport_socket:
        name: tls
        typed_config:
          "@type": ${type}.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates: [{certificate_chain: {inline_string: ${JSON.stringify(own.chainPem)}}, private_key: {inline_string: ${JSON.stringify(own.privateKeyPem)}}}]
            validation_context: {trusted_ca: {inline_string: ${JSON.stringify(authority.rootPem)}}}`;
  // Answers pass it before they pass the authorization.
  const stamps = ["0", "1", "2", "3", "true", "false"].map(
    (way) => `{append: {header: {key: x-present-${way}, value: old}}}`,
  );
  const stamp = `
          - {name: stamp, typed_config: {"@type": ${type}.filters.http.header_mutation.v3.HeaderMutation, mutations: {response_mutations: [${stamps.join(", ")}]}}}`;
  // A condition that reads the query as it is behind the service.
  const rule = `
          - {name: rule, typed_config: {"@type": ${type}.filters.http.rbac.v3.RBAC, rules: {policies: {guests: {permissions: [{any: true}], principals: [{any: true}], condition: {call_expr: {function: "_==_", args: [{select_expr: {operand: {ident_expr: {name: request}}, field: query}}, {const_expr: {string_value: "role=guest"}}]}}}}}}}`;
  const inspector = `
    listener_filters: [{name: tls, typed_config: {"@type": ${type}.filters.listener.tls_inspector.v3.TlsInspector}}]`;
  return `
static_resources:
  clusters:
  - ${cluster("app", to.application)}
  - ${cluster("authz", to.authz, http2)}
  - ${cluster("gone", to.gone, http2)}
  listeners:${listener("mesh", chain(service("authz")))}${listener(
    "body",
    chain(
      `${service("authz")}, with_request_body: {max_request_bytes: 10, allow_partial_message: true}, allowed_headers: {patterns: [{prefix: x-}, {exact: ":path"}]}, disallowed_headers: {patterns: [{exact: x-secret}]}`,
    ),
  )}${listener(
    "bytes",
    chain(
      `${service("authz")}, with_request_body: {max_request_bytes: 10, allow_partial_message: true, pack_as_bytes: true}, status_on_error: {code: 503}`,
    ),
  )}${listener("tls", inspector + chain(`${service("authz")}, include_peer_certificate: true, include_tls_session: true`, socket))}${listener(
    "lenient",
    chain(`${service("authz")}, failure_mode_allow: true, failure_mode_allow_header_add: true`),
  )}${listener("gone", chain(service("gone")))}${listener("short", chain(service("authz", "0.3s")))}${listener(
    "told",
    chain(
      `${service("authz")}, metadata_context_namespaces: [envoy.filters.http.rbac, io.none], route_metadata_context_namespaces: [io.route, io.none], encode_raw_headers: true, enable_dynamic_metadata_ingestion: false, max_denied_response_body_bytes: 5`,
      "",
      `
          - {name: rehearsed, typed_config: {"@type": ${type}.filters.http.rbac.v3.RBAC, shadow_rules: {policies: {all: {permissions: [{any: true}], principals: [{any: true}]}}}}}`,
    ),
  )}${listener("present", chain(service("authz"), "", "", stamp))}${listener("behind", chain(service("authz"), "", "", rule))}${listener("ruled", chain(`${service("authz")}, decoder_header_mutation_rules: {allow_expression: {regex: "x-envoy-s.*"}}`))}${listener("strict", chain(`${service("authz")}, decoder_header_mutation_rules: {disallow_is_error: true}`))}${listener("routing", chain(`${service("authz")}, clear_route_cache: true`))}${listener("validated", chain(`${service("authz")}, validate_mutations: true`))}
`;
}

before(async () => {
  server = await startGrpcServer({
    listen: { address: "127.0.0.1", port: 0 },
    keepalive: defaultGrpcKeepalive,
    clock: systemClock,
    log: silentLog,
    methods: [
      {
        kind: "unary",
        path: "/envoy.service.auth.v3.Authorization/Check",
        handle: (request) => answerTo(request),
      },
    ],
  });
  application = await startApplication();
  const { address } = server;
  assert.ok("port" in address);
  const to = { authz: address.port, application: application.port, gone: await freePort() };
  planes = await startPlanes(doors, (ports, { logFile }) => bootstrap(ports, logFile, to));
});

after(async () => {
  await planes?.close();
  application?.close();
  await server?.close();
});

function masked(value: unknown): unknown {
  const text = JSON.stringify(value, (key: string, each: unknown) => {
    if (key === "portValue" || key === "id" || key === "time") return "MASKED";
    if (key === "x-request-id" || key === "x-envoy-expected-rq-timeout-ms") return "MASKED";
    if (typeof each === "bigint") return String(each);
    // The order among fields of different names says nothing.
    if (key === "headers" && Array.isArray(each)) {
      return each
        .filter(({ key: name }: HeaderValue) => !/^x-(request-id|envoy-expected)/.test(name))
        .toSorted((a: HeaderValue, b: HeaderValue) => (a.key < b.key ? -1 : 1));
    }
    return each instanceof Uint8Array ? Buffer.from(each).toString("latin1") : each;
  });
  return text === undefined ? undefined : JSON.parse(text);
}

interface Outcome {
  readonly answer: readonly string[];
  readonly questions: unknown;
  readonly upstream: readonly (readonly string[])[];
  readonly log: readonly string[];
}

function lines(text: string): readonly string[] {
  return text
    .split("\r\n")
    .map((line) =>
      line.replace(
        /^(date|x-envoy-upstream-service-time|x-request-id|x-envoy-expected-rq-timeout-ms): .*/i,
        "$1",
      ),
    )
    .map((line, i) => (i === 0 ? line : line.replace(/^[^:]+/, (name) => name.toLowerCase())))
    .filter((line) => !line.startsWith("x-forwarded-for"))
    .toSorted();
}

async function ask(plane: PlaneName, door: Door, text: string): Promise<Outcome> {
  assert.ok(planes !== undefined && application !== undefined);
  questions = [];
  application.takeHeads();
  const before = planes.log(plane).length;
  const port = planes.port(plane, door);
  const received = await new Promise<string>((resolve, reject) => {
    const socket =
      door === "tls"
        ? tls.connect({
            host: "127.0.0.1",
            port,
            servername: "shop.test",
            rejectUnauthorized: false,
            cert: client.chainPem,
            key: client.privateKeyPem,
          })
        : net.connect({ host: "127.0.0.1", port });
    let all = "";
    socket.on("error", reject);
    socket.on("data", (chunk) => (all += chunk.toString("latin1")));
    socket.on("close", () => resolve(all));
    socket.write(text, "latin1");
  });
  const deadline = Date.now() + 30_000;
  while (planes.log(plane).length === before && Date.now() < deadline) await sleep(5);
  return {
    answer: lines(received),
    questions: masked(questions.map((one) => one.attributes)),
    upstream: application.takeHeads().map(lines),
    log: planes.log(plane).slice(before),
  };
}

const get = (path: string, ...fields: readonly string[]): string =>
  `${[`GET ${path} HTTP/1.1`, "Host: shop.test", "Connection: close", ...fields].join("\r\n")}\r\n\r\n`;
const post = (path: string, body: string, ...fields: readonly string[]): string =>
  `${[`POST ${path} HTTP/1.1`, "Host: shop.test", "Connection: close", `Content-Length: ${body.length}`, ...fields].join("\r\n")}\r\n\r\n${body}`;

const ruled = ["X-Sent: 1", "X-Envoy-Sent: 1", "X-Groups: a"];

const scenarios: readonly [name: string, door: Door, text: string, log: string][] = [
  ["asks, and lets pass", "mesh", get("/a?q=1", "X-Sent: 1", "X-Sent: 2", "Cookie: a=1"), "200 -"],
  ["denies", "mesh", get("/denied"), "403 UAEX ext_authz_denied"],
  ["denies with more", "mesh", get("/denied-more"), "401 UAEX ext_authz_denied nobody"],
  ["denies without a status", "mesh", get("/denied-empty"), "403 UAEX"],
  [
    "tells the upstream who it is",
    "mesh",
    get("/user", "X-User: forged", "X-Secret: 1", "x-other: 1"),
    "200 -",
  ],
  ["tells the upstream more", "mesh", get("/groups", "X-Groups: a"), "200 -"],
  ["tells the upstream no more of nothing", "mesh", get("/groups"), "200 -"],
  ["tells the upstream again", "mesh", get("/twice", "x-user: forged"), "200 -"],
  ["tells the upstream otherwise", "mesh", get("/overwrites", "x-user: forged"), "200 -"],
  ["sends to a login", "mesh", get("/cookies"), "302 UAEX"],
  ["tells the client", "mesh", get("/tells"), "200 -"],
  ["tells logs", "mesh", get("/meta"), "200 - via_upstream alice"],
  ["changes a request's headers in every way", "mesh", get("/every-way", ...present), "200 -"],
  ["changes an answer's headers in every way", "present", get("/every-way-back"), "200 -"],
  ["changes a denial's headers in every way", "mesh", get("/denied-every-way"), "403 UAEX"],
  ["tells logs in the old way", "mesh", get("/meta-of-old"), "200 - via_upstream old"],
  ["sets parameters", "mesh", get("/query-set?z=1&b=1&b=4&a&c=%31"), "200 -"],
  ["sets parameters where there are none", "mesh", get("/query-set"), "200 -"],
  ["removes parameters", "mesh", get("/query-remove?z=1&a=1&a=2&c&e=1&%65=2&%41=1"), "200 -"],
  ["removes all parameters", "mesh", get("/query-remove?a=1"), "200 -"],
  ["removes parameters where there are none", "mesh", get("/query-remove"), "200 -"],
  ["sets and removes parameters", "mesh", get("/query-both?a=1"), "200 -"],
  ["fails when the service says so", "mesh", get("/error"), "403 UAEX ext_authz_error"],
  ["fails as the service says", "mesh", get("/error-more"), "502 UAEX ext_authz_error"],
  ["fails as the service says with an own status", "bytes", get("/error"), "503 UAEX"],
  ["lets pass when the service says that it fails", "lenient", get("/error-more"), "200 -"],
  ["lets pass what is an error and none", "mesh", get("/error-ok"), "200 -"],
  ["fails when the service fails", "mesh", get("/fails"), "403 UAEX ext_authz_error"],
  ["fails when the service is silent", "short", get("/silent"), "403 UAEX ext_authz_error"],
  ["tells what routes say", "mesh", get("/route/a"), "200 -"],
  ["asks for a forwarded client", "mesh", get("/a", "X-Forwarded-For: 203.0.113.9"), "200 -"],
  ["asks about bodies it does not tell", "mesh", post("/a", "hello"), "200 -"],
  ["asks about a body", "body", post("/a", "hello", "X-Secret: 1", "Accept: x"), "200 -"],
  ["asks about the beginning of a body", "body", post("/a", "0123456789abc"), "200 -"],
  ["asks about no body", "body", get("/a", "x-envoy-auth-partial-body: forged"), "200 -"],
  ["asks about bytes", "bytes", post("/a", "\xff\x00\x80hello"), "200 -"],
  ["fails with another status", "bytes", get("/fails"), "503 UAEX ext_authz_error"],
  ["asks about a client with a certificate", "tls", get("/a"), "200 -"],
  ["lets pass when the service fails", "lenient", get("/fails"), "200 -"],
  ["denies where it would let pass without an answer", "lenient", get("/denied"), "403 UAEX"],
  [
    "tells what filters found",
    "told",
    get("/a", "X-Sent: 1", "X-Sent: 2", "X-High: \xe9"),
    "200 -",
  ],
  ["tells what is said of a route", "told", get("/route/a"), "200 -"],
  ["takes no metadata where that is told", "told", get("/meta"), "200 - via_upstream -"],
  ["cuts a long denial", "told", get("/denied-more"), "401 UAEX ext_authz_denied -"],
  ["adds more than a head may have", "mesh", get("/large"), "500 UAEX ext_authz_invalid"],
  ["adds more fields than a head may have", "lenient", get("/many"), "500 UAEX ext_authz_invalid"],
  ["sets what a policy reads", "behind", get("/role-set?role=admin"), "200 -"],
  ["removes what a policy reads", "behind", get("/role-remove?role=guest"), "403 - rbac"],
  ["sets parameters beside empty ones", "mesh", get("/query-both?&z=1&&a=2&=3&"), "200 -"],
  ["fails where nobody listens", "gone", get("/a"), "403 UAEX ext_authz_error"],
  ["changes a path", "mesh", get("/path"), "200 -"],
  ["changes a method", "mesh", get("/method"), "200 -"],
  ["changes a host", "mesh", get("/host"), "200 -"],
  ["changes an authority", "mesh", get("/authority"), "200 -"],
  ["changes a scheme", "mesh", get("/scheme"), "200 -"],
  ["removes no host", "mesh", get("/remove-host"), "200 -"],
  ["changes what rules let it", "ruled", get("/target", ...ruled), "200 -"],
  ["changes nothing that rules refuse", "strict", get("/target", ...ruled), "500 UAEX"],
  ["removes nothing that rules refuse", "strict", get("/remove-host"), "500 UAEX"],
  ["changes what strict rules let it", "strict", get("/query-set"), "200 -"],
  ["finds another route", "routing", get("/user"), "418 -"],
  ["finds a route as before", "mesh", get("/user"), "200 -"],
  ["validates queries", "validated", get("/query-plain"), "200 -"],
  ["refuses queries that are not plain", "validated", get("/query-coded"), "500 UAEX"],
  ["asks whom a route names", "mesh", get("/elsewhere/a"), "403 UAEX ext_authz_error"],
  ["asks over HTTP whom a route names", "mesh", get("/by-http/a", "X-Sent: 1"), "200 -"],
  ["denies as whom a route names", "mesh", get("/by-http/conflict"), "409 UAEX"],
];

test("ext_authz over gRPC lets nothing pass that was denied in a way that cannot be said", async () => {
  for (const name of ["denied-status", "denied-name", "denied-action"]) {
    for (const plane of [...planeNames, "envoy"] as const) {
      const { upstream, log } = await ask(plane, "lenient", get(`/${name}`));
      assert.deepEqual(upstream, [], `${plane} ${name}`);
      assert.match(log[0] ?? "", / UAEX /);
    }
  }
});

for (const [name, door, text, log] of scenarios) {
  test(`ext_authz over gRPC ${name}`, async () => {
    const expected = await ask("envoy", door, text);
    assert.ok(expected.log[0]?.startsWith(log), JSON.stringify(expected));
    for (const plane of planeNames) {
      assert.deepEqual(await ask(plane, door, text), expected, `${plane} (actual), Envoy`);
    }
  });
}
