/**
 * Custom tags of spans and their names, over one file, under Heddle's data plane (both I/O backends,
 * and data workers) and under Envoy: what a collector gets.
 */
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { ExportTraceServiceRequest } from "../../../src/wire/gen/ts/opentelemetry/proto/collector/trace/v1/trace_service.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

type Door = "one" | "two";

const extensions = "type.googleapis.com/envoy.extensions";
const key = (filter: string, ...path: readonly string[]): string =>
  `metadata_key: {key: ${filter}, path: [${path.map((one) => `{key: ${one}}`).join(", ")}]}`;

const tags = [
  "{tag: c.literal, literal: {value: as it is}}",
  "{tag: c.header, request_header: {name: X-User, default_value: nobody}}",
  "{tag: c.bare, request_header: {name: x-none}}",
  "{tag: c.host, request_header: {name: ':authority'}}",
  "{tag: c.format, value: '%REQ(:METHOD)% %RESPONSE_CODE% %PROTOCOL%'}",
  "{tag: c.nothing, value: '%REQ(x-none)%'}",
  `{tag: c.cluster, metadata: {kind: {cluster: {}}, ${key("own", "a", "b")}}}`,
  `{tag: c.number, metadata: {kind: {cluster: {}}, ${key("own", "n")}}}`,
  `{tag: c.truth, metadata: {kind: {cluster: {}}, ${key("own", "t")}}}`,
  `{tag: c.list, metadata: {kind: {cluster: {}}, ${key("own", "l")}}}`,
  `{tag: c.object, metadata: {kind: {cluster: {}}, ${key("own", "a")}}}`,
  `{tag: c.endpoint, metadata: {kind: {host: {}}, ${key("ep", "zone")}, default_value: none}}`,
  `{tag: c.request, metadata: {kind: {request: {}}, ${key("envoy.common", "access_log_hint")}, default_value: no}}`,
  `{tag: c.missing, metadata: {kind: {request: {}}, ${key("not", "there")}, default_value: missing}}`,
  `{tag: c.gone, metadata: {kind: {request: {}}, ${key("not", "there")}}}`,
];

function bootstrap(
  ports: { readonly [door in Door]: number },
  collector: { readonly port: number; readonly application: number },
  plane: string,
): string {
  const cluster = (name: string, port: number, metadata: string): string =>
    `{name: ${name}, type: STATIC, connect_timeout: 1s, metadata: {filter_metadata: {own: {a: {b: deep}, n: 1.5, t: true, l: [x, 2]}}}, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}${metadata}}]}]}}`;
  const listener = (name: Door, more: string): string => `
  - name: ${name}
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports[name]}}}
    traffic_direction: INBOUND
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": ${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          generate_request_id: true
          tracing:
            custom_tags: [${tags.join(", ")}]${more}
            provider:
              name: envoy.tracers.opentelemetry
              typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, service_name: test, http_service: {http_uri: {uri: "http://127.0.0.1/${plane}", cluster: collector, timeout: 1s}}}
          http_filters:
          - {name: hint, typed_config: {"@type": ${extensions}.filters.http.rbac.v3.RBAC, rules: {action: LOG, policies: {p: {permissions: [{url_path: {path: {prefix: /hint}}}], principals: [{any: true}]}}}}}
          - {name: router, typed_config: {"@type": ${extensions}.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /direct}, direct_response: {status: 201}}, {match: {prefix: /}, route: {cluster: app}}]}]`;
  return `
static_resources:
  clusters:
  - ${cluster("app", collector.application, ", metadata: {filter_metadata: {ep: {zone: z1}}}")}
  - ${cluster("collector", collector.port, "")}
  listeners:${listener("one", "")}${listener(
    "two",
    `
            spawn_upstream_span: true
            operation: "in %REQ(:PATH)% %REQ(x-user)%"
            upstream_operation: "out %UPSTREAM_CLUSTER%"`,
  )}
`;
}

/** By the plane that sent them. */
const spans = new Map<string, { readonly name: string; readonly tags: readonly string[] }[]>();
const servers: http.Server[] = [];
let planes: Planes<Door> | undefined;

async function serve(handler: http.RequestListener): Promise<number> {
  const server = http.createServer(handler);
  servers.push(server);
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  return address.port;
}

function collect(plane: string, body: Buffer): void {
  const { resourceSpans } = ExportTraceServiceRequest.decode(body);
  for (const { scopeSpans } of resourceSpans) {
    for (const span of scopeSpans.flatMap((scope) => scope.spans)) {
      const custom = span.attributes.filter((one) => one.key.startsWith("c."));
      const texts = custom.map((one) => `${one.key}=${one.value?.stringValue ?? "?"}`);
      const all = spans.get(plane) ?? [];
      spans.set(plane, [...all, { name: span.name, tags: texts.toSorted() }]);
    }
  }
}

before(async () => {
  const application = await serve((_request, answer) => answer.end("ok"));
  const port = await serve((request, answer) => {
    const pieces: Buffer[] = [];
    request.on("data", (piece: Buffer) => pieces.push(piece));
    request.on("end", () => {
      collect(request.url ?? "", Buffer.concat(pieces));
      answer.end();
    });
  });
  let made = 0;
  const order = [...planeNames, "envoy"];
  planes = await startPlanes(["one", "two"], (ports) =>
    bootstrap(ports, { port, application }, order[made++]?.replace(" ", "-") ?? ""),
  );
});

after(async () => {
  await planes?.close();
  for (const server of servers) server.close();
});

async function spansOf(plane: PlaneName, door: Door, path: string, headers: object, count: number) {
  assert.ok(planes !== undefined);
  const where = `/${plane.replace(" ", "-")}`;
  spans.delete(where);
  const port = planes.port(plane, door);
  await new Promise<void>((resolve, reject) => {
    const to = { host: "127.0.0.1", port, path, headers: { host: "shop.test", ...headers } };
    http
      .get({ ...to, agent: false }, (answer) => answer.resume().on("end", resolve))
      .on("error", reject);
  });
  // Envoy sends what it has every five seconds.
  const deadline = Date.now() + 30_000;
  while ((spans.get(where)?.length ?? 0) < count && Date.now() < deadline) await sleep(10);
  return (spans.get(where) ?? []).toSorted((a, b) => (a.name < b.name ? -1 : 1));
}

const requests: readonly [
  name: string,
  door: Door,
  path: string,
  headers: object,
  count: number,
][] = [
  ["of a request", "one", "/x", { "x-user": "ann" }, 1],
  ["of a request that says nothing", "one", "/hint", {}, 1],
  ["of an answer of the proxy's own", "one", "/direct", {}, 1],
  ["of two spans", "two", "/y?z", { "x-user": "bob" }, 2],
  ["of spans whose name is partly missing", "two", "/y", {}, 2],
];

for (const [name, door, path, headers, count] of requests) {
  test(`compileTags() ${name}, as Envoy`, async () => {
    const asked = ["envoy", ...planeNames] as const;
    const [expected, ...ours] = await Promise.all(
      asked.map((plane) => spansOf(plane, door, path, headers, count)),
    );
    assert.equal(expected?.length, count, JSON.stringify(expected));
    const named = door === "two";
    const shape = (all: typeof expected): unknown =>
      all?.map((span) => (named ? span : { ...span, name: "" }));
    for (const [i, each] of ours.entries())
      assert.deepEqual(shape(each), shape(expected), String(planeNames[i]));
  });
}
