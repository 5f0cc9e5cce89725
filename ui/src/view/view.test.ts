import assert from "node:assert/strict";
import { test } from "node:test";
import { readDump } from "./config-dump.ts";
import {
  edgeLabel,
  formatAge,
  formatBytes,
  formatMs,
  formatPercent,
  formatRate,
  plural,
} from "./format.ts";
import { createGraphLayout, nodeHeight, nodeWidth, shortName } from "./layout.ts";
import { filterByNamespace } from "./namespaces.ts";
import { linkTo, parseQuery, parseRoute, withQuery } from "./route.ts";

const traffic = {
  requestsPerSecond: 42,
  errorFraction: 0.004,
  p50Ms: 3,
  p95Ms: 38.4,
  p99Ms: 90,
  tcpSentBytesPerSecond: 0,
  tcpReceivedBytesPerSecond: 0,
  requestMessagesPerSecond: 0,
  responseMessagesPerSecond: 0,
};

test("formats give short numbers", () => {
  assert.deepEqual([0, 0.004, 0.5, 5, 9.96, 42.4, 1234].map(formatRate), [
    "0",
    "<0.01",
    "0.50",
    "5",
    "10",
    "42",
    "1.2k",
  ]);
  assert.deepEqual([0, 0.0004, 0.004, 0.5].map(formatPercent), ["0%", "<0.1%", "0.4%", "50%"]);
  assert.deepEqual([undefined, 0.2, 38.4, 1234, 12_000].map(formatMs), [
    "–",
    "<1 ms",
    "38 ms",
    "1.2 s",
    "12 s",
  ]);
  assert.deepEqual([12, 2048, 5e6].map(formatBytes), ["12 B", "2 kB", "5 MB"]);
  assert.deepEqual([4000, 95_000, 7_200_000, 2e8].map(formatAge), [
    "4 s",
    "1 min",
    "2 h",
    "2 days",
  ]);
});

test("edgeLabel() says rate, errors and p95, and bytes for TCP", () => {
  assert.equal(edgeLabel(traffic, "http"), "42/s · 0.4% · 38 ms");
  assert.equal(edgeLabel({ ...traffic, errorFraction: 0 }, "http"), "42/s · 38 ms");
  assert.equal(edgeLabel({ ...traffic, requestsPerSecond: 0 }, "http"), "idle");
  assert.equal(edgeLabel({ ...traffic, tcpSentBytesPerSecond: 3000 }, "tcp"), "3 kB/s");
  const unary = { requestMessagesPerSecond: 42, responseMessagesPerSecond: 42 };
  assert.equal(edgeLabel({ ...traffic, ...unary }, "grpc"), "42/s · 0.4% · 38 ms");
  const messages = { requestMessagesPerSecond: 40, responseMessagesPerSecond: 210 };
  assert.equal(edgeLabel({ ...traffic, ...messages }, "grpc"), "42/s · 0.4% · 250 msg/s");
});

function node(id: string, namespace = "default") {
  return {
    id,
    kind: "workload",
    name: id,
    namespace,
    service: undefined,
    version: undefined,
    health: "healthy",
    traffic,
    instances: undefined,
  } as const;
}

function edge(source: string, target: string) {
  return {
    id: `${source} > ${target}`,
    source,
    target,
    protocol: "http",
    traffic,
    health: "healthy",
    mtls: "mutual",
    sourcePrincipals: [],
    destinationPrincipals: [],
    codes: {},
    flags: {},
  } as const;
}

const shop = {
  atMs: 0,
  windowMs: 60_000,
  nodes: [node("a"), node("b"), node("c"), node("g", "edge")],
  edges: [edge("g", "a"), edge("a", "b"), edge("a", "c")],
};

test("createGraphLayout() moves nothing when figures change or an edge falls silent", () => {
  const layout = createGraphLayout();
  const before = layout.place(shop);
  const after = layout.place({ nodes: shop.nodes, edges: shop.edges.slice(0, 1) });
  assert.equal(after, before);
  assert.equal(before.edges.size, 3);
});

test("createGraphLayout() lets no two nodes overlap", () => {
  const points = [...createGraphLayout().place(shop).nodes.values()];
  for (const [index, a] of points.entries()) {
    for (const b of points.slice(index + 1)) {
      assert.ok(Math.abs(a.x - b.x) >= nodeWidth("") || Math.abs(a.y - b.y) >= nodeHeight);
    }
  }
});

test("filterByNamespace() keeps the neighbours", () => {
  const filtered = filterByNamespace(shop, "edge");
  assert.deepEqual(
    filtered.nodes.map(({ id }) => id),
    ["a", "g"],
  );
});

test("parseRoute() reads what linkTo() wrote", () => {
  assert.deepEqual(parseRoute(linkTo("services", "default", "cart")), {
    page: "service",
    namespace: "default",
    name: "cart",
  });
  assert.deepEqual(parseRoute(linkTo("proxies", "cart-0.default")), {
    page: "proxy",
    proxy: "cart-0.default",
    view: "listeners",
  });
  assert.deepEqual(parseRoute("#/%zz"), { page: "graph" });
});

test("readDump() finds resources of Envoy's dump", () => {
  const dump = {
    configs: [
      {
        dynamic_listeners: [
          {
            name: "x",
            active_state: {
              listener: {
                name: "0.0.0.0_80",
                address: { socket_address: { address: "0.0.0.0", port_value: 80 } },
              },
            },
          },
        ],
      },
      { dynamic_active_clusters: [{ cluster: { name: "outbound|80||cart", type: "EDS" } }] },
    ],
  };
  assert.deepEqual(
    readDump(dump, "listeners").map(({ name, summary, state }) => [name, summary, state]),
    [["0.0.0.0_80", "0.0.0.0:80", "active"]],
  );
  assert.deepEqual(
    readDump(dump, "clusters").map(({ name, summary }) => [name, summary]),
    [["outbound|80||cart", "EDS"]],
  );
  assert.deepEqual(readDump("nonsense", "routes"), []);
});

test("withQuery() changes one filter and leaves page and others", () => {
  const hash = withQuery(withQuery("#/services", "name", "a b&c"), "window", "5m");
  assert.deepEqual(parseRoute(hash), { page: "services" });
  assert.deepEqual(parseQuery(hash), { name: "a b&c", window: "5m" });
  assert.equal(withQuery(withQuery(hash, "name", ""), "window", ""), "#/services");
  assert.equal(withQuery("", "view", "table"), "#/?view=table");
  assert.deepEqual(parseQuery("#/services"), {});
});

test("plural() counts one as one", () => {
  assert.deepEqual(
    [0, 1, 2].map((count) => plural(count, "problem")),
    ["0 problems", "1 problem", "2 problems"],
  );
});

test("nodeWidth() has room for the names gateways have, and shortName() keeps both ends", () => {
  assert.equal(shortName("istio-ingressgateway"), "istio-ingressgateway");
  assert.ok(nodeWidth("istio-ingressgateway") > nodeWidth("cart"));
  const long = shortName("a-very-long-name-of-a-workload-in-production-v2");
  assert.ok(long.length <= 28);
  assert.match(long, /^a-very-long.*production-v2$/);
});
