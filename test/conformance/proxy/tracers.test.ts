/**
 * Tracers over one file, under Heddle's data plane (both I/O backends, and data workers) and under Envoy:
 * what a collector gets, and what the next hop is told.
 */
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";

import { ExportTraceServiceRequest } from "../../../src/wire/gen/ts/opentelemetry/proto/collector/trace/v1/trace_service.ts";
import { type Collector, startCollector, until } from "./collector.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const doors = ["in", "out", "apart", "long", "both", "off", "otlp"] as const;
type Door = (typeof doors)[number];
type Ports = { readonly [door in Door]: number };

const type = "type.googleapis.com/envoy.extensions";
const config = "type.googleapis.com/envoy.config.trace.v3";

const tags = [
  "{tag: c.literal, literal: {value: as it is}}",
  "{tag: c.header, request_header: {name: X-User, default_value: nobody}}",
  "{tag: c.scenario, request_header: {name: X-Scenario, default_value: none}}",
  "{tag: c.env, environment: {name: HEDDLE_TEST_VARIABLE, default_value: none}}",
  "{tag: c.env.none, environment: {name: HEDDLE_NO_VARIABLE, default_value: none}}",
  "{tag: c.route, metadata: {kind: {route: {}}, metadata_key: {key: own, path: [{key: a}]}, default_value: none}}",
].join(", ");

/** Envoy sends what it has every five seconds, unless its runtime says otherwise. */
const atOnce =
  "layered_runtime: {layers: [{name: now, static_layer: {tracing.zipkin.min_flush_spans: 1, tracing.opentelemetry.min_flush_spans: 1}}]}\n";

function bootstrap(
  ports: Ports,
  plane: string,
  to: { readonly grpc: number; readonly posts: number; readonly application: number },
): string {
  const cluster = (name: string, port: number, more = ""): string =>
    `{name: ${name}, type: STATIC, connect_timeout: 1s, ${more}load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]}}`;
  const http2 = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": ${type}.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}, `;
  const zipkin = (door: Door, more: string): string =>
    `{name: envoy.tracers.zipkin, typed_config: {"@type": ${config}.ZipkinConfig, collector_cluster: posts, collector_endpoint: "/${plane}/${door}", collector_endpoint_version: HTTP_JSON${more}}}`;
  const otlp = `{name: envoy.tracers.opentelemetry, typed_config: {"@type": ${config}.OpenTelemetryConfig, service_name: "${plane}", grpc_service: {envoy_grpc: {cluster_name: spans}, initial_metadata: [{key: X-Token, value: secret}]}}}`;
  const listener = (door: Door, direction: string, provider: string, more = ""): string => `
  - name: ${door}
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports[door]}}}
    traffic_direction: ${direction}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": ${type}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          generate_request_id: true
          tracing: {custom_tags: [${tags}], max_path_tag_length: 12, ${more}provider: ${provider}}
          http_filters: [{name: router, typed_config: {"@type": ${type}.filters.http.router.v3.Router}}]
          route_config:
            virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /direct}, direct_response: {status: 503}}, {match: {prefix: /named}, decorator: {operation: named}, route: {cluster: app, timeout: 0s}}, {match: {prefix: /}, metadata: {filter_metadata: {own: {a: of-route}}}, route: {cluster: app, timeout: 0s}}]}]`;
  return `
node: {id: own-node, cluster: own-cluster, locality: {zone: own-zone}}
${plane === label("envoy") ? atOnce : ""}static_resources:
  clusters:
  - ${cluster("app", to.application)}
  - ${cluster("posts", to.posts)}
  - ${cluster("spans", to.grpc, http2)}
  listeners:${listener("in", "INBOUND", zipkin("in", ", collector_hostname: zipkin.test"))}${listener(
    "out",
    "OUTBOUND",
    zipkin("out", ""),
    "verbose: true, ",
  )}${listener("apart", "INBOUND", zipkin("apart", ", shared_span_context: false"))}${listener(
    "long",
    "INBOUND",
    zipkin("long", ", trace_id_128bit: true"),
    "spawn_upstream_span: true, verbose: true, ",
  )}${listener(
    "both",
    "OUTBOUND",
    zipkin("both", ", trace_context_option: USE_B3_WITH_W3C_PROPAGATION"),
  )}${listener(
    "off",
    "OUTBOUND",
    zipkin("off", ""),
    "random_sampling: {value: 0}, client_sampling: {value: 100}, ",
  )}${listener("otlp", "INBOUND", otlp, "verbose: true, ")}
`;
}

