/**
 * Route tables against an interpreter written from Envoy's documentation, three ways: generated
 * code, closures, and the path index of long lists. Any difference is a bug in one of them.
 */
import assert from "node:assert/strict";
import test from "node:test";

import fc from "fast-check";

import { type Fields, message } from "../../../test/support/message.ts";
import { oracleRoute } from "../../../test/support/oracle/routes.ts";
import { requestView } from "../../../test/support/request-view.ts";
import { RouteConfiguration } from "../../wire/gen/ts/envoy/config/route/v3/route.ts";
import type {
  Route,
  RouteMatch,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { HeaderMatcher } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { isCodeAllowed } from "./generated-code.ts";
import { compileRouteConfiguration } from "./route-configuration.ts";
import type { RequestView } from "./request.ts";
import type { RouteTable } from "./route-table.ts";
import { compiledAtOnceAbove, indexedAbove } from "./virtual-host.ts";

/** What would be code, were it not text. */
const hostile = ['"', "\\", "`${1}`", "');throw 1//", "\u2028", "\n", "*/", "é"];
const segment = fc.constantFrom("a", "b", "ab", "A", "", ...hostile);
const place = fc.array(segment, { maxLength: 3 }).map((parts) => `/${parts.join("/")}`);
const domain = fc.constantFrom(
  "a.com",
  "b.a.com",
  "*.a.com",
  "*.com",
  "a.*",
  "*",
  "A.com:80",
  "*-x.com",
  "[::1]",
);
const authority = fc.constantFrom(
  "a.com",
  "b.a.com",
  "c.b.a.com",
  "x.com",
  "a.org",
  "A.COM:80",
  "y-x.com",
  "[::1]:80",
  "[::1]",
  "",
);

const caseSensitive = fc.constantFrom(undefined, true, false);
const pathMatch: fc.Arbitrary<Fields<RouteMatch>> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ prefix: place, caseSensitive }) },
  { weight: 4, arbitrary: fc.record({ path: place, caseSensitive }) },
  {
    weight: 2,
    arbitrary: fc.record({
      pathSeparatedPrefix: fc.constantFrom("/a", "/a/b", "/A", "/ab"),
      caseSensitive,
    }),
  },
  {
    weight: 1,
    arbitrary: fc.constantFrom("/a.*", "/(a|b)", ".*b").map((regex) => ({ safeRegex: { regex } })),
  },
  { weight: 1, arbitrary: fc.constant({ connectMatcher: {} }) },
  { weight: 1, arbitrary: fc.constant({ prefix: "" }) },
);

const text = fc.constantFrom("1", "12", "G", "a", ...hostile);
const stringMatch = fc.oneof(
  fc.record({ exact: text, ignoreCase: fc.boolean() }),
  fc.record({ prefix: text, ignoreCase: fc.boolean() }),
  fc.record({ suffix: text, ignoreCase: fc.boolean() }),
  fc.record({ contains: text, ignoreCase: fc.boolean() }),
  fc.constant({ safeRegex: { regex: "[0-9]+" } }),
);
const headerMatch: fc.Arbitrary<Fields<HeaderMatcher>> = fc
  .tuple(
    fc.record({
      name: fc.constantFrom("x", "X", ":method", ":path", "y"),
      invertMatch: fc.boolean(),
      treatMissingHeaderAsEmpty: fc.boolean(),
    }),
    fc.oneof(
      stringMatch.map((each) => ({ stringMatch: each })),
      fc.boolean().map((presentMatch) => ({ presentMatch })),
      fc.constant({ rangeMatch: { start: -1n, end: 10n } }),
      text.map((exactMatch) => ({ exactMatch })),
    ),
  )
  .map(([name, value]) => ({ ...name, ...value }));

const routeFields: fc.Arbitrary<Fields<Route>> = fc
  .record({
    place: pathMatch,
    headers: fc.array(headerMatch, { maxLength: 2 }),
    queryParameters: fc.array(
      fc.oneof(
        fc.record({ name: fc.constantFrom("q", "r"), stringMatch }),
        fc.record({ name: fc.constantFrom("q", "r"), presentMatch: fc.boolean() }),
      ),
      { maxLength: 1 },
    ),
    cookies: fc.array(
      fc.record({ name: fc.constantFrom("c", "d"), stringMatch, invertMatch: fc.boolean() }),
      { maxLength: 1 },
    ),
  })
  .map(({ place: path, ...rest }) => ({ match: { ...path, ...rest } }));

const configuration = fc
  .record({
    hosts: fc
      .uniqueArray(domain, { selector: (each) => each.toLowerCase(), minLength: 1, maxLength: 5 })
      .chain((domains) =>
        fc.tuple(
          ...domains.map((each) =>
            fc.record({
              domain: fc.constant(each),
              routes: fc.array(routeFields, { maxLength: 6 }),
              requireTls: fc.constantFrom(0, 0, 0, 1, 2),
            }),
          ),
        ),
      ),
    ignorePortInHostMatching: fc.boolean(),
  })
  .map(({ hosts, ignorePortInHostMatching }) => ({ hosts, ignorePortInHostMatching }));

