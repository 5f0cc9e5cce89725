/**
 * Samplers and resource detectors of OpenTelemetry, exporting over HTTP, over one file under Heddle's data
 * plane (both I/O backends, and data workers) and under Envoy: what the next hop is told of a trace, and
 * which spans a collector gets, of whom.
 */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import http from "node:http";
import { after, before, test } from "node:test";

import { ExportTraceServiceRequest } from "../../../src/wire/gen/ts/opentelemetry/proto/collector/trace/v1/trace_service.ts";
import { type Collector, startCollector, until } from "./collector.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const samplers = "type.googleapis.com/envoy.extensions.tracers.opentelemetry.samplers.v3";
const detectors =
  "type.googleapis.com/envoy.extensions.tracers.opentelemetry.resource_detectors.v3";

const ratio = (numerator: number, denominator: string): string =>
  `{name: ratio, typed_config: {"@type": ${samplers}.TraceIdRatioBasedSamplerConfig, sampling_percentage: {numerator: ${numerator}, denominator: ${denominator}}}}`;
const parentBased = (wrapped: string): string =>
  `{name: parent, typed_config: {"@type": ${samplers}.ParentBasedSamplerConfig, wrapped_sampler: ${wrapped}}}`;
const always = `{name: always, typed_config: {"@type": ${samplers}.AlwaysOnSamplerConfig}}`;

/** By door. */
const settings = {
  always: `sampler: ${always}`,
  never: `sampler: ${ratio(0, "HUNDRED")}`,
  half: `sampler: ${ratio(50, "HUNDRED")}`,
  some: `sampler: ${ratio(300_000, "MILLION")}`,
  parent: `sampler: ${parentBased(ratio(5000, "TEN_THOUSAND"))}`,
  "parent-always": `sampler: ${parentBased(always)}`,
  undrawn: `sampler: ${always}`,
  plain: "max_cache_size: 1024",
  "plain-undrawn": "max_cache_size: 1024",
  detected: `sampler: ${always}, resource_detectors: [{name: environment, typed_config: {"@type": ${detectors}.EnvironmentResourceDetectorConfig}}, {name: static, typed_config: {"@type": ${detectors}.StaticConfigResourceDetectorConfig, attributes: {own: static, both: static, empty: ""}}}]`,
} as const;
type Door = keyof typeof settings;
const doors: readonly Door[] = Object.keys(settings).filter((name): name is Door =>
  Object.hasOwn(settings, name),
);

type Ports = { readonly [door in Door]: number };

function bootstrap(
  ports: Ports,
  plane: string,
  to: { readonly posts: number; readonly application: number },
): string {
  const type = "type.googleapis.com/envoy.extensions";
  const cluster = (name: string, port: number): string =>
    `{name: ${name}, type: STATIC, connect_timeout: 1s, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]}}`;
  const provider = (door: Door): string =>
    `{name: envoy.tracers.opentelemetry, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, service_name: "${plane}", http_service: {http_uri: {uri: "http://spans.test/${plane}/${door}", cluster: posts, timeout: 5s}, request_headers_to_add: [{header: {key: x-token, value: secret}}]}, ${settings[door]}}}`;
  const listener = (door: Door): string => `
  - name: ${door}
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports[door]}}}
    traffic_direction: INBOUND
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": ${type}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          tracing: {random_sampling: {value: ${door.endsWith("undrawn") ? 0 : 100}}, custom_tags: [{tag: scenario, request_header: {name: x-scenario}}], provider: ${provider(door)}}
          http_filters: [{name: router, typed_config: {"@type": ${type}.filters.http.router.v3.Router}}]
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: app}}]}]}`;
  return `
${plane === label("envoy") ? "layered_runtime: {layers: [{name: now, static_layer: {tracing.opentelemetry.min_flush_spans: 1}}]}\n" : ""}static_resources:
  clusters:
  - ${cluster("app", to.application)}
  - ${cluster("posts", to.posts)}
  listeners:${doors.map(listener).join("")}
`;
}

let collector: Collector;
let planes: Planes<Door>;
let application: http.Server;
/** `traceparent` that the application has got, by plane and scenario. */
const told = new Map<string, string>();
const asked = ["envoy", ...planeNames] as const;
const label = (plane: PlaneName): string => `of-${plane.replace(" ", "-")}`;