let collector: Collector;
let planes: Planes<Door>;
let application: http.Server;
/** Heads that the application has got, by plane and scenario. */
const heads = new Map<string, http.IncomingHttpHeaders>();
const label = (plane: PlaneName): string => `of-${plane.replace(" ", "-")}`;

before(async () => {
  process.env["HEDDLE_TEST_VARIABLE"] = "of the process";
  collector = await startCollector();
  application = http.createServer((request, answer) => {
    heads.set(String(request.headers["x-scenario"]), request.headers);
    answer.writeHead(request.url === "/fails" ? 500 : 200).end("ok");
  });
  await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
  const address = application.address();
  assert.ok(typeof address === "object" && address !== null);
  const to = {
    grpc: collector.grpcPort,
    posts: collector.httpPort,
    application: address.port,
  };
  const order = [...planeNames, "envoy"] as const;
  let made = 0;
  planes = await startPlanes(doors, (ports) =>
    bootstrap(ports, label(order[made++] ?? "envoy"), to),
  );
  await askAll();
});

after(async () => {
  delete process.env["HEDDLE_TEST_VARIABLE"];
  await planes?.close();
  application?.close();
  await collector?.close();
});

async function ask(port: number, path: string, headers: object): Promise<number> {
  return await new Promise((resolve, reject) => {
    const to = { host: "127.0.0.1", port, path, headers: { host: "shop.test", ...headers } };
    http
      .get({ ...to, agent: false }, (answer) => {
        answer.resume().on("end", () => resolve(answer.statusCode ?? 0));
      })
      .on("error", reject);
  });
}

/** What is drawn or measured, by the place where it first came: equal ids stay equal. */
class Names {
  readonly #known = new Map<string, string>();

  of(value: unknown): unknown {
    if (typeof value !== "string" || value === "") return value;
    const known = this.#known.get(value) ?? `id${this.#known.size}`;
    this.#known.set(value, known);
    return `${known} of ${value.length}`;
  }
}

type Json = { readonly [key: string]: unknown };
const ids = new Set(["id", "traceId", "parentId"]);
const measured = new Set(["timestamp", "duration"]);

function named(span: Json, names: Names): Json {
  const entries = Object.entries(span).map(([key, value]): [string, unknown] => {
    if (ids.has(key)) return [key, names.of(value)];
    if (measured.has(key)) return [key, typeof value];
    return [key, value];
  });
  return Object.fromEntries(entries);
}

const b3Headers = ["x-b3-traceid", "x-b3-spanid", "x-b3-parentspanid", "b3"];

function nextHop(headers: http.IncomingHttpHeaders | undefined, names: Names): unknown {
  if (headers === undefined) return undefined;
  const found: Record<string, unknown> = {};
  for (const name of b3Headers) {
    if (headers[name] !== undefined) found[name] = names.of(headers[name]);
  }
  found["x-b3-sampled"] = headers["x-b3-sampled"];
  const parts = String(headers["traceparent"] ?? "").split("-");
  if (parts.length === 4) {
    found["traceparent"] = [parts[0], names.of(parts[1]), names.of(parts[2]), parts[3]];
  }
  return found;
}

interface Scenario {
  readonly name: string;
  readonly door: Door;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
  readonly spans: number;
}

const longPath = "/a-path-that-is-long?with=a-query";
const traceId = "463ac35c9f6413ad48485a3953bb6124";
const spanId = "a2fb4a1d1a96d312";
const multi = {
  "x-b3-traceid": traceId,
  "x-b3-spanid": spanId,
  "x-b3-parentspanid": "0020000000000001",
};

