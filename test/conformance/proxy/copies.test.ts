/**
 * Copies of requests (mirrors), and what upstreams are told of traces, over one file, under Heddle's data plane
 * (both I/O backends, and data workers) and under Envoy.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import http from "node:http";
import type { AddressInfo } from "node:net";
import { after, before, test } from "node:test";

import { until } from "./collector.ts";
import { type PlaneName, planeNames, type Planes, type Ports, startPlanes } from "./planes.ts";

const names = ["plain", "traced", "silent", "spawning"] as const;
type Name = (typeof names)[number];

interface Seen {
  readonly at: "app" | "copy";
  readonly head: Readonly<Record<string, string>>;
  readonly body: string;
}

let planes: Planes<Name>;
const servers: http.Server[] = [];
const seen: Seen[] = [];

async function listen(at: Seen["at"]): Promise<number> {
  const server = http.createServer((request, answer) => {
    let body = "";
    request.on("data", (chunk: Buffer) => (body += chunk.toString()));
    request.on("end", () => {
      const { method = "", url = "", headers } = request;
      const fields = Object.entries(headers).map(([name, value]) => [name, String(value)]);
      seen.push({ at, head: { method, url, ...Object.fromEntries(fields) }, body });
      // What a copy's server says is nobody's business.
      answer.statusCode = at === "app" ? 200 : 500;
      answer.end(at);
    });
  });
  servers.push(server);
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  // A server that listens on a port.
  return (server.address() as AddressInfo).port;
}

const type = "type.googleapis.com/envoy.extensions";
const mirrors: Readonly<Record<string, string>> = {
  usual: "cluster: copy",
  "without a suffix": "cluster: copy, disable_shadow_host_suffix_append: true",
  renamed: "cluster: copy, host_rewrite_literal: copy.test",
  "by a header": "cluster_header: x-copy-to",
  "to no cluster": "cluster: nowhere",
  changed:
    'cluster: copy, request_headers_mutations: [{remove: x-secret}, {append: {header: {key: x-added, value: "%REQ(x-user)%"}, append_action: OVERWRITE_IF_EXISTS_OR_ADD}}]',
  "not sampled": "cluster: copy, trace_sampled: false",
  sampled: "cluster: copy, trace_sampled: true",
  "of none": "cluster: copy, runtime_fraction: {default_value: {numerator: 0}}",
};
const pathOf = (name: string): string => `/${name.replaceAll(" ", "-")}`;

function bootstrap(ports: Ports<Name>, app: number, copy: number): string {
  const cluster = (name: string, port: number): string =>
    `{name: ${name}, type: STATIC, connect_timeout: 10s, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}]}]}}`;
  const routes = Object.entries(mirrors).map(
    ([name, policy]) =>
      `{match: {path: "${pathOf(name)}"}, route: {cluster: app, prefix_rewrite: "/seen${pathOf(name)}", request_mirror_policies: [{${policy}}]}, request_headers_to_add: [{header: {key: x-route, value: own}}]}`,
  );
  const provider = `provider: {name: envoy.tracers.opentelemetry, typed_config: {"@type": type.googleapis.com/envoy.config.trace.v3.OpenTelemetryConfig, service_name: own, http_service: {http_uri: {uri: "http://127.0.0.1/v1/traces", cluster: nowhere, timeout: 1s}}}}`;
  const listener = (name: Name, settings: string, router = ""): string => `
  - name: ${name}
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports[name]}}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": ${type}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          ${settings}
          http_filters: [{name: router, typed_config: {"@type": ${type}.filters.http.router.v3.Router${router}}}]
          route_config:
            validate_clusters: false
            virtual_hosts: [{name: all, domains: ["*"], routes: [${routes.join(", ")}, {match: {prefix: /}, route: {cluster: app}}]}]`;
  return `
static_resources:
  clusters: [${cluster("app", app)}, ${cluster("copy", copy)}]
  listeners:${listener("plain", "")}${listener(
    "traced",
    `tracing: {${provider}}`,
  )}${listener("silent", `tracing: {no_context_propagation: true, ${provider}}`)}${listener(
    "spawning",
    `tracing: {${provider}}`,
    ", start_child_span: true",
  )}
`;
}

before(async () => {
  const [app, copy] = [await listen("app"), await listen("copy")];
  planes = await startPlanes(names, (ports) => bootstrap(ports, app, copy));
});

after(async () => {
  await planes?.close();
  for (const server of servers) {
    server.closeAllConnections();
    server.close();
  }
});

interface Question {
  readonly name: Name;
  readonly path: string;
  readonly method?: string;
  readonly body?: string;
  readonly headers?: Readonly<Record<string, string>>;
  /** How many requests come of it, copies included. */
  readonly requests: number;
}