before(async () => {
  process.env["OTEL_RESOURCE_ATTRIBUTES"] = "own.env=of env,both=environment,bad,a=b=c,x=";
  collector = await startCollector();
  application = http.createServer(({ headers }, answer) => {
    told.set(String(headers["x-scenario"]), String(headers["traceparent"]));
    answer.end("ok");
  });
  await new Promise<void>((resolve) => application.listen(0, "127.0.0.1", resolve));
  const address = application.address();
  assert.ok(typeof address === "object" && address !== null);
  const to = { posts: collector.httpPort, application: address.port };
  const order = [...planeNames, "envoy"] as const;
  let made = 0;
  planes = await startPlanes(doors, (ports) =>
    bootstrap(ports, label(order[made++] ?? "envoy"), to),
  );
});

after(async () => {
  delete process.env["OTEL_RESOURCE_ATTRIBUTES"];
  await planes?.close();
  application?.close();
  await collector?.close();
});

async function ask(plane: PlaneName, door: Door, scenario: string, more: object): Promise<void> {
  const headers = { host: "shop.test", "x-scenario": `${plane} ${scenario}`, ...more };
  await new Promise<void>((resolve, reject) => {
    http
      .get({ host: "127.0.0.1", port: planes.port(plane, door), headers, agent: false }, (answer) =>
        answer.resume().on("end", resolve),
      )
      .on("error", reject);
  });
}

/** Drawn once for all: what they mean is the samplers' to say. */
const traceIds = Array.from({ length: 40 }, (_, i) =>
  createHash("md5").update(`trace ${i}`).digest("hex"),
);

/** Which of the traces go on as sampled, by what their caller has said. */
async function sampledBy(plane: PlaneName, door: Door, flags: string): Promise<readonly boolean[]> {
  const decisions: boolean[] = [];
  for (const traceId of traceIds) {
    const scenario = `${door} ${flags} ${traceId}`;
    await ask(plane, door, scenario, { traceparent: `00-${traceId}-${"1".repeat(16)}-${flags}` });
    const traceparent = told.get(`${plane} ${scenario}`) ?? "";
    assert.ok(traceparent.startsWith(`00-${traceId}-`), `${plane} ${scenario}: ${traceparent}`);
    decisions.push(traceparent.endsWith("-01"));
  }
  return decisions;
}

for (const door of doors) {
  for (const flags of ["00", "01"]) {
    test(`the sampler of ${door} decides as Envoy's for a caller's ${flags}`, async () => {
      const expected = await sampledBy("envoy", door, flags);
      for (const plane of planeNames) {
        assert.deepEqual(await sampledBy(plane, door, flags), expected, plane);
      }
    });
  }
}

test("a sampler decides of traces that nobody has begun", async () => {
  const expected = { always: "01", never: "00", "parent-always": "01", undrawn: "00" } as const;
  for (const door of ["always", "never", "parent-always", "undrawn"] as const) {
    for (const plane of asked) {
      await ask(plane, door, `new ${door}`, {});
      const traceparent = told.get(`${plane} new ${door}`) ?? "";
      assert.match(traceparent, /^00-[0-9a-f]{32}-[0-9a-f]{16}-0[01]$/);
      assert.equal(traceparent.slice(-2), expected[door], `${plane} ${door}`);
    }
  }
});

/** Attributes of the proxy that sent a span of this scenario, without those that name its make. */
async function resourceOf(plane: PlaneName, scenario: string): Promise<unknown> {
  const found = await until(
    () =>
      collector.posts
        .filter(({ path }) => path === `/${label(plane)}/detected`)
        .map((post) => ({ post, ...ExportTraceServiceRequest.decode(post.body) }))
        .find(({ resourceSpans }) =>
          JSON.stringify(
            resourceSpans.map(({ scopeSpans }) => scopeSpans),
            plainly,
          ).includes(scenario),
        ),
    () => scenario,
  );
  assert.equal(found.post.headers["x-token"], "secret");
  assert.equal(found.post.headers["content-type"], "application/x-protobuf");
  assert.equal(found.post.headers.host, "spans.test");
  const attributes = found.resourceSpans[0]?.resource?.attributes ?? [];
  return Object.fromEntries(
    attributes
      .filter(({ key }) => !key.startsWith("telemetry.sdk."))
      .map(({ key, value }) => [key, key === "service.name" ? "" : value?.stringValue]),
  );
}

function plainly(_: string, value: unknown): unknown {
  return typeof value === "bigint" ? String(value) : value;
}

test("detectors say who sends spans, as Envoy's", async () => {
  for (const plane of asked) await ask(plane, "detected", "who", {});
  const expected = await resourceOf("envoy", "envoy who");
  assert.partialDeepStrictEqual(expected, { own: "static", both: "static", "own.env": "of env" });
  for (const plane of planeNames) {
    assert.deepEqual(await resourceOf(plane, `${plane} who`), expected, plane);
  }
});