const scenarios: readonly Scenario[] = [
  { name: "starts a trace", door: "in", path: longPath, headers: { "x-user": "ann" }, spans: 1 },
  { name: "starts a trace at a client", door: "out", path: longPath, spans: 1 },
  { name: "starts a trace with a long id and two spans", door: "long", spans: 2 },
  {
    name: "shares the caller's span",
    door: "in",
    headers: { ...multi, "x-b3-sampled": "1" },
    spans: 1,
  },
  {
    name: "has a span below the caller's",
    door: "out",
    headers: { ...multi, "x-b3-sampled": "1" },
    spans: 1,
  },
  {
    name: "has a span of its own",
    door: "apart",
    headers: { ...multi, "x-b3-sampled": "true" },
    spans: 1,
  },
  {
    name: "joins a short trace",
    door: "out",
    headers: { "x-b3-traceid": "48485a3953bb6124", "x-b3-spanid": spanId },
    spans: 1,
  },
  {
    name: "reads one header",
    door: "in",
    headers: { b3: `${traceId}-${spanId}-1-0020000000000001` },
    spans: 1,
  },
  {
    name: "reads one header without a decision",
    door: "out",
    headers: { b3: `${traceId}-${spanId}` },
    spans: 1,
  },
  {
    name: "heeds a decision against it",
    door: "out",
    headers: { ...multi, "x-b3-sampled": "0" },
    spans: 0,
  },
  { name: "heeds a lone decision against it", door: "out", headers: { b3: "0" }, spans: 0 },
  {
    name: "joins a trace with two spans",
    door: "long",
    headers: { ...multi, "x-b3-sampled": "1" },
    spans: 2,
  },
  { name: "heeds a lone decision for it", door: "off", headers: { b3: "1" }, spans: 1 },
  {
    name: "heeds a caller's decision where nothing is drawn",
    door: "off",
    headers: { ...multi, "x-b3-sampled": "1" },
    spans: 1,
  },
  { name: "draws nothing", door: "off", spans: 0 },
  {
    name: "draws what its client traces",
    door: "off",
    headers: { "x-client-trace-id": "mine" },
    spans: 1,
  },
  {
    name: "does not trace what it cannot read",
    door: "in",
    headers: { "x-b3-traceid": "nonsense", "x-b3-spanid": spanId },
    spans: 0,
  },
  {
    name: "does not trace one header that it cannot read",
    door: "in",
    headers: { b3: "nonsense" },
    spans: 0,
  },
  {
    name: "joins a trace of W3C",
    door: "both",
    headers: { traceparent: `00-${traceId}-${spanId}-01` },
    spans: 1,
  },
  {
    name: "heeds a decision of W3C",
    door: "both",
    headers: { traceparent: `00-${traceId}-${spanId}-00` },
    spans: 0,
  },
  {
    name: "prefers B3 to W3C",
    door: "both",
    headers: { ...multi, traceparent: `00-${"1".repeat(32)}-${"2".repeat(16)}-01` },
    spans: 1,
  },
  { name: "starts a trace of both", door: "both", spans: 1 },
  {
    name: "does not read W3C unless told",
    door: "out",
    headers: { traceparent: `00-${traceId}-${spanId}-01` },
    spans: 1,
  },
  { name: "tells of a failure", door: "out", path: "/fails", spans: 1 },
  { name: "tells of an answer of the proxy's own", door: "in", path: "/direct", spans: 1 },
  { name: "has the name of its route", door: "in", path: "/named", spans: 1 },
  {
    name: "tells of gRPC",
    door: "in",
    headers: { "content-type": "application/grpc", "grpc-timeout": "1S" },
    spans: 1,
  },
];

const asked = ["envoy", ...planeNames] as const;

/** What each plane told a collector of each scenario, and the next hop. */
async function askAll(): Promise<void> {
  const zipkins = doors.filter((door) => door !== "otlp");
  for (const plane of asked) {
    for (const { name, door, path = "/", headers = {} } of scenarios) {
      const own = { ...headers, "x-scenario": `${plane} ${name}` };
      await ask(planes.port(plane, door), path, own);
    }
    // A marker behind them: what has not come before it was never told.
    for (const door of zipkins) {
      const marker = { b3: `${traceId}-${spanId}-1`, "x-scenario": "marker" };
      await ask(planes.port(plane, door), "/", marker);
    }
  }
  await until(
    () => {
      const missing = asked.flatMap((plane) =>
        zipkins.filter((door) => !told(plane, door).some((span) => scenarioOf(span) === "marker")),
      );
      return missing.length === 0 ? true : undefined;
    },
    () => "markers",
  );
}

