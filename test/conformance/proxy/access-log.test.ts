/**
 * Every operator of access-log formats, in JSON and in text, with and without empty values, over one
 * bootstrap file under Heddle's data plane and under Envoy: the same entry, field by field, with the
 * same types. What is never the same twice is compared by its shape.
 */
import assert from "node:assert/strict";
import { after, before, test } from "node:test";

import { operatorNames } from "../../../src/telemetry/access-log-operators.ts";
import { findEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { type ScenarioApplication, startApplication } from "./scenario-application.ts";
import {
  type Door,
  type Place,
  runEnvoy,
  runHeddle,
  type RunningData,
} from "./scenario-proxies.ts";

const extensions = "type.googleapis.com/envoy.extensions";

/** One format for each operator and each form of its argument. */
const formats: Readonly<Record<string, string>> = Object.fromEntries(
  [
    "ACCESS_LOG_TYPE",
    "BYTES_RECEIVED",
    "BYTES_RETRANSMITTED",
    "BYTES_SENT",
    "CEL(request.method)",
    "CEL(response.code)",
    "CEL(response.code < 400)",
    "CEL(request.headers['x-none'])",
    "CEL(duration('5400.25s'))",
    "CEL(timestamp('2023-08-26T12:39:00-07:00'))",
    "CEL(1.5)",
    "CLUSTER_METADATA(heddle)",
    "CLUSTER_METADATA(heddle:service)",
    "CLUSTER_METADATA(heddle:nested)",
    "CLUSTER_METADATA(heddle:nested:port)",
    "CLUSTER_METADATA(heddle:none)",
    "CLUSTER_METADATA(none)",
    'COALESCE({"operators": ["REQUESTED_SERVER_NAME", {"command": "REQ", "param": "user-agent", "max_length": 3}, "PROTOCOL"]})',
    'COALESCE({"operators": ["RESPONSE_CODE"]})',
    'COALESCE({"operators": [{"command": "REQ", "param": "x-none"}]}):5',
    'COALESCE({"operators": [{"command": "REQ", "param": ":method"}]}):2',
    "COMMON_DURATION(DS_RX_BEG:DS_RX_END:us)",
    "COMMON_DURATION(DS_RX_BEG:DS_RX_HDR_END:us)",
    "COMMON_DURATION(DS_RX_BEG:US_CX_BEG:ms)",
    "COMMON_DURATION(US_CX_BEG:US_CX_END:us)",
    "COMMON_DURATION(US_CX_BEG:US_HS_END:us)",
    "COMMON_DURATION(US_TX_BEG:US_TX_END:ms)",
    "COMMON_DURATION(US_TX_BEG:US_RX_BEG:ns)",
    "COMMON_DURATION(US_RX_BEG:US_RX_BODY_BEG:ms)",
    "COMMON_DURATION(US_RX_BEG:US_RX_END:ms)",
    "COMMON_DURATION(DS_TX_BEG:DS_TX_END:ms)",
    "CONNECTION_ID",
    "CONNECTION_TERMINATION_DETAILS",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS",
    "DOWNSTREAM_DIRECT_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_LOCAL_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS",
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_DIRECT_REMOTE_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT(9)",
    "DOWNSTREAM_LOCAL_PORT",
    "DOWNSTREAM_LOCAL_DNS_SAN",
    "DOWNSTREAM_LOCAL_EMAIL_SAN",
    "DOWNSTREAM_LOCAL_IP_SAN",
    "DOWNSTREAM_LOCAL_SUBJECT",
    "DOWNSTREAM_LOCAL_URI_SAN",
    "DOWNSTREAM_PEER_CERT",
    "DOWNSTREAM_PEER_CERT_V_END",
    "DOWNSTREAM_PEER_CERT_V_START",
    "DOWNSTREAM_PEER_FINGERPRINT_1",
    "DOWNSTREAM_PEER_FINGERPRINT_256",
    "DOWNSTREAM_PEER_ISSUER",
    "DOWNSTREAM_PEER_SERIAL",
    "DOWNSTREAM_PEER_SUBJECT",
    "DOWNSTREAM_PEER_URI_SAN",
    "DOWNSTREAM_REMOTE_ADDRESS",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT",
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(20)",
    "DOWNSTREAM_REMOTE_PORT",
    "DOWNSTREAM_TLS_CIPHER",
    "DOWNSTREAM_TLS_VERSION",
    "DOWNSTREAM_TRANSPORT_FAILURE_REASON",
    "DURATION",
    "DOWNSTREAM_PEER_DNS_SAN",
    "DOWNSTREAM_PEER_EMAIL_SAN",
    "DOWNSTREAM_PEER_IP_SAN",
    "DYNAMIC_METADATA(none)",
    "DYNAMIC_METADATA(none:key)",
    "EMIT_TIME",
    "EMIT_TIME(%Y-%m-%d)",
    "EMIT_TIME_LOCAL(%d)",
    "ENVIRONMENT(HEDDLE_NONE)",
    "ENVIRONMENT(PATH):4",
    "FILTER_CHAIN_NAME",
    "GRPC_STATUS",
    "GRPC_STATUS(CAMEL_STRING)",
    "GRPC_STATUS(NUMBER)",
    "GRPC_STATUS(SNAKE_STRING)",
    "GRPC_STATUS_NUMBER",
    "HOSTNAME",
    "METADATA(CLUSTER:heddle:service)",
    "METADATA(LISTENER:none)",
    "METADATA(LISTENER_FILTER_CHAIN:none:a)",
    "METADATA(VIRTUAL_HOST:none)",
    "METADATA(UPSTREAM_HOST:heddle:workload)",
    "PACKETS_RETRANSMITTED",
    "PATH",
    "PATH(NQ)",
    "PATH(NQ:PATH)",
    "PATH(WQ:ORIG)",
    "PROTOCOL",
    "QUERY_PARAM(b)",
    "QUERY_PARAM(none)",
    "QUERY_PARAM(q)",
    "QUERY_PARAMS",
    "REQ(:AUTHORITY)",
    "REQ(:METHOD)",
    "REQ(:PATH):4",
    "REQ(:SCHEME)",
    "REQ(X-NONE?USER-AGENT)",
    "REQ(X-UTF8)",
    "REQUESTED_SERVER_NAME",
    "REQUESTED_SERVER_NAME(SNI_ONLY)",
    "REQUESTED_SERVER_NAME(SNI_FIRST)",
    "REQUESTED_SERVER_NAME(SNI_FIRST:ORIG)",
    "REQUESTED_SERVER_NAME(HOST_FIRST:HOST)",
    "REQUEST_DURATION",
    "REQUEST_HEADER(USER-AGENT):3",
    "REQUEST_HEADERS_BYTES",
    "REQUEST_TX_DURATION",
    "REQ_WITHOUT_QUERY(:PATH)",
    "RESP(:STATUS)",
    "RESP(CONTENT-LENGTH)",
    "RESPONSE_CODE",
    "RESPONSE_CODE_DETAILS",
    "RESPONSE_CODE_DETAILS(ALLOW_WHITESPACES)",
    "RESPONSE_DURATION",
    "RESPONSE_FLAGS",
    "RESPONSE_FLAGS_LONG",
    "RESPONSE_HEADER(X-NONE?CONTENT-LENGTH)",
    "RESPONSE_HEADERS_BYTES",
    "RESPONSE_TRAILERS_BYTES",
    "RESPONSE_TRAILER(X-NONE)",
    "RESPONSE_TX_DURATION",
    "ROUNDTRIP_DURATION",
    "ROUTE_NAME",
    "SPAN_ID",
    "START_TIME",
    "START_TIME(%s.%3f)",
    "START_TIME(%Y/%m/%dT%H:%M:%S%z)",
    "START_TIME(%b %e %a %y)",
    "START_TIME_LOCAL(%F)",
    "STREAM_ID",
    "TRACE_ID",
    "TRAILER(X-NONE)",
    "TYPED_CEL(response.code)",
    "TYPED_CEL(response.code < 400)",
    "TYPED_CEL(request.method)",
    "TYPED_CEL(request.headers['x-none'])",
    "TYPED_CEL(1.5)",
    "TYPED_CEL(duration('5400.25s'))",
    "TYPED_CEL(timestamp('2023-08-26T12:39:00-07:00'))",
    "UNIQUE_ID",
    "UPSTREAM_CLUSTER",
    "UPSTREAM_CLUSTER_RAW",
    "UPSTREAM_CONNECTION_ID",
    "UPSTREAM_CONNECTION_POOL_READY_DURATION",
    "UPSTREAM_HOST",
    "UPSTREAM_HOST_NAME",
    "UPSTREAM_HOST_NAME_WITHOUT_PORT",
    "UPSTREAM_LOCAL_DNS_SAN",
    "UPSTREAM_LOCAL_IP_SAN",
    "UPSTREAM_LOCAL_ADDRESS",
    "UPSTREAM_LOCAL_ADDRESS_WITHOUT_PORT",
    "UPSTREAM_LOCAL_PORT",
    "UPSTREAM_LOCAL_URI_SAN",
    "UPSTREAM_METADATA(heddle:workload)",
    "UPSTREAM_PEER_CERT",
    "UPSTREAM_PEER_CERT_V_END",
    "UPSTREAM_PEER_CERT_V_START",
    "UPSTREAM_PEER_CERT_V_START(%s)",
    "UPSTREAM_PEER_DNS_SAN",
    "UPSTREAM_PEER_IP_SAN",
    "UPSTREAM_PEER_SUBJECT",
    "UPSTREAM_PEER_ISSUER",
    "UPSTREAM_PEER_URI_SAN",
    "UPSTREAM_PROTOCOL",
    "UPSTREAM_REMOTE_ADDRESS",
    "UPSTREAM_REMOTE_ADDRESS_WITHOUT_PORT(12)",
    "UPSTREAM_REMOTE_PORT",
    "UPSTREAM_REQUEST_ATTEMPT_COUNT",
    "UPSTREAM_TLS_CIPHER",
    "UPSTREAM_TLS_VERSION",
    "UPSTREAM_TRANSPORT_FAILURE_REASON",
    "VIRTUAL_CLUSTER_NAME",
  ].map((operator) => [operator, `%${operator}%`]),
);

/** Envoy has no such operator, or keeps a state that needs a filter: told in the documentation. */
const notCompared: ReadonlySet<string> = new Set(["HEDDLE_DURATION", "FILTER_STATE"]);

/** Values that differ from run to run: their type and their shape are compared. */
const varying =
  /(?:DURATION|_TIME|_PORT$|(?:LOCAL|REMOTE)_ADDRESS$|_ID$|UPSTREAM_HOST$|UPSTREAM_HOST_NAME$)/;

const ownLength = "Envoy's codec adds the length of an empty answer of its own, ours its filter";
const timeLeft = "Envoy counts x-envoy-expected-rq-timeout-ms, which it adds for the upstream";

/** Why a field may differ, by request and field; struck off when it no longer does. */
const accepted: Readonly<Record<string, string>> = {
  "plain: REQUEST_HEADERS_BYTES": timeLeft,
  "post: REQUEST_HEADERS_BYTES": timeLeft,
  "refused connection: REQUEST_HEADERS_BYTES": timeLeft,
  "error: REQUEST_HEADERS_BYTES": timeLeft,
  "no route: RESP(CONTENT-LENGTH)": ownLength,
  "no route: RESPONSE_HEADER(X-NONE?CONTENT-LENGTH)": ownLength,
  "no route: RESPONSE_HEADERS_BYTES": ownLength,
  "refused connection: UPSTREAM_CONNECTION_POOL_READY_DURATION":
    "the pool was never ready: Envoy tells when it gave up",
};

const nested = {
  "a literal": "text",
  mixed: "%PROTOCOL% %RESPONSE_CODE% %REQ(X-NONE)%",
  number: 7.5,
  yes: true,
  nothing: null,
  list: ["%RESPONSE_CODE%", { deep: "%REQ(X-NONE)%", code: "%RESPONSE_CODE%" }],
  object: { none: "%REQ(X-NONE)%" },
};

/** The varying ones cannot be told apart in one line of text. */
const text = `${Object.entries(formats)
  .filter(([operator]) => !isVarying(operator))
  .map(([, format]) => format)
  .join("|")}\n`;

function isVarying(operator: string): boolean {
  return varying.test(operator.split("(")[0] ?? "");
}

const cel = `${extensions}.access_loggers.filters.cel.v3.ExpressionFilter`;
const expression = (text: string) => ({
  extension_filter: { name: "cel", typed_config: { "@type": cel, expression: text } },
});
const comparison = (op: string, value: number) => ({
  comparison: { op, value: { default_value: value, runtime_key: "none" } },
});

/** By name: which requests an entry is written for. */
const filters: Readonly<Record<string, unknown>> = {
  cel: expression("response.code >= 400 && request.url_path != '/fails'"),
  "cel-fails": expression("request.headers['x-none'] == 'x'"),
  status: { status_code_filter: comparison("GE", 400) },
  "status-ne": { status_code_filter: comparison("NE", 200) },
  duration: { duration_filter: comparison("GE", 60_000) },
  flags: { response_flag_filter: { flags: ["NR", "UF"] } },
  "any-flag": { response_flag_filter: {} },
  all: { runtime_filter: { runtime_key: "a", percent_sampled: { numerator: 100 } } },
  none: { runtime_filter: { runtime_key: "a", percent_sampled: { numerator: 0 } } },
  share: {
    runtime_filter: {
      runtime_key: "a",
      percent_sampled: { numerator: 5000, denominator: "TEN_THOUSAND" },
    },
  },
  and: {
    and_filter: {
      filters: [
        { status_code_filter: comparison("GE", 400) },
        { response_flag_filter: { flags: ["UF"] } },
      ],
    },
  },
  or: {
    or_filter: {
      filters: [
        { status_code_filter: comparison("EQ", 200) },
        { header_filter: { header: { name: ":method", string_match: { exact: "POST" } } } },
      ],
    },
  },
};

function bootstrap(application: number, closed: number): (place: Place) => string {
  return ({ ports, logFile }) => {
    const file = (format: unknown, filter?: unknown) => ({
      name: "envoy.access_loggers.file",
      ...(filter === undefined ? {} : { filter }),
      typed_config: {
        "@type": `${extensions}.access_loggers.file.v3.FileAccessLog`,
        path: logFile,
        ...(format === undefined ? {} : { log_format: format }),
      },
    });
    const withoutQuery = `${extensions}.formatter.req_without_query.v3.ReqWithoutQuery`;
    const formatters = [{ name: "any", typed_config: { "@type": withoutQuery } }];
    const inline = { text_format_source: { inline_string: text }, formatters };
    const json = { json_format: { ...formats, nested }, formatters };
    const filtered = Object.entries(filters).map(([name, filter]) =>
      file({ text_format_source: { inline_string: `${name}\n` } }, filter),
    );
    return JSON.stringify({
      static_resources: {
        clusters: [cluster("app", application), cluster("refused", closed)],
        listeners: [
          listener("mesh", ports.mesh, [file(json)]),
          listener("edge", ports.edge, [file({ ...json, omit_empty_values: true })]),
          listener("behind", ports.behind, [file(inline)]),
          listener("client", ports.client, [file({ ...inline, omit_empty_values: true })]),
          listener("server", ports.server, filtered),
        ],
      },
    });
  };
}

function cluster(name: string, port: number): unknown {
  const address = { socket_address: { address: "127.0.0.1", port_value: port } };
  const metadata = { filter_metadata: { heddle: { workload: `${name}-1` } } };
  const nestedMetadata = { port: 80, list: [1, "x"] };
  return {
    name,
    connect_timeout: "1s",
    type: "STATIC",
    metadata: { filter_metadata: { heddle: { service: name, nested: nestedMetadata } } },
    load_assignment: {
      cluster_name: name,
      endpoints: [{ lb_endpoints: [{ metadata, endpoint: { address } }] }],
    },
  };
}

function listener(name: string, port: number, logs: readonly unknown[]): unknown {
  const route = (prefix: string, to: string) => ({
    match: { prefix },
    name: `route-${to}`,
    route: { cluster: to },
  });
  const manager = {
    "@type": `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`,
    stat_prefix: name,
    access_log: logs,
    route_config: {
      name,
      // Its digits would be counted among the bytes of the head.
      response_headers_to_remove: ["x-envoy-upstream-service-time"],
      virtual_hosts: [
        {
          name: "all",
          domains: ["a.test"],
          routes: [route("/fails", "refused"), route("/", "app")],
        },
      ],
    },
    http_filters: [
      {
        name: "envoy.filters.http.router",
        typed_config: { "@type": `${extensions}.filters.http.router.v3.Router` },
      },
    ],
  };
  return {
    name,
    address: { socket_address: { address: "127.0.0.1", port_value: port } },
    filter_chains: [
      {
        filters: [{ name: "envoy.filters.network.http_connection_manager", typed_config: manager }],
      },
    ],
  };
}

const lines = (...all: string[]): string => `${all.join("\r\n")}\r\n\r\n`;

/** By name: what is asked. */
const requests: Readonly<Record<string, string>> = {
  plain: lines(
    "GET /ok?q=1&b=%C3%A9&q=2 HTTP/1.1",
    "host: a.test",
    "user-agent: curl/8",
    "x-utf8: é",
  ),
  post: `${lines("POST /ok HTTP/1.1", "host: a.test", "content-length: 5")}hello`,
  "no route": lines("GET /x HTTP/1.1", "host: elsewhere.test"),
  "refused connection": lines("GET /fails HTTP/1.1", "host: a.test"),
  error: lines("GET /error HTTP/1.1", "host: a.test"),
};

let application: ScenarioApplication | undefined;
let heddle: RunningData | undefined;
let envoy: RunningData | undefined;

before(async () => {
  application = await startApplication();
  const texts = bootstrap(application.port, await freePort());
  heddle = await runHeddle(texts, application, { io: "portable", workers: 0 });
  const binary = findEnvoy();
  if (binary !== undefined) envoy = await runEnvoy(binary, texts, application);
});

after(async () => {
  await heddle?.close();
  await envoy?.close();
  application?.close();
});

/** The entries that a request leaves with each data plane. */
async function entries(door: Door, name: string): Promise<readonly (readonly string[])[]> {
  assert.ok(envoy !== undefined, "no Envoy at hand: npm test installs one, or set HEDDLE_ENVOY");
  assert.ok(heddle !== undefined);
  const request = Buffer.from(requests[name] ?? "").toString("latin1");
  const { log: ours } = await heddle.ask(door, request, undefined);
  // Each draws for itself.
  const sure = ours.filter((line) => line !== "share");
  return [ours, (await envoy.ask(door, request, undefined, sure.length)).log];
}

/** Fields of an entry, the varying ones as `number` or with every digit as 9. */
function fieldsOf(line: string | undefined): Record<string, unknown> {
  const entry: Record<string, unknown> = JSON.parse(line ?? "{}");
  return Object.fromEntries(
    Object.entries(entry).map(([name, value]) => {
      if (!isVarying(name)) return [name, value];
      if (typeof value === "number") return [name, "number"];
      return [name, typeof value === "string" ? value.replaceAll(/\d+/g, "9") : value];
    }),
  );
}

for (const door of ["mesh", "edge"] as const) {
  for (const name of Object.keys(requests)) {
    test(`operators in JSON ${door === "edge" ? "without empty values " : ""}of: ${name}`, async () => {
      const [[ours], [theirs]] = (await entries(door, name)) as [string[], string[]];
      const expected = fieldsOf(theirs);
      const actual = fieldsOf(ours);
      for (const field of Object.keys({ ...actual, ...expected })) {
        if (accepted[`${name}: ${field}`] === undefined) continue;
        assert.notDeepEqual(actual[field], expected[field], `${field} no longer differs`);
        delete actual[field];
        delete expected[field];
      }
      assert.deepEqual(actual, expected);
    });
  }
}

for (const door of ["behind", "client"] as const) {
  for (const name of Object.keys(requests)) {
    test(`operators in text ${door === "client" ? "without empty values " : ""}of: ${name}`, async () => {
      const [ours = [], theirs = []] = await entries(door, name);
      const operators = Object.keys(formats).filter((operator) => !isVarying(operator));
      const named = (line: string | undefined) =>
        Object.fromEntries(
          (line ?? "")
            .split("|")
            .map((value, i) => [operators[i], value])
            .filter(([operator]) => accepted[`${name}: ${operator}`] === undefined),
        );
      assert.deepEqual(named(ours[0]), named(theirs[0]));
    });
  }
}

test("filters let the same entries through", async () => {
  for (const name of Object.keys(requests)) {
    const [ours = [], theirs = []] = await entries("server", name);
    const isDrawn = (line: string): boolean => line !== "share";
    assert.deepEqual(ours.filter(isDrawn), theirs.filter(isDrawn), name);
  }
  // The same ids, so the same draw.
  for (const digit of "0123456789abcdef") {
    const id = `0000000${digit}-0000-4000-8000-000000000000`;
    const lines = [`GET /ok HTTP/1.1`, "host: a.test", `x-request-id: ${id}`, "", ""];
    const request = lines.join("\r\n");
    const ours = await heddle?.ask("server", request, undefined);
    const theirs = await envoy?.ask("server", request, undefined, ours?.log.length);
    assert.deepEqual(ours?.log.includes("share"), theirs?.log.includes("share"), id);
  }
});

test("every operator is compared", () => {
  const compared = new Set(Object.keys(formats).map((operator) => operator.split("(")[0] ?? ""));
  const missing = operatorNames.filter((name) => !compared.has(name) && !notCompared.has(name));
  assert.deepEqual(missing, []);
});
