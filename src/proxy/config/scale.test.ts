/**
 * Configuration at scale, by counting: how much is done between two chances for others, and that
 * what did not change is not looked at. bench/configuration measures the time.
 */
import assert from "node:assert/strict";
import test from "node:test";

import { testDataPlane } from "../../../test/support/data-plane.ts";
import { message } from "../../../test/support/message.ts";
import { requestView } from "../../../test/support/request-view.ts";
import {
  Cluster,
  Cluster_DiscoveryType,
} from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { ClusterLoadAssignment } from "../../wire/gen/ts/envoy/config/endpoint/v3/endpoint.ts";
import { Listener } from "../../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import { RouteConfiguration } from "../../wire/gen/ts/envoy/config/route/v3/route.ts";
import { TcpProxy } from "../../wire/gen/ts/envoy/extensions/filters/network/tcp_proxy/v3/tcp_proxy.ts";
import { compileRoutes, type RouteTableOptions } from "../engine/route-configuration.ts";
import type { RouteTable } from "../engine/route-table.ts";
import { typeUrls, type XdsResource } from "../../xds/feed.ts";
import type { ListenerSet } from "../context.ts";
import { filterUrls } from "./listener-plan.ts";

/** Listeners without sockets. */
const listeners: ListenerSet = {
  prepare: () => ({ open: () => undefined, start: () => {}, discard: () => {} }),
  checkFilter: () => {},
  remove: () => {},
  bound: () => [],
  drain: async () => {},
  resetSlowest: () => {},
  close: async () => {},
};

function resource<T>(
  codec: { encode(value: T): { finish(): Uint8Array } },
  name: string,
  value: T,
): XdsResource {
  return { name, version: "1", bytes: codec.encode(value).finish() };
}

test("Configuration gives way after each cluster and each assignment, of thousands that are new", async () => {
  const { feed, clusters, clock, close } = testDataPlane(() => listeners);
  feed.send(typeUrls.cluster, []);
  const value = TcpProxy.encode(message(TcpProxy, { statPrefix: "t", cluster: "c0" })).finish();
  const filterChains = [{ filters: [{ typedConfig: { typeUrl: filterUrls.tcp, value } }] }];
  const listener = message(Listener, { name: "L", filterChains });
  assert.equal(feed.send(typeUrls.listener, [resource(Listener, "L", listener)]), "accepted");
  // Somebody waits for the thread from now on, and whatever is done takes a whole slice.
  let nowMs = clock.monotonicMs();
  clock.monotonicMs = () => (nowMs += 1);
  const names = Array.from({ length: 2000 }, (_, i) => `c${i}`);
  let done = 0;
  const apply = clusters.apply.bind(clusters);
  const applyEndpoints = clusters.applyEndpoints.bind(clusters);
  clusters.apply = (plan) => {
    done++;
    apply(plan);
  };
  clusters.applyEndpoints = (assignment) => {
    done++;
    applyEndpoints(assignment);
  };
  const type = Cluster_DiscoveryType.EDS;
  const steps: readonly (readonly [typeUrl: string, resources: readonly XdsResource[]])[] = [
    [
      typeUrls.cluster,
      names.map((name) => resource(Cluster, name, message(Cluster, { name, type }))),
    ],
    [
      typeUrls.endpoint,
      names.map((clusterName) =>
        resource(
          ClusterLoadAssignment,
          clusterName,
          message(ClusterLoadAssignment, { clusterName }),
        ),
      ),
    ],
  ];
  for (const [typeUrl, resources] of steps) {
    const answersBefore = feed.answers.length;
    done = 0;
    let most = 0;
    feed.send(typeUrl, resources);
    while (feed.answers.length === answersBefore) {
      const before = done;
      await new Promise((resolve) => void setImmediate(resolve));
      most = Math.max(most, done - before);
    }
    assert.equal(feed.answers.at(-1), "accepted");
    assert.equal(done, names.length);
    assert.ok(most <= 2, `${most} in one turn`);
  }
  close();
});

interface Done {
  readonly table: RouteTable;
  /** What was checked in each piece of work: names of virtual hosts and routes. */
  readonly pieces: readonly (readonly string[])[];
}

function compile(bytes: Uint8Array, options: Partial<RouteTableOptions> = {}): Done {
  const pieces: string[][] = [[]];
  const note = (name: string): void => void pieces.at(-1)?.push(name);
  const work = compileRoutes(bytes, {
    overrides,
    checks: {
      table: () => note("table"),
      host: ({ name }) => note(name),
      route: ({ name }) => note(name),
    },
    ...options,
  });
  for (;;) {
    const step = work.next();
    if (step.done === true) return { table: step.value, pieces };
    pieces.push([]);
  }
}

