/**
 * What the engine decides, beside Envoy: made-up route tables and policies, one Envoy that serves all
 * of them, and thousands of requests, each of which must find the same route and the same verdict.
 */
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";
import { setTimeout as sleep } from "node:timers/promises";

import { type DescMessage, fromJson, type JsonObject, toBinary } from "@bufbuild/protobuf";
import fc from "fast-check";

import { compileRbac } from "../../../src/proxy/engine/rbac.ts";
import type { RequestView } from "../../../src/proxy/engine/request.ts";
import { compileRouteConfiguration } from "../../../src/proxy/engine/route-configuration.ts";
import { RBACSchema } from "../../../src/wire/gen/es/envoy/config/rbac/v3/rbac_pb.ts";
import { RouteConfigurationSchema } from "../../../src/wire/gen/es/envoy/config/route/v3/route_pb.ts";
import { registry } from "../../../src/wire/gen/es/registry.ts";
import { RBAC } from "../../../src/wire/gen/ts/envoy/config/rbac/v3/rbac.ts";
import { RouteConfiguration } from "../../../src/wire/gen/ts/envoy/config/route/v3/route.ts";
import { findEnvoy, type RunningEnvoy, startEnvoy } from "../../support/envoy.ts";
import { freePort } from "../../support/free-port.ts";
import { requestView } from "../../support/request-view.ts";

const encodeJson = (schema: DescMessage, json: JsonObject): Uint8Array =>
  toBinary(schema, fromJson(schema, json, { registry }));

const binary = findEnvoy();
const type = (name: string): string => `type.googleapis.com/envoy.extensions.filters.${name}`;
const rbacUrl = type("http.rbac.v3.RBAC");
const seed = 20_26;

const segment = fc.constantFrom("a", "b", "ab", "A", "a.b", "%2F", "1");
const place = fc.array(segment, { maxLength: 3 }).map((parts) => `/${parts.join("/")}`);
const text = fc.constantFrom("1", "12", "GET", "a", "A", "b-1");
const ignoreCase = fc.boolean();
const stringMatch: fc.Arbitrary<JsonObject> = fc.oneof(
  fc.record({ exact: text, ignoreCase }),
  fc.record({ prefix: text, ignoreCase }),
  fc.record({ suffix: text, ignoreCase }),
  fc.record({ contains: text, ignoreCase }),
  fc.constant({ safeRegex: { regex: "[a-z0-9]+(-[0-9])?" } }),
);
const headerMatch: fc.Arbitrary<JsonObject> = fc
  .tuple(
    fc.record({
      name: fc.constantFrom("x-one", "X-One", ":method", ":path", "x-two"),
      invertMatch: fc.boolean(),
      treatMissingHeaderAsEmpty: fc.boolean(),
    }),
    fc.oneof(
      stringMatch.map((each) => ({ stringMatch: each })),
      fc.boolean().map((presentMatch) => ({ presentMatch })),
      fc.constant({ rangeMatch: { start: "-1", end: "10" } }),
    ),
  )
  .map(([name, value]) => ({ ...name, ...value }));

const caseSensitive = fc.boolean();
const match: fc.Arbitrary<JsonObject> = fc
  .tuple(
    fc.oneof(
      fc.record({ prefix: place, caseSensitive }),
      fc.record({ path: place, caseSensitive }),
      fc.record({ pathSeparatedPrefix: fc.constantFrom("/a", "/a/b", "/A"), caseSensitive }),
      fc.constantFrom("/a.*", "/(a|b)(/.*)?", ".*b").map((regex) => ({ safeRegex: { regex } })),
    ),
    fc.record({
      headers: fc.array(headerMatch, { maxLength: 2 }),
      queryParameters: fc.array(
        fc.oneof(
          fc.record({ name: fc.constantFrom("q", "r"), stringMatch }),
          fc.record({ name: fc.constantFrom("q", "r"), presentMatch: fc.boolean() }),
        ),
        { maxLength: 1 },
      ),
    }),
  )
  .map((parts) => Object.assign({}, ...parts) as JsonObject);

