import assert from "node:assert/strict";
import test from "node:test";

import { type Fields, message } from "../../../test/support/message.ts";
import { requestView } from "../../../test/support/request-view.ts";
import { RouteConfiguration } from "../../wire/gen/ts/envoy/config/route/v3/route.ts";
import {
  type RedirectAction,
  RedirectAction_RedirectResponseCode as Code,
  type Route,
  type RouteAction,
  type RouteMatch,
  VirtualHost_TlsRequirementType as TlsRequirement,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { compileRouteConfiguration } from "./route-configuration.ts";
import type { CompiledRoute, RouteOutcome } from "./route-table.ts";

type Table = Fields<RouteConfiguration>;
type RouteFields = Fields<Route>;
type Request = Parameters<typeof requestView>[0];

function resolve(table: Table, request: Request, random: () => number = () => 0): RouteOutcome {
  const compiled = compileRouteConfiguration(message(RouteConfiguration, table), new Map());
  return compiled.resolve(requestView(request), random);
}

/** Routes of one virtual host for every authority. */
function host(...routes: RouteFields[]): Table {
  return { virtualHosts: [{ name: "all", domains: ["*"], routes }] };
}

const to = (cluster: string) => ({ route: { cluster } });

function clusterOf(outcome: RouteOutcome): string {
  return outcome.kind === "forward" ? outcome.cluster : outcome.kind;
}

function routeOf(outcome: RouteOutcome): CompiledRoute {
  assert.ok(outcome.kind !== "no-route");
  return outcome.route;
}

test("resolve() finds virtual hosts: exact, longest suffix, longest prefix, any", () => {
  const table = (ignorePort: boolean): Table => ({
    ignorePortInHostMatching: ignorePort,
    virtualHosts: Object.entries({
      exact: ["a.example.com", "a.example.com:80"],
      suffix: ["*.example.com"],
      short: ["*.com"],
      prefix: ["a.*"],
      any: ["*"],
    }).map(([name, domains]) => ({
      name,
      domains,
      routes: [{ match: { prefix: "/" }, route: { cluster: name } }],
    })),
  });
  const check = (authority: string, expected: string, ignorePort = false): void =>
    assert.equal(clusterOf(resolve(table(ignorePort), { authority })), expected, authority);
  check("a.example.com", "exact");
  check("A.Example.COM", "exact");
  check("a.example.com:80", "exact");
  check("b.example.com", "suffix");
  check(".example.com", "short");
  check("example.com", "short");
  check("a.b", "prefix");
  check("a.", "any");
  check("x", "any");
  check("a.example.com:81", "prefix");
  check("b.example.com:81", "suffix", true);
  check("[::1]:81", "any", true);
});

test("resolve() takes the first route that matches, not the longest", () => {
  const table = host(
    { match: { prefix: "/a" }, ...to("first") },
    { match: { path: "/a/b" }, ...to("second") },
  );
  assert.equal(clusterOf(resolve(table, { path: "/a/b" })), "first");
  assert.equal(resolve(table, { path: "/b" }).kind, "no-route");
});

test("resolve() matches paths without query, by every kind of specifier", () => {
  const check = (match: Fields<RouteMatch>, path: string, expected: boolean): void => {
    const outcome = resolve(host({ match, ...to("c") }), { path });
    assert.equal(outcome.kind === "forward", expected, `${JSON.stringify(match)} ${path}`);
  };
  check({ path: "/a" }, "/a?x=1", true);
  check({ path: "/a" }, "/a/", false);
  check({ path: "/A", caseSensitive: false }, "/a", true);
  check({ prefix: "/a" }, "/ab", true);
  check({ prefix: "/a?x" }, "/a?x", false);
  check({ pathSeparatedPrefix: "/a" }, "/a/b", true);
  check({ pathSeparatedPrefix: "/a" }, "/a", true);
  check({ pathSeparatedPrefix: "/a" }, "/ab", false);
  check({ safeRegex: { regex: "/b[io]t" } }, "/bit?x", true);
  check({ safeRegex: { regex: "/b[io]t" } }, "/bite", false);
  check({ connectMatcher: {} }, "/a", false);
});

test("resolve() sends CONNECT to connect_matcher alone", () => {
  const table = host(
    { match: { prefix: "/" }, ...to("plain") },
    { match: { connectMatcher: {} }, ...to("tunnel") },
  );
  assert.equal(clusterOf(resolve(table, { method: "CONNECT", path: "" })), "tunnel");
});

test("resolve() matches headers, query parameters and cookies together", () => {
  const table = host({
    match: {
      prefix: "/",
      headers: [{ name: "end-user", stringMatch: { exact: "jason" } }],
      queryParameters: [
        { name: "debug", presentMatch: true },
        { name: "v", stringMatch: { exact: "1" } },
      ],
      cookies: [{ name: "id", stringMatch: { prefix: "x" } }],
    },
    ...to("c"),
  });
  const headers = { "end-user": "jason", cookie: 'a=b; id="xy"' };
  assert.equal(clusterOf(resolve(table, { path: "/?v=1&v=2&debug", headers })), "c");
  assert.equal(resolve(table, { path: "/?v=2&v=1&debug", headers }).kind, "no-route");
  assert.equal(resolve(table, { path: "/?v=1", headers }).kind, "no-route");
  assert.equal(resolve(table, { path: "/?v=1&debug" }).kind, "no-route");
});

test("resolve() splits by weight and by fraction", () => {
  const table = host({
    match: { prefix: "/" },
    route: {
      weightedClusters: {
        clusters: [
          { name: "v1", weight: 90 },
          { name: "v2", weight: 10, hostRewriteLiteral: "two" },
          { name: "v3", weight: 0 },
        ],
      },
    },
  });
  assert.equal(clusterOf(resolve(table, {}, () => 0.899)), "v1");
  assert.equal(clusterOf(resolve(table, {}, () => 0.9)), "v2");
  assert.equal(clusterOf(resolve(table, {}, () => 0.999_999)), "v2");
  assert.equal(routeOf(resolve(table, {}, () => 0.95)).hostRewrite, "two");
  const canary = host(
    { match: { prefix: "/", runtimeFraction: { defaultValue: { numerator: 25 } } }, ...to("new") },
    { match: { prefix: "/" }, ...to("old") },
  );
  assert.equal(clusterOf(resolve(canary, {}, () => 0.24)), "new");
  assert.equal(clusterOf(resolve(canary, {}, () => 0.25)), "old");
});

test("resolve() computes redirects as Envoy does", () => {
  const check = (redirect: Fields<RedirectAction>, request: Request, expected: string): void => {
    const outcome = resolve(host({ match: { prefix: "/old" }, redirect }), request);
    const to = outcome.kind === "redirect" ? outcome.location(requestView(request)) : outcome.kind;
    assert.equal(to, expected);
  };
  const request = { authority: "a.com:80", path: "/old/x?q=1" };
  check({ httpsRedirect: true }, request, "https://a.com/old/x?q=1");
  check({ hostRedirect: "b.com" }, request, "http://b.com/old/x?q=1");
  check({ portRedirect: 8443, httpsRedirect: true }, request, "https://a.com:8443/old/x?q=1");
  check({ pathRedirect: "/new" }, request, "http://a.com:80/new?q=1");
  check({ pathRedirect: "/new?z", stripQuery: true }, request, "http://a.com:80/new?z");
  check({ prefixRewrite: "/new", stripQuery: true }, request, "http://a.com:80/new/x");
  check(
    { schemeRedirect: "https" },
    { ...request, authority: "[::1]:80" },
    "https://[::1]/old/x?q=1",
  );
  const outcome = resolve(
    host({ match: { prefix: "/" }, redirect: { responseCode: Code.PERMANENT_REDIRECT } }),
    {},
  );
  assert.equal(outcome.kind === "redirect" && outcome.status, 308);
});

test("resolve() redirects to TLS where the virtual host requires it", () => {
  const table: Table = {
    virtualHosts: [
      {
        name: "v",
        domains: ["*"],
        requireTls: TlsRequirement.ALL,
        routes: [{ match: { prefix: "/" }, ...to("c") }],
      },
    ],
  };
  const request = { authority: "a", path: "/x" };
  const outcome = resolve(table, request);
  assert.ok(outcome.kind === "redirect");
  assert.equal(outcome.location(requestView(request)), "https://a/x");
  assert.equal(clusterOf(resolve(table, { scheme: "https" })), "c");
});

test("resolve() answers directly", () => {
  const table = host({
    match: { prefix: "/" },
    directResponse: { status: 418, body: { inlineString: "short" } },
  });
  const outcome = resolve(table, {});
  assert.ok(outcome.kind === "direct-response");
  assert.equal(outcome.status, 418);
  assert.equal(Buffer.from(outcome.body).toString(), "short");
});

test("rewritePath() replaces what matched, and leaves the query", () => {
  const check = (
    match: Fields<RouteMatch>,
    action: Fields<RouteAction>,
    path: string,
    expected: string,
  ): void => {
    const table = host({ match, route: { cluster: "c", ...action } });
    assert.equal(routeOf(resolve(table, { path })).rewritePath(path), expected);
  };
  check({ prefix: "/a/" }, { prefixRewrite: "/" }, "/a/b?x", "/b?x");
  check({ prefix: "/A", caseSensitive: false }, { prefixRewrite: "/z" }, "/ab", "/zb");
  check({ path: "/a" }, { prefixRewrite: "/b" }, "/a?x", "/b?x");
  check({ safeRegex: { regex: "/a.*" } }, { prefixRewrite: "/b" }, "/a/c?x", "/b?x");
  const regexRewrite = { pattern: { regex: "^/a/(.*)$" }, substitution: "/\\1" };
  check({ prefix: "/" }, { regexRewrite }, "/a/b?/a/c", "/b?/a/c");
  check({ prefix: "/" }, {}, "/a?b", "/a?b");
});

test("resolve() puts header changes in Envoy's order, the most specific first", () => {
  const add = (value: string) => ({
    requestHeadersToAdd: [{ header: { key: "X-Level", value } }],
    requestHeadersToRemove: [`x-${value}`],
  });
  const table = (mostSpecificHeaderMutationsWins: boolean): Table => ({
    mostSpecificHeaderMutationsWins,
    ...add("table"),
    virtualHosts: [
      {
        name: "v",
        domains: ["*"],
        ...add("host"),
        routes: [
          {
            match: { prefix: "/" },
            ...add("route"),
            route: {
              weightedClusters: { clusters: [{ name: "c", weight: 1, ...add("cluster") }] },
            },
          },
        ],
      },
    ],
  });
  const levels = (wins: boolean): unknown[] =>
    routeOf(resolve(table(wins), {})).requestHeaders.flatMap((operation) =>
      "value" in operation ? [operation.value] : "name" in operation ? [operation.name] : [],
    );
  const expected = [
    "x-cluster",
    "cluster",
    "x-route",
    "route",
    "x-host",
    "host",
    "x-table",
    "table",
  ];
  assert.deepEqual(levels(false), expected);
  assert.deepEqual(levels(true), [
    "x-table",
    "table",
    "x-host",
    "host",
    "x-route",
    "route",
    "x-cluster",
    "cluster",
  ]);
});

test("resolve() fills header formats from the request", () => {
  const value = "%REQ(x-a?:path)%-%DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT%-100%%";
  const table = host({
    match: { prefix: "/" },
    requestHeadersToAdd: [{ header: { key: "x-made", value } }],
    ...to("c"),
  });
  const [operation] = routeOf(resolve(table, {})).requestHeaders;
  assert.ok(operation !== undefined && operation.kind === "add");
  assert.ok(typeof operation.value === "function");
  assert.equal(operation.value(requestView({ path: "/p" })), "/p-198.18.0.7-100%");
});

test("compileRouteConfiguration() refuses, with the field", () => {
  const refused = (table: Table, message: RegExp): void =>
    assert.throws(() => resolve(table, {}), { code: "xds.refused", message });
  const match = { prefix: "/" };
  refused(
    host({ match, route: { cluster: "" } }),
    /virtual_hosts\[0\]\.routes\[0\]\.route\.cluster/,
  );
  refused(host({ ...to("c") }), /routes\[0\]\.match: is required/);
  refused(host({ match: { safeRegex: { regex: "(" } }, ...to("c") }), /safe_regex/);
  refused(
    host({ match, route: { weightedClusters: { clusters: [{ name: "a" }] } } }),
    /add up to 0/,
  );
  refused(
    host({ match, requestHeadersToAdd: [{ header: { key: ":path", value: "x" } }], ...to("c") }),
    /only be changed by a rewrite/,
  );
  refused(
    host({ match, requestHeadersToAdd: [{ header: { key: "a", value: "%NOPE%" } }], ...to("c") }),
    /%NOPE% is not supported/,
  );
  const twice = { name: "v", domains: ["a"], routes: [] };
  refused({ virtualHosts: [twice, { ...twice, name: "w" }] }, /'a' occurs twice/);
  refused(host({ match, typedPerFilterConfig: { f: { typeUrl: "x/y" } }, ...to("c") }), /x\/y/);
});
