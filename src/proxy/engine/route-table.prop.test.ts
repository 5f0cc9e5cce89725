/**
 * Route tables against a slow, obvious interpreter of the same rules, written from the documentation
 * of RouteConfiguration: any difference is a bug in one of the two.
 */
import assert from "node:assert/strict";
import test from "node:test";

import fc from "fast-check";

import { type Fields, message } from "../../../test/support/message.ts";
import { requestView } from "../../../test/support/request-view.ts";
import { RouteConfiguration } from "../../wire/gen/ts/envoy/config/route/v3/route.ts";
import type {
  Route,
  RouteMatch,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { HeaderMatcher } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { compileRouteConfiguration } from "./route-configuration.ts";

const segment = fc.constantFrom("a", "b", "ab", "A", "");
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
);
const authority = fc.constantFrom(
  "a.com",
  "b.a.com",
  "c.b.a.com",
  "x.com",
  "a.org",
  "A.COM:80",
  "y-x.com",
  "",
);

const pathMatch: fc.Arbitrary<Fields<RouteMatch>> = fc.oneof(
  place.map((prefix) => ({ prefix })),
  place.map((path) => ({ path })),
  place.map((path) => ({ path, caseSensitive: false })),
  place.map((prefix) => ({ prefix, caseSensitive: false })),
  fc.constantFrom("/a.*", "/(a|b)", ".*b").map((regex) => ({ safeRegex: { regex } })),
);

const headerMatch: fc.Arbitrary<Fields<HeaderMatcher>> = fc.record({
  name: fc.constantFrom("x", ":method"),
  stringMatch: fc.constantFrom({ exact: "1" }, { prefix: "G" }, { contains: "2" }),
  invertMatch: fc.boolean(),
  treatMissingHeaderAsEmpty: fc.boolean(),
});

const routeFields: fc.Arbitrary<Fields<Route>> = fc
  .tuple(pathMatch, fc.array(headerMatch, { maxLength: 2 }))
  .map(([match, headers]) => ({ match: { ...match, headers } }));

const table = fc
  .uniqueArray(domain, { selector: (each) => each.toLowerCase(), minLength: 1, maxLength: 5 })
  .chain((domains) =>
    fc.tuple(
      ...domains.map((each) =>
        fc.array(routeFields, { maxLength: 4 }).map((routes) => ({ domain: each, routes })),
      ),
    ),
  );

const request = fc.record({
  authority,
  path: fc
    .tuple(place, fc.constantFrom("", "?a", "?/a#b", "#/b"))
    .map(([path, rest]) => path + rest),
  method: fc.constantFrom("GET", "POST"),
  x: fc.option(fc.constantFrom("1", "12", ""), { nil: undefined }),
});

type Host = { readonly domain: string; readonly routes: readonly Fields<Route>[] };
type Request = { authority: string; path: string; method: string; x: string | undefined };

function interpret(hosts: readonly Host[], request: Request): string {
  const name = request.authority.toLowerCase();
  const rank = ({ domain }: Host): number => {
    const pattern = domain.toLowerCase();
    if (pattern === "*") return 0;
    if (pattern === name) return 3000;
    const wild = pattern.replace("*", "");
    if (pattern === wild || name.length <= wild.length) return -1;
    if (pattern.startsWith("*")) return name.endsWith(wild) ? 2000 + wild.length : -1;
    return name.startsWith(wild) ? 1000 + wild.length : -1;
  };
  const fit = hosts.filter((host) => rank(host) >= 0).toSorted((a, b) => rank(b) - rank(a))[0];
  const index = fit?.routes.findIndex((route) => fits(route.match ?? {}, request)) ?? -1;
  return fit === undefined || index < 0 ? "none" : `${fit.domain}#${index}`;
}

function fits(match: Fields<RouteMatch>, request: Request): boolean {
  const path = request.path.split(/[?#]/)[0] ?? "";
  const fold = (text: string): string =>
    match.caseSensitive === false ? text.toLowerCase() : text;
  if (match.prefix !== undefined && !fold(path).startsWith(fold(match.prefix))) return false;
  if (match.path !== undefined && fold(path) !== fold(match.path)) return false;
  const regex = match.safeRegex?.regex;
  if (regex !== undefined && !new RegExp(`^(?:${regex})$`).test(path)) return false;
  return (match.headers ?? []).every((matcher) => {
    let value = matcher.name === ":method" ? request.method : request.x;
    if (matcher.treatMissingHeaderAsEmpty === true) value ??= "";
    if (value === undefined) return false;
    const { exact, prefix, contains } = matcher.stringMatch ?? {};
    const isMatch =
      exact !== undefined
        ? value === exact
        : prefix !== undefined
          ? value.startsWith(prefix)
          : value.includes(contains ?? "");
    return isMatch !== (matcher.invertMatch ?? false);
  });
}

test("resolve() agrees with the interpreter on any table and request", () => {
  fc.assert(
    fc.property(table, fc.array(request, { maxLength: 5 }), (hosts, requests) => {
      const compiled = compileRouteConfiguration(
        message(RouteConfiguration, {
          virtualHosts: hosts.map(({ domain, routes }) => ({
            name: domain,
            domains: [domain],
            routes: routes.map((route, i) => ({ ...route, route: { cluster: `${domain}#${i}` } })),
          })),
        }),
        new Map(),
      );
      for (const each of requests) {
        const { x, ...rest } = each;
        const outcome = compiled.resolve(
          requestView({ ...rest, headers: x === undefined ? {} : { x } }),
          () => 0,
        );
        const found = outcome.kind === "forward" ? outcome.cluster : "none";
        assert.equal(found, interpret(hosts, each));
      }
    }),
    { numRuns: 300 },
  );
});