const overrides: RouteTableOptions["overrides"] = new Map();

/** `names` of virtual hosts; a different mark makes a different virtual host. */
function configuration(hosts: readonly { name: string; mark?: string }[], routes: number) {
  const config = message(RouteConfiguration, {
    name: "80",
    virtualHosts: hosts.map(({ name, mark = "" }) => ({
      name,
      domains: [name],
      routes: Array.from({ length: routes }, (_, i) => ({
        name: `${name}#${i}`,
        match: { prefix: `/${i}/` },
        route: { cluster: `${name}${mark}` },
      })),
    })),
  });
  return RouteConfiguration.encode(config).finish();
}

const services = (count: number) => Array.from({ length: count }, (_, i) => ({ name: `s${i}` }));
const chosen = (table: RouteTable, authority: string): string => {
  const outcome = table.resolve(requestView({ authority, path: "/0/" }), () => 0);
  return outcome.kind === "forward" ? outcome.cluster : outcome.kind;
};

test("compileRoutes() gives way after each virtual host and each route", () => {
  for (const [hosts, routes] of [
    [2000, 5],
    [1, 10_000],
  ] as const) {
    const { pieces } = compile(configuration(services(hosts), routes));
    const most = Math.max(...pieces.map(({ length }) => length));
    assert.ok(most <= 2, `${most} at once`);
    assert.equal(pieces.flat().length, 1 + hosts + hosts * routes);
  }
});

test("compileRoutes() looks only at virtual hosts that changed, wherever they stand now", () => {
  const hosts = services(50);
  const before = compile(configuration(hosts, 3));
  for (const { name } of hosts) assert.equal(chosen(before.table, name), name);
  const changed = hosts.map((host) => (host.name === "s7" ? { ...host, mark: "-new" } : host));
  const after = compile(configuration([{ name: "first" }, ...changed.toReversed()], 3), {
    before: before.table,
  });
  assert.deepEqual(after.pieces.flat(), [
    "table",
    ...["first", "s7"].flatMap((name) => [name, ...[0, 1, 2].map((i) => `${name}#${i}`)]),
  ]);
  assert.equal(chosen(after.table, "s7"), "s7-new");
  assert.equal(chosen(after.table, "s8"), "s8");
  // Streams that began with the version before keep it.
  assert.equal(chosen(before.table, "s7"), "s7");
});

test("compileRoutes() compiles for requests once, and not again after a push", () => {
  let compiled = 0;
  const measured = (work: () => void): void => {
    compiled++;
    work();
  };
  const bytes = configuration(services(10), 3);
  const before = compile(bytes, { measured }).table;
  assert.equal(compiled, 0);
  for (let i = 0; i < 3; i++) chosen(before, "s1");
  // The virtual host, and the route that was chosen.
  assert.equal(compiled, 2);
  const after = compile(bytes, { measured, before }).table;
  for (let i = 0; i < 3; i++) chosen(after, "s1");
  assert.equal(compiled, 2);
  chosen(after, "s2");
  assert.equal(compiled, 4);
});

test("compileRoutes() compiles everything anew where the table's own fields changed", () => {
  const hosts = services(3);
  const before = compile(configuration(hosts, 1)).table;
  const config = RouteConfiguration.decode(configuration(hosts, 1));
  const bytes = RouteConfiguration.encode({
    ...config,
    requestHeadersToRemove: ["x-internal"],
  }).finish();
  const { table, pieces } = compile(bytes, { before });
  assert.equal(pieces.flat().length, 7);
  const outcome = table.resolve(requestView({ authority: "s1", path: "/0/" }), () => 0);
  assert.ok(outcome.kind === "forward");
  assert.deepEqual(outcome.route.requestHeaders, [{ kind: "remove", name: "x-internal" }]);
});

test("compileRoutes() keeps no earlier version's bytes for what it takes over", async () => {
  const released: string[] = [];
  const registry = new FinalizationRegistry<string>((name) => released.push(name));
  let table: RouteTable | undefined;
  for (let version = 0; version < 5; version++) {
    const bytes = configuration([{ name: "s0", mark: `${version}` }, { name: "s1" }], 2);
    registry.register(bytes.buffer, `${version}`);
    table = compile(bytes, { before: table }).table;
    chosen(table, "s1");
  }
  // Only where the process was started so; the count of bytes is in the benchmark otherwise.
  if (globalThis.gc === undefined) return;
  for (let i = 0; i < 10 && released.length < 4; i++) {
    globalThis.gc();
    await new Promise((resolve) => void setImmediate(resolve));
  }
  assert.equal(released.length, 4);
  assert.equal(chosen(table ?? assert.fail(), "s0"), "s04");
});
