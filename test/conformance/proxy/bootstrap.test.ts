/**
 * The data plane as a whole, on loopback: an Envoy bootstrap goes in, requests go through it, and
 * where Envoy is at hand it answers the same requests from the same file. What must agree is where
 * a request goes and what is done to it on the way.
 */
import assert from "node:assert/strict";
import { createServer, request as httpRequest, type Server } from "node:http";
import { after, before, test } from "node:test";

import { load } from "js-yaml";

import { systemClock } from "../../../src/base/clock.ts";
import { parseBootstrap } from "../../../src/proxy/bootstrap.ts";
import { type Proxy, startProxy } from "../../../src/proxy/proxy.ts";
import { createLog } from "../../../src/telemetry/log.ts";
import { createMetricRegistry } from "../../../src/telemetry/metric-registry.ts";
import { noPeers } from "../../../src/telemetry/standard-metrics.ts";
import { findEnvoy, type RunningEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";

interface Ask {
  readonly method?: string;
  readonly path: string;
  readonly host?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** What a client and an upstream see; `upstream` is empty when the proxy answered itself. */
interface Answer {
  readonly status: number;
  readonly upstream: string;
  readonly location: string;
  readonly added: string;
}

const asks: readonly Ask[] = [
  { path: "/" },
  { path: "/a", host: "exact.test" },
  { path: "/a", host: "EXACT.test" },
  { path: "/a", host: "x.wild.test" },
  { path: "/a", host: "wild.test" },
  { path: "/a", host: "deep.x.wild.test" },
  { path: "/a", host: "pre.org" },
  { path: "/a", host: "nowhere.test" },
  { path: "/sep", host: "routes.test" },
  { path: "/sep/x", host: "routes.test" },
  { path: "/separate", host: "routes.test" },
  { path: "/exact?x=1", host: "routes.test" },
  { path: "/exact/", host: "routes.test" },
  { path: "/re/abc/12", host: "routes.test" },
  { path: "/re/abc/12x", host: "routes.test" },
  { path: "/CASE", host: "routes.test" },
  { path: "/header", host: "routes.test", headers: { "x-user": "jason" } },
  { path: "/header", host: "routes.test", headers: { "x-user": "other" } },
  { path: "/header", host: "routes.test" },
  { path: "/inverted", host: "routes.test" },
  { path: "/inverted", host: "routes.test", headers: { "x-user": "a" } },
  { path: "/query?debug&v=1", host: "routes.test" },
  { path: "/query?v=2&v=1", host: "routes.test" },
  { path: "/range", host: "routes.test", headers: { "x-n": "9" } },
  { path: "/range", host: "routes.test", headers: { "x-n": "10" } },
  { path: "/rewrite/x?q=1", host: "routes.test" },
  { path: "/regex/one/two?q=1", host: "routes.test" },
  { path: "/redirect/x?q=1", host: "routes.test" },
  { path: "/redirect-path?q=1", host: "routes.test" },
  { path: "/redirect-host", host: "routes.test:80" },
  { path: "/https", host: "routes.test:80" },
  { path: "/direct", host: "routes.test" },
  { path: "/weighted", host: "routes.test" },
  { path: "/missing-cluster", host: "routes.test" },
  { path: "/no-endpoints", host: "routes.test" },
  { path: "/refused", host: "routes.test" },
  { path: "/denied", host: "routes.test" },
  { path: "/denied?q", host: "routes.test" },
  { path: "/denied/../a", host: "routes.test" },
  { path: "/rewrite-host", host: "routes.test" },
];

let upstream: Server;
let heddle: { readonly proxy: Proxy; readonly port: number };
let envoy: { readonly running: RunningEnvoy; readonly port: number } | undefined;

before(async () => {
  upstream = createServer((incoming, outgoing) => {
    const seen = [incoming.method, incoming.headers.host, incoming.url].join(" ");
    const added = [incoming.headers["x-level"], incoming.headers["x-from"]].join("|");
    outgoing.writeHead(200, { "x-seen": seen, "x-added": added });
    outgoing.end();
  });
  await new Promise<void>((resolve) => upstream.listen(0, "127.0.0.1", () => resolve()));
  const bound = upstream.address();
  assert.ok(typeof bound === "object" && bound !== null);
  const closedPort = await freePort();
  const heddlePort = await freePort();
  heddle = {
    port: heddlePort,
    proxy: await startHeddle(bootstrapText(heddlePort, bound.port, closedPort)),
  };
  const binary = findEnvoy();
  if (binary !== undefined) {
    const port = await freePort();
    const running = startEnvoy(binary, load(bootstrapText(port, bound.port, closedPort)));
    envoy = { running, port };
    await untilAnswered(port);
  }
});

after(async () => {
  await heddle.proxy.close();
  await envoy?.running.stop();
  upstream.closeAllConnections();
  upstream.close();
});

test("requests go where the routes say", async () => {
  const answers = new Map<string, Answer>();
  for (const ask of asks)
    answers.set(ask.path + (ask.host ?? ""), await answerOf(heddle.port, ask));
  const check = (key: string, expected: Partial<Answer>): void => {
    const { status, upstream: seen, location } = answers.get(key) ?? {};
    const found = { status, upstream: seen, location };
    for (const [field, value] of Object.entries(expected)) {
      assert.equal(Object.entries(found).find(([name]) => name === field)?.[1], value, key);
    }
  };
  check("/", { status: 404, upstream: "" });
  check("/aexact.test", { status: 200, upstream: "GET exact.test /exact-host/a" });
  check("/rewrite/x?q=1routes.test", { upstream: "GET routes.test /new/x?q=1" });
  check("/regex/one/two?q=1routes.test", { upstream: "GET routes.test /two/one?q=1" });
  check("/redirect-path?q=1routes.test", { status: 301, location: "http://routes.test/moved?q=1" });
  check("/deniedroutes.test", { status: 403, upstream: "" });
  check("/missing-clusterroutes.test", { status: 503 });
  check("/directroutes.test", { status: 418 });
});

test("Envoy answers every request the same way", async () => {
  assert.ok(envoy !== undefined, "no Envoy at hand: npm test installs one, or set HEDDLE_ENVOY");
  for (const ask of asks) {
    const ours = await answerOf(heddle.port, ask);
    const theirs = await answerOf(envoy.port, ask);
    assert.deepEqual(ours, theirs, JSON.stringify(ask));
  }
});

async function startHeddle(text: string): Promise<Proxy> {
  const { feed, secrets, nodeId } = parseBootstrap({
    name: "test.yaml",
    text,
    parseYaml: (yaml) => load(yaml),
    readFile: () => Buffer.alloc(0),
  });
  const clock = systemClock;
  const proxy = startProxy({
    feed,
    secrets,
    clock,
    log: createLog({ level: "error", format: "text", clock, sink: (line) => console.error(line) }),
    metrics: createMetricRegistry(),
    random: Math.random,
    peers: noPeers,
    openLog: () => () => undefined,
    nodeId,
    version: "test",
  });
  assert.deepEqual(proxy.refusals(), []);
  await proxy.ready;
  return proxy;
}

function answerOf(port: number, ask: Ask): Promise<Answer> {
  return new Promise((resolve, reject) => {
    const outgoing = httpRequest(
      {
        host: "127.0.0.1",
        port,
        method: ask.method ?? "GET",
        path: ask.path,
        agent: false,
        headers: { host: ask.host ?? "other.example", ...ask.headers },
      },
      (incoming) => {
        incoming.resume();
        incoming.on("end", () =>
          resolve({
            status: incoming.statusCode ?? 0,
            upstream: String(incoming.headers["x-seen"] ?? ""),
            location: incoming.headers.location ?? "",
            added: String(incoming.headers["x-added"] ?? ""),
          }),
        );
      },
    );
    outgoing.on("error", reject);
    outgoing.end();
  });
}

async function untilAnswered(port: number): Promise<void> {
  const deadline = Date.now() + 60_000;
  for (;;) {
    try {
      await answerOf(port, { path: "/" });
      return;
    } catch (thrown) {
      if (Date.now() > deadline) throw thrown;
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }
}

function bootstrapText(port: number, upstreamPort: number, closedPort: number): string {
  const cluster = (name: string, at: number): string =>
    `{name: ${name}, connect_timeout: 10s, type: STATIC, load_assignment: {cluster_name: ${name}, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${at}}}}}]}]}}`;
  return `
static_resources:
  clusters:
  - ${cluster("app", upstreamPort)}
  - ${cluster("refused", closedPort)}
  - {name: empty, connect_timeout: 10s, type: STATIC, load_assignment: {cluster_name: empty}}
  listeners:
  - name: test
    address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: test
          normalize_path: true
          http_filters:
          - name: envoy.filters.http.rbac
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC
              rules: {action: DENY, policies: {secret: {principals: [{any: true}], permissions: [{url_path: {path: {exact: /denied}}}]}}}
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            name: test
            validate_clusters: false
            request_headers_to_add: [{header: {key: x-level, value: table}}]
            virtual_hosts:
            - {name: exact, domains: [exact.test], routes: [{match: {prefix: /}, route: {cluster: app, prefix_rewrite: /exact-host/}}]}
            - {name: wild, domains: ["*.wild.test"], routes: [{match: {prefix: /}, route: {cluster: app, prefix_rewrite: /wild/}}]}
            - {name: deep, domains: ["*.x.wild.test"], routes: [{match: {prefix: /}, route: {cluster: app, prefix_rewrite: /deep/}}]}
            - {name: pre, domains: ["pre.*"], routes: [{match: {prefix: /}, route: {cluster: app, prefix_rewrite: /pre/}}]}
            - name: routes
              domains: [routes.test, "routes.test:80"]
              request_headers_to_add: [{header: {key: x-level, value: host}}, {header: {key: x-from, value: "%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%"}}]
              routes:
              - {match: {path_separated_prefix: /sep}, route: {cluster: app}}
              - {match: {path: /exact}, route: {cluster: app}}
              - {match: {safe_regex: {regex: "/re/[a-z]+/[0-9]+"}}, route: {cluster: app}}
              - {match: {path: /case, case_sensitive: false}, route: {cluster: app}}
              - {match: {path: /header, headers: [{name: x-user, string_match: {exact: jason}}]}, route: {cluster: app}}
              - {match: {path: /inverted, headers: [{name: x-user, string_match: {exact: a}, invert_match: true, treat_missing_header_as_empty: true}]}, route: {cluster: app}}
              - {match: {path: /query, query_parameters: [{name: v, string_match: {exact: "1"}}, {name: debug, present_match: true}]}, route: {cluster: app}}
              - {match: {path: /range, headers: [{name: x-n, range_match: {start: 1, end: 10}}]}, route: {cluster: app}}
              - {match: {prefix: /rewrite/}, route: {cluster: app, prefix_rewrite: /new/}}
              - {match: {prefix: /regex}, route: {cluster: app, regex_rewrite: {pattern: {regex: "^/regex/([^/]+)/(.*)$"}, substitution: "/\\\\2/\\\\1"}}}
              - {match: {prefix: /redirect/}, redirect: {prefix_rewrite: /there/, response_code: TEMPORARY_REDIRECT}}
              - {match: {path: /redirect-path}, redirect: {path_redirect: /moved}}
              - {match: {path: /redirect-host}, redirect: {host_redirect: else.test, port_redirect: 8080, response_code: FOUND}}
              - {match: {path: /https}, redirect: {https_redirect: true}}
              - {match: {path: /direct}, direct_response: {status: 418, body: {inline_string: teapot}}}
              - {match: {path: /weighted}, request_headers_to_add: [{header: {key: x-level, value: route}}], route: {weighted_clusters: {clusters: [{name: app, weight: 1, request_headers_to_add: [{header: {key: x-level, value: cluster}}]}]}}}
              - {match: {path: /missing-cluster}, route: {cluster: nowhere}}
              - {match: {path: /no-endpoints}, route: {cluster: empty}}
              - {match: {path: /refused}, route: {cluster: refused}}
              - {match: {path: /rewrite-host}, route: {cluster: app, host_rewrite_literal: new.host}}
              - {match: {path: /denied}, route: {cluster: app}}
`;
}