function told(plane: PlaneName, door: Door): readonly Json[] {
  const where = `/${label(plane)}/${door}`;
  const posts = collector.posts.filter((post) => post.path === where);
  return posts.flatMap((post): Json[] => JSON.parse(post.body.toString("utf8")));
}

function scenarioOf(span: Json): unknown {
  const { tags: all } = span;
  return typeof all === "object" && all !== null
    ? Object.getOwnPropertyDescriptor(all, "c.scenario")?.value
    : undefined;
}

function zipkinOf(plane: PlaneName, { name, door, spans }: Scenario): unknown {
  const scenario = `${plane} ${name}`;
  const found = told(plane, door).filter((span) => scenarioOf(span) === scenario);
  assert.equal(found.length, spans, `${plane}: ${JSON.stringify(found)}`);
  const names = new Names();
  names.of(traceId);
  names.of(spanId);
  // The outer one first.
  const inOrder = found.toSorted((a, b) =>
    a["kind"] === b["kind"] ? 0 : a["kind"] === "SERVER" ? -1 : 1,
  );
  const hop = nextHop(heads.get(scenario), names);
  return masked({ hop, spans: inOrder.map((span) => named(span, names)) });
}

function masked(value: unknown): unknown {
  const text = JSON.stringify(value, (key: string, each: unknown) => {
    if (key === "guid:x-request-id") return "ID";
    if (key === "c.scenario") return "SCENARIO";
    if (key === "timestamp") return typeof each;
    if (key === "port" || key === "ipv4") return typeof each;
    if (key === "upstream_address") return typeof each;
    return each;
  });
  return JSON.parse(text.replaceAll(/127\.0\.0\.1:\d+/g, "ADDRESS"));
}

for (const scenario of scenarios) {
  test(`Zipkin ${scenario.name}, as Envoy`, () => {
    const [expected, ...ours] = asked.map((plane) => zipkinOf(plane, scenario));
    for (const [i, each] of ours.entries())
      assert.deepEqual(each, expected, `${planeNames[i]} (actual), Envoy`);
  });
}

test("Zipkin's collector is told its name", () => {
  for (const plane of asked) {
    const hosts = new Map(collector.posts.map(({ path, headers }) => [path, headers.host]));
    assert.equal(hosts.get(`/${label(plane)}/in`), "zipkin.test", plane);
    assert.equal(hosts.get(`/${label(plane)}/out`), "posts", plane);
  }
});

const events = [
  "last_downstream_rx_byte_received",
  "first_upstream_tx_byte_sent",
  "last_upstream_tx_byte_sent",
  "first_upstream_rx_byte_received",
  "last_upstream_rx_byte_received",
  "first_downstream_tx_byte_sent",
  "last_downstream_tx_byte_sent",
];

test("OpenTelemetry over gRPC brings spans to a collector, as Envoy", async () => {
  for (const plane of ["envoy", ...planeNames] as const) {
    await ask(planes.port(plane, "otlp"), "/a-path-that-is-long", {
      traceparent: `00-${traceId}-${spanId}-01`,
    });
    const call = await until(
      () => collector.calls.find((one) => Buffer.from(one.message).includes(label(plane))),
      () => plane,
    );
    assert.equal(call.metadata, "secret", plane);
    const { resourceSpans } = ExportTraceServiceRequest.decode(call.message);
    const span = resourceSpans[0]?.scopeSpans[0]?.spans[0];
    assert.equal(Buffer.from(span?.traceId ?? []).toString("hex"), traceId, plane);
    assert.equal(Buffer.from(span?.parentSpanId ?? []).toString("hex"), spanId, plane);
    const texts = new Map(span?.attributes.map(({ key, value }) => [key, value?.stringValue]));
    assert.equal(texts.get("c.env"), "of the process", plane);
    assert.equal(texts.get("c.route"), "of-route", plane);
    const isOurs = plane !== "envoy";
    const url = texts.get(isOurs ? "url.path" : "http.url");
    assert.match(url ?? "", /\/a-path-that$/, plane);
    if (isOurs)
      assert.deepEqual(
        span?.events.map(({ name }) => name),
        events,
        plane,
      );
  }
});
