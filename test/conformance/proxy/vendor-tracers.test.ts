/**
 * Datadog and SkyWalking over one file, under Heddle's data plane (both I/O backends, and data workers)
 * and under Envoy: what their collectors get, and what the next hop is told.
 */
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";

import { formatSw8, parseSw8 } from "../../../src/telemetry/skywalking.ts";
import { type Collector, startCollector, type Tree, treeOf, until } from "./collector.ts";
import { readMsgpack } from "../../support/msgpack-reader.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const doors = ["dd-in", "dd-out", "sw-in", "sw-two"] as const;
type Door = (typeof doors)[number];
type Ports = { readonly [door in Door]: number };

const type = "type.googleapis.com/envoy.extensions";
const config = "type.googleapis.com/envoy.config.trace.v3";
const tags = [
  "{tag: c.literal, literal: {value: as it is}}",
  "{tag: c.scenario, request_header: {name: X-Scenario, default_value: none}}",
].join(", ");

function bootstrap(
  ports: Ports,
  to: { readonly grpc: number; readonly posts: number; readonly application: number },
): string {
  const cluster = (name: string, port: number, more = ""): string =>
    `{name: ${name}, type: STATIC, connect_timeout: 1s, ${more}load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]}}`;
  const http2 = `typed_extension_protocol_options: {envoy.extensions.upstreams.http.v3.HttpProtocolOptions: {"@type": ${type}.upstreams.http.v3.HttpProtocolOptions, explicit_http_config: {http2_protocol_options: {}}}}, `;
  const datadog = `{name: envoy.tracers.datadog, typed_config: {"@type": ${config}.DatadogConfig, collector_cluster: posts, collector_hostname: agent.test, service_name: shop}}`;
  const skywalking = `{name: envoy.tracers.skywalking, typed_config: {"@type": ${config}.SkyWalkingConfig, grpc_service: {envoy_grpc: {cluster_name: spans}}, client_config: {service_name: shop, backend_token: secret}}}`;
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
          tracing: {custom_tags: [${tags}], ${more}provider: ${provider}}
          http_filters: [{name: router, typed_config: {"@type": ${type}.filters.http.router.v3.Router}}]
          route_config:
            virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /direct}, direct_response: {status: 503}}, {match: {prefix: /named}, decorator: {operation: named}, route: {cluster: app, timeout: 0s}}, {match: {prefix: /}, route: {cluster: app, timeout: 0s}}]}]`;
  return `
node: {id: own-node, cluster: own-cluster, locality: {zone: own-zone}}
static_resources:
  clusters:
  - ${cluster("app", to.application)}
  - ${cluster("posts", to.posts)}
  - ${cluster("spans", to.grpc, http2)}
  listeners:${listener("dd-in", "INBOUND", datadog)}${listener(
    "dd-out",
    "OUTBOUND",
    datadog,
    "spawn_upstream_span: true, ",
  )}${listener("sw-in", "INBOUND", skywalking)}${listener(
    "sw-two",
    "OUTBOUND",
    skywalking,
    "spawn_upstream_span: true, ",
  )}