type Configuration = typeof configuration extends fc.Arbitrary<infer T> ? T : never;

/** Each route forwards to a cluster named after it. */
function tableOf({ hosts, ignorePortInHostMatching }: Configuration, padding = 0) {
  const pad = Array.from({ length: padding }, () => ({
    match: { path: "/never asked for" },
    route: { cluster: "padding" },
  }));
  return message(RouteConfiguration, {
    ignorePortInHostMatching,
    virtualHosts: hosts.map(({ domain: name, routes, requireTls }) => ({
      name,
      domains: [name],
      requireTls,
      routes: [
        ...routes.map((route, i) => ({ ...route, route: { cluster: `${name}#${i}` } })),
        ...pad,
      ],
    })),
  });
}

const request: fc.Arbitrary<RequestView> = fc
  .record({
    authority,
    path: fc
      .tuple(place, fc.constantFrom("", "?a", "?q=12&r", "?/a#b", "#/b"))
      .map(([path, rest]) => path + rest),
    method: fc.constantFrom("GET", "GET", "POST", "CONNECT"),
    scheme: fc.constantFrom("https", "https", "http"),
    x: fc.option(text, { nil: undefined }),
    cookie: fc.option(fc.constantFrom("c=1", 'd="12"; c=a', " c = G,c", "d=1,c=1", "d=1;  c=1"), {
      nil: undefined,
    }),
  })
  .map(({ x, cookie, ...rest }) =>
    requestView({
      ...rest,
      headers: {
        ...(x === undefined ? {} : { x }),
        ...(cookie === undefined ? {} : { cookie }),
      },
    }),
  );

function resolved(table: RouteTable, each: RequestView): string {
  const outcome = table.resolve(each, () => 0);
  if (outcome.kind === "redirect") return "tls";
  return outcome.kind === "forward" ? outcome.cluster : "none";
}

test("resolve() agrees with the interpreter: generated code and closures", () => {
  assert.equal(isCodeAllowed(), true);
  fc.assert(
    fc.property(configuration, fc.array(request, { maxLength: 8 }), (fields, requests) => {
      const config = tableOf(fields);
      const generated = compileRouteConfiguration(config, new Map());
      const closures = compileRouteConfiguration(config, new Map(), { generatesCode: false });
      for (const each of requests) {
        const wanted = oracleRoute(config, each);
        assert.equal(resolved(generated, each), wanted);
        assert.equal(resolved(closures, each), wanted);
      }
    }),
    { numRuns: 500 },
  );
});

test("resolve() agrees with the interpreter where paths are indexed", () => {
  fc.assert(
    fc.property(configuration, fc.array(request, { maxLength: 8 }), (fields, requests) => {
      const config = tableOf(fields, indexedAbove);
      const indexed = compileRouteConfiguration(config, new Map());
      const trusted = compileRouteConfiguration(config, new Map(), { checks: "trusted" });
      for (const each of requests) {
        const wanted = oracleRoute(config, each);
        assert.equal(resolved(indexed, each), wanted);
        assert.equal(resolved(trusted, each), wanted);
      }
    }),
    { numRuns: 300 },
  );
});

const manyRoutes: fc.Arbitrary<Configuration> = fc
  .array(routeFields, { minLength: compiledAtOnceAbove, maxLength: 3 * indexedAbove })
  .map((routes) => ({
    hosts: [{ domain: "*", routes, requireTls: 0 }],
    ignorePortInHostMatching: false,
  }));

test("resolve() agrees with the interpreter on long lists of routes", () => {
  fc.assert(
    fc.property(
      manyRoutes,
      fc.array(request, { minLength: 5, maxLength: 20 }),
      (fields, requests) => {
        const config = tableOf(fields);
        const indexed = compileRouteConfiguration(config, new Map());
        for (const each of requests) {
          assert.equal(resolved(indexed, each), oracleRoute(config, each));
        }
      },
    ),
    { numRuns: 60 },
  );
});

test("compileRoutes() decides alike after a push as when it begins with it", () => {
  fc.assert(
    fc.property(
      configuration,
      configuration,
      fc.array(request, { maxLength: 6 }),
      (first, second, requests) => {
        const options = { generatesCode: true } as const;
        const before = compileRouteConfiguration(tableOf(first), new Map(), options);
        for (const each of requests) resolved(before, each);
        // Half of the hosts stay as they were.
        const kept = first.hosts.filter((_host, i) => i % 2 === 0);
        const names = new Set(kept.map((host) => host.domain.toLowerCase()));
        const hosts = [
          ...second.hosts.filter((host) => !names.has(host.domain.toLowerCase())),
          ...kept,
        ];
        const config = tableOf({ ...first, hosts });
        const after = compileRouteConfiguration(config, new Map(), { ...options, before });
        for (const each of requests) assert.equal(resolved(after, each), oracleRoute(config, each));
      },
    ),
    { numRuns: 200 },
  );
});