const ids = /[0-9a-f]{32}|[0-9a-f]{16}/g;

/** What came of one request, drawn ids by their order. */
async function ask(plane: PlaneName, question: Question): Promise<readonly Seen[]> {
  seen.length = 0;
  const { name, path, method = "GET", body, headers = {}, requests } = question;
  const request = http.request({
    host: "127.0.0.1",
    port: planes.port(plane, name),
    method,
    path,
    agent: false,
    headers: { host: "shop.test:81", "x-user": "ann", "x-secret": "s", ...headers },
  });
  request.end(body);
  const [answer] = await once(request, "response");
  answer.resume();
  await once(answer, "end");
  await until(
    () => (seen.length >= requests ? true : undefined),
    () => `${seen.length} of ${requests} requests came: ${path}, ${plane}`,
  );
  const known = new Map<string, string>();
  const nameOf = (id: string): string => {
    if (Object.values(headers).some((value) => value.includes(id))) return id;
    if (!known.has(id)) known.set(id, `id-${known.size}`);
    return known.get(id) ?? "";
  };
  const order = seen.toSorted((a, b) => a.at.localeCompare(b.at));
  return order.map((one) => ({ ...one, head: plainHead(one.head, nameOf) }));
}

/**
 * Its client for calls of its own says so of copies, too, and from which machine they come, and how long their
 * request may take, for which nobody waits. Ids are drawn.
 */
const ofEnvoyAlone: ReadonlySet<string> = new Set([
  "x-envoy-internal",
  "x-forwarded-for",
  "x-envoy-expected-rq-timeout-ms",
  "x-request-id",
]);

function plainHead(
  head: Seen["head"],
  nameOf: (id: string) => string,
): Readonly<Record<string, string>> {
  const kept = Object.entries(head).filter(([name]) => !ofEnvoyAlone.has(name));
  return Object.fromEntries(kept.map(([name, value]) => [name, value.replaceAll(ids, nameOf)]));
}

const parent = "4bf92f3577b34da6a3ce929d0e0e4736";
const traceparent = `00-${parent}-00f067aa0ba902b7`;

/** What differs between a copy and its request, beside what is asked for. */
function tellsOf(all: readonly Seen[], header: string): readonly string[] {
  return all.map(
    ({ at, head }) =>
      `${at}: ${(head[header] ?? "none").replaceAll(/id-\d|[0-9a-f]{16}(?=-0)/g, "ID")}`,
  );
}

for (const plane of planeNames) {
  for (const name of Object.keys(mirrors).filter((one) => !one.includes("sampled"))) {
    test(`a copy is as Envoy's: ${name}, ${plane}`, async () => {
      const requests = name === "to no cluster" || name === "of none" ? 1 : 2;
      const question = { name: "plain", path: pathOf(name), requests } as const;
      const headers = { "x-copy-to": "copy" };
      for (const more of [{ headers }, { headers, method: "POST", body: "hello" }]) {
        const theirs = await ask("envoy", { ...question, ...more });
        assert.equal(theirs.length, requests);
        assert.deepEqual(await ask(plane, { ...question, ...more }), theirs);
      }
    });
  }

  test(`copies are traced as their policy says: ${plane}`, async () => {
    for (const name of ["usual", "not sampled", "sampled"]) {
      for (const flag of ["00", "01"]) {
        const headers = { traceparent: `${traceparent}-${flag}` };
        const question = { name: "traced", path: pathOf(name), requests: 2, headers } as const;
        const theirs = tellsOf(await ask("envoy", question), "traceparent");
        assert.deepEqual(
          tellsOf(await ask(plane, question), "traceparent"),
          theirs,
          `${name}, ${flag}`,
        );
      }
    }
  });

  test(`upstreams are told of traces as routers and connection managers say: ${plane}`, async () => {
    for (const name of ["silent", "spawning", "traced"] as const) {
      for (const headers of [{}, { traceparent: `${traceparent}-01` }]) {
        const question = { name, path: "/", requests: 1, headers } as const;
        const theirs = tellsOf(await ask("envoy", question), "traceparent");
        assert.deepEqual(tellsOf(await ask(plane, question), "traceparent"), theirs, name);
      }
    }
  });
}