`;
}

interface Scenario {
  readonly name: string;
  readonly door: Door;
  readonly path?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

const datadogCaller = { "x-datadog-trace-id": "81985529216486895", "x-datadog-parent-id": "4660" };
const sw8 = formatSw8({
  traceId: "their-trace",
  segmentId: "their-segment",
  spanId: 3,
  service: "theirs",
  instance: "their-0",
  endpoint: "/before",
  address: "shop.test:80",
});

const datadogs: readonly Scenario[] = [
  { name: "starts a trace", door: "dd-in" },
  { name: "starts a trace with two spans", door: "dd-out" },
  {
    name: "joins a trace",
    door: "dd-in",
    headers: { ...datadogCaller, "x-datadog-sampling-priority": "1" },
  },
  {
    name: "joins a long trace",
    door: "dd-in",
    headers: {
      ...datadogCaller,
      "x-datadog-sampling-priority": "1",
      "x-datadog-tags": "_dd.p.tid=640cfd8d00000000",
    },
  },
  {
    name: "joins a trace of W3C",
    door: "dd-in",
    headers: { traceparent: "00-463ac35c9f6413ad48485a3953bb6124-a2fb4a1d1a96d312-01" },
  },
  { name: "tells of an answer of the proxy's own", door: "dd-in", path: "/direct" },
  { name: "has the name of its route", door: "dd-in", path: "/named" },
];

const skywalkings: readonly Scenario[] = [
  { name: "starts a trace", door: "sw-in", path: "/a?b" },
  { name: "starts a trace with two spans", door: "sw-two", path: "/a?b" },
  { name: "joins a trace", door: "sw-in", headers: { sw8 } },
  { name: "joins a trace with two spans", door: "sw-two", headers: { sw8 } },
  { name: "tells of an answer of the proxy's own", door: "sw-in", path: "/direct" },
  { name: "has the name of its route", door: "sw-in", path: "/named" },
];

let collector: Collector;
let planes: Planes<Door>;
let application: http.Server;
const heads = new Map<string, http.IncomingHttpHeaders>();
const asked = ["envoy", ...planeNames] as const;

before(async () => {
  collector = await startCollector();
  application = http.createServer((request, answer) => {
    heads.set(String(request.headers["x-scenario"]), request.headers);
    answer.end("ok");
  });
  await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
  const address = application.address();
  assert.ok(typeof address === "object" && address !== null);
  const to = {
    grpc: collector.grpcPort,
    posts: collector.httpPort,
    application: address.port,
  };
  planes = await startPlanes(doors, (ports) => bootstrap(ports, to));
  for (const plane of asked) {
    for (const scenario of datadogs) await ask(plane, "datadog", scenario);
    for (const scenario of skywalkings) await ask(plane, "skywalking", scenario);
  }
});

after(async () => {
  await planes?.close();
  application?.close();
  await collector?.close();
});

async function ask(plane: PlaneName, tracer: string, scenario: Scenario): Promise<void> {
  const { name, door, path = "/", headers = {} } = scenario;
  const own = { ...headers, host: "shop.test", "x-scenario": `${plane} ${tracer} ${name}` };
  const to = { host: "127.0.0.1", port: planes.port(plane, door), path, headers: own };
  await new Promise<void>((resolve, reject) => {
    http
      .get({ ...to, agent: false }, (answer) => answer.resume().on("end", resolve))
      .on("error", reject);
  });
}

/** What is drawn, by the place where it first came: equal ids stay equal. */
class Names {
  readonly #known = new Map<string, string>();

  of(value: string | undefined): string | undefined {
    if (value === undefined || value === "" || value === "0") return value;
    const known = this.#known.get(value) ?? `id${this.#known.size}`;
    this.#known.set(value, known);
    return known;
  }
}

interface DatadogSpan {
  readonly service: string;
  readonly name: string;
  readonly resource: string;
  readonly trace_id: bigint;
  readonly span_id: bigint;
  readonly parent_id: bigint;
  readonly error: bigint;
  readonly type: string;
  readonly meta: Readonly<Record<string, string>>;
  readonly metrics: Readonly<Record<string, number>>;
}

/** What libraries say of themselves. */
const ofLibraries = /^(?:_dd\.(?!p\.tid)|runtime-id|language|version|process_id|span\.kind|peer\.)/;

function masked(tags: Readonly<Record<string, unknown>>): Record<string, unknown> {
  return Object.fromEntries(
    Object.entries(tags)
      .filter(([key]) => !ofLibraries.test(key))
      .map(([key, value]): [string, unknown] => {
        if (key === "guid:x-request-id") return [key, "ID"];
        if (key === "c.scenario") return [key, "SCENARIO"];
        if (key === "upstream_address") return [key, "ADDRESS"];
        return [key, value];
      })
      .toSorted(([a], [b]) => (a < b ? -1 : 1)),
  );
}

function datadogTold(scenario: string): readonly DatadogSpan[] | undefined {
  const posts = collector.posts.filter(({ path }) => path === "/v0.4/traces");
  // Each is a list of traces, each of those a list of spans.
  const traces = posts.flatMap(({ body }) => readMsgpack(body) as DatadogSpan[][]);
  return traces.find((spans) => spans.some(({ meta }) => meta["c.scenario"] === scenario));
}