/** More than 64 routes in some, so that paths are indexed. */
const routesOfHost = fc.oneof(
  fc.array(match, { minLength: 1, maxLength: 8 }),
  fc.array(match, { minLength: 65, maxLength: 90 }),
);

const condition = (
  fields: fc.Arbitrary<JsonObject>,
  many: (of: JsonObject[]) => JsonObject[],
  one: (of: JsonObject) => JsonObject,
) =>
  fc.oneof(
    fields,
    fields.map(one),
    fc.array(fields, { minLength: 1, maxLength: 5 }).chain((of) => fc.constantFrom(...many(of))),
  );
const permission = condition(
  fc.oneof(
    headerMatch.map((header) => ({ header })),
    stringMatch.map((path) => ({ urlPath: { path } })),
    fc.constant({ any: true }),
  ),
  (rules) => [{ andRules: { rules } }, { orRules: { rules } }],
  (notRule) => ({ notRule }),
);
const principal = condition(
  fc.oneof(
    headerMatch.map((header) => ({ header })),
    fc.constantFrom("127.0.0.1", "10.0.0.0").map((addressPrefix) => ({
      directRemoteIp: { addressPrefix, prefixLen: 8 },
    })),
    fc.constant({ any: true }),
  ),
  (ids) => [{ andIds: { ids } }, { orIds: { ids } }],
  (notId) => ({ notId }),
);
const rules: fc.Arbitrary<JsonObject> = fc.record({
  action: fc.constantFrom("ALLOW", "DENY"),
  policies: fc.dictionary(
    fc.constantFrom("p", "q", "r"),
    fc.record({
      permissions: fc.array(permission, { minLength: 1, maxLength: 2 }),
      principals: fc.array(principal, { minLength: 1, maxLength: 2 }),
    }),
    { maxKeys: 2 },
  ),
});

const request = fc.record({
  path: fc
    .tuple(place, fc.constantFrom("", "?q=1", "?q=a&r", "?r=b-1"))
    .map(([path, query]) => path + query),
  method: fc.constantFrom("GET", "POST"),
  one: fc.option(fc.constantFrom("1", "12", "a", "A", "b-1", "7"), { nil: undefined }),
});
type Asked = typeof request extends fc.Arbitrary<infer T> ? T : never;

const tables = fc.sample(routesOfHost, { numRuns: 40, seed });
const policies = fc.sample(rules, { numRuns: 60, seed });
const requests = fc.sample(request, { numRuns: 60, seed });

const routes: JsonObject = {
  name: "routes",
  virtualHosts: [
    ...tables.map((matches, host) => ({
      name: `routes-${host}`,
      domains: [`routes-${host}.test`],
      routes: matches.map((each, i) => ({
        match: each,
        directResponse: { status: 200, body: { inlineString: `${host}#${i}` } },
      })),
    })),
    ...policies.map((each, host) => ({
      name: `policies-${host}`,
      domains: [`policies-${host}.test`],
      typedPerFilterConfig: {
        rbac: {
          "@type": type("http.rbac.v3.RBACPerRoute"),
          rbac: { rules: each },
        },
      },
      routes: [
        {
          match: { prefix: "/" },
          directResponse: { status: 200, body: { inlineString: "allowed" } },
        },
      ],
    })),
  ] as JsonObject[],
};

let envoy: RunningEnvoy | undefined;
let port = 0;
const agent = new http.Agent({ keepAlive: true, maxSockets: 8 });

before(async () => {
  if (binary === undefined) return;
  port = await freePort();
  envoy = startEnvoy(binary, bootstrap(port));
  for (let i = 0; ; i++) {
    try {
      await ask("nobody.test", { path: "/", method: "GET", one: undefined });
      return;
    } catch {
      if (i > 200) throw new Error(`Envoy does not answer: ${envoy.log()}`);
      await sleep(50);
    }
  }
});

after(async () => {
  agent.destroy();
  await envoy?.stop();
});

function bootstrap(listenPort: number): JsonObject {
  const manager = {
    "@type": type("network.http_connection_manager.v3.HttpConnectionManager"),
    statPrefix: "http",
    routeConfig: routes,
    httpFilters: [
      { name: "rbac", typedConfig: { "@type": rbacUrl } },
      { name: "router", typedConfig: { "@type": type("http.router.v3.Router") } },
    ],
  };
  return {
    staticResources: {
      listeners: [
        {
          name: "l",
          address: { socketAddress: { address: "127.0.0.1", portValue: listenPort } },
          filterChains: [{ filters: [{ name: "http", typedConfig: manager }] }],
        },
      ],
    },
  };
}

async function ask(host: string, { path, method, one }: Asked): Promise<string> {
  const headers = { host, ...(one === undefined ? {} : { "x-one": one }) };
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const asked = http.request({ host: "127.0.0.1", port, path, method, headers, agent });
  asked.on("error", reject);
  asked.on("response", (response) => {
    let body = "";
    response.setEncoding("utf8");
    response.on("data", (chunk: string) => (body += chunk));
    response.on("end", () =>
      resolve(response.statusCode === 200 ? body : `${response.statusCode}`),
    );
  });
  asked.end();
  return promise;
}

function viewOf(host: string, { path, method, one }: Asked): RequestView {
  return requestView({
    authority: host,
    path,
    method,
    headers: one === undefined ? {} : { "x-one": one },
    connection: { sourceAddress: "127.0.0.1", destinationAddress: "127.0.0.1" },
  });
}

const missing = binary === undefined ? "no Envoy" : false;

test("routes are found as Envoy finds them", { skip: missing }, async () => {
  const config = RouteConfiguration.decode(
    encodeJson(RouteConfigurationSchema, {
      ...routes,
      virtualHosts: (routes["virtualHosts"] as JsonObject[]).slice(0, tables.length),
    }),
  );
  const ways = [true, false].map((generatesCode) =>
    compileRouteConfiguration(config, new Map(), { generatesCode }),
  );
  const found = new Set<string>();
  for (const host of tables.keys()) {
    const authority = `routes-${host}.test`;
    const answers = await Promise.all(requests.map((each) => ask(authority, each)));
    for (const [i, each] of requests.entries()) {
      const expected = answers[i] ?? "";
      found.add(expected);
      for (const table of ways) {
        const outcome = table.resolve(viewOf(authority, each), () => 0);
        const ours =
          outcome.kind === "direct-response" ? Buffer.from(outcome.body).toString() : "404";
        const said = JSON.stringify({ host: tables[host], each });
        assert.equal(ours, expected, said.slice(0, 2000));
      }
    }
  }
  assert.ok(found.size > 60, `only ${found.size} routes were found`);
});

test("policies decide as Envoy's", { skip: missing }, async () => {
  const verdicts = { allowed: 0, "403": 0 };
  for (const [host, each] of policies.entries()) {
    const message = RBAC.decode(encodeJson(RBACSchema, each));
    const ways = [true, false].map((generatesCode) =>
      compileRbac(message, "rules", { generatesCode }),
    );
    const authority = `policies-${host}.test`;
    const answers = await Promise.all(requests.map((asked) => ask(authority, asked)));
    for (const [i, asked] of requests.entries()) {
      const expected = answers[i];
      assert.ok(expected === "allowed" || expected === "403");
      verdicts[expected]++;
      for (const rbac of ways) {
        const verdict = rbac?.evaluate(viewOf(authority, asked));
        const ours = verdict?.isAllowed === true ? "allowed" : "403";
        assert.equal(ours, expected, JSON.stringify({ rules: each, asked }).slice(0, 2000));
      }
    }
  }
  assert.ok(verdicts.allowed > 300 && verdicts["403"] > 300, JSON.stringify(verdicts));
});