for (const { name } of datadogs) {
  test(`Datadog ${name}, as Envoy`, async () => {
    const told: unknown[] = [];
    for (const plane of asked) {
      const scenario = `${plane} datadog ${name}`;
      const spans = await until(
        () => datadogTold(scenario),
        () => scenario,
      );
      const names = new Names();
      const inOrder = spans.toSorted((a, b) => Number("egress" in a) - Number("egress" in b));
      told.push({
        spans: inOrder.map((span) => ({
          ...span,
          start: typeof Object.entries(span).find(([key]) => key === "start")?.[1],
          duration: "DURATION",
          trace_id: names.of(String(span.trace_id)),
          span_id: names.of(String(span.span_id)),
          parent_id: names.of(String(span.parent_id)),
          error: Number(span.error),
          meta: {
            ...masked(span.meta),
            ...("_dd.p.tid" in span.meta ? { "_dd.p.tid": names.of(span.meta["_dd.p.tid"]) } : {}),
          },
          metrics: masked(span.metrics),
        })),
        hop: datadogHop(heads.get(scenario), names),
      });
    }
    const [expected, ...ours] = told;
    for (const [i, each] of ours.entries())
      assert.deepEqual(each, expected, `${planeNames[i]} (actual), Envoy`);
  });
}

function datadogHop(headers: http.IncomingHttpHeaders | undefined, names: Names): unknown {
  if (headers === undefined) return undefined;
  const { traceparent = "" } = headers;
  const [version, , span, flags] = String(traceparent).split("-");
  const parent = String(headers["x-datadog-parent-id"]);
  return {
    trace: names.of(String(headers["x-datadog-trace-id"])),
    parent: names.of(parent),
    isSame: BigInt(`0x${span}`) === BigInt(parent),
    priority: headers["x-datadog-sampling-priority"],
    traceparent: [version, flags],
  };
}

test("Datadog's agent is told where, and how many spans", async () => {
  await until(
    () => datadogTold(`portable datadog ${datadogs.at(-1)?.name}`),
    () => "the last",
  );
  for (const { path, headers } of collector.posts) {
    if (path !== "/v0.4/traces") continue;
    assert.equal(headers.host, "agent.test");
    assert.equal(headers["content-type"], "application/msgpack");
  }
});

function segmentOf(scenario: string): { tree: Tree; token: string | undefined } | undefined {
  for (const { message, token } of collector.segments) {
    const tree = treeOf(message);
    // The whole value of a tag: names begin alike.
    if (tree !== undefined && JSON.stringify(tree).includes(`"${scenario}"`))
      return { tree, token };
  }
  return undefined;
}

function textOf(tree: Tree, field: string): string {
  const [value = ""] = tree[field] ?? [];
  return typeof value === "object" ? JSON.stringify(value) : String(value);
}

const spanFields = { start: "3", end: "4", tags: "12" };

function spansOf(tree: Tree): unknown {
  return (tree["3"] ?? []).map((span) => {
    if (typeof span !== "object") return span;
    const { [spanFields.start]: _, [spanFields.end]: __, [spanFields.tags]: all, ...rest } = span;
    const told = (all ?? []).map((pair): [string, unknown] =>
      typeof pair === "object" ? [textOf(pair, "1"), pair["2"]?.[0]] : ["?", pair],
    );
    // Envoy writes what is nothing, too.
    const some = Object.entries(rest).filter(([, values]) => !values.every(isNothing));
    return { ...Object.fromEntries(some), tags: masked(Object.fromEntries(told)) };
  });
}

function isNothing(value: unknown): boolean {
  return value === "" || value === 0;
}

for (const { name, door } of skywalkings) {
  test(`SkyWalking ${name}, as Envoy`, async () => {
    const told: unknown[] = [];
    for (const plane of asked) {
      const scenario = `${plane} skywalking ${name}`;
      const { tree, token } = await until(
        () => segmentOf(scenario),
        () => scenario,
      );
      const hop = parseSw8(String(heads.get(scenario)?.["sw8"]));
      const names = new Names();
      const text = JSON.stringify({
        token,
        trace: names.of(textOf(tree, "1")),
        segment: names.of(textOf(tree, "2")),
        service: tree["4"],
        instance: tree["5"],
        spans: spansOf(tree),
        hop:
          hop === undefined
            ? undefined
            : {
                ...hop,
                traceId: names.of(hop.traceId),
                segmentId: names.of(hop.segmentId),
                // Heddle tells the next hop before it knows the endpoint.
                address: "ADDRESS",
              },
      });
      told.push(JSON.parse(text.replaceAll(/127\.0\.0\.1:\d+/g, "ADDRESS")));
      if (door === "sw-two") assert.equal(hop?.spanId, 1, plane);
    }
    const [expected, ...ours] = told;
    for (const [i, each] of ours.entries())
      assert.deepEqual(each, expected, `${planeNames[i]} (actual), Envoy`);
  });
}
