/**
 * What an AuthorizationPolicy of Istio's means, word by word: policies as written go through the
 * control plane's translation and are judged by the engine that both the proxy and tests ask.
 */
import assert from "node:assert/strict";
import test from "node:test";

import { translate } from "../../../src/control/translate.ts";
import { compileNetworkRbac, compileRbac } from "../../../src/proxy/engine/rbac.ts";
import { Listener } from "../../../src/wire/gen/ts/envoy/config/listener/v3/listener.ts";
import type { FilterChain } from "../../../src/wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import { RBAC as HttpRbac } from "../../../src/wire/gen/ts/envoy/extensions/filters/http/rbac/v3/rbac.ts";
import { HttpConnectionManager } from "../../../src/wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { RBAC as NetworkRbac } from "../../../src/wire/gen/ts/envoy/extensions/filters/network/rbac/v3/rbac.ts";
import { typeUrls } from "../../../src/xds/feed.ts";
import { parseMeshCase } from "../../support/mesh-case.ts";
import { connectionView, requestView } from "../../support/request-view.ts";

type Request = NonNullable<Parameters<typeof requestView>[0]>;
type Verdict = "allowed" | "denied";

const httpPort = 8080;
const tcpPort = 9000;

const head = `case:
  proxy: web-0.shop
  workloads:
    - { name: web, namespace: shop, ports: [{ port: 80, targetPort: ${httpPort}, protocol: http }, { port: ${tcpPort}, targetPort: ${tcpPort}, protocol: tcp }] }
`;

const policy = (spec: string, { namespace = "shop", name = "p" } = {}): string => `---
apiVersion: security.istio.io/v1
kind: AuthorizationPolicy
metadata: { name: ${name}, namespace: ${namespace} }
spec: ${spec}
`;

const mtls = (account: string): NonNullable<Request["connection"]> => ({
  isTls: true,
  peerUriSans: [`spiffe://cluster.local/ns/${account.replace("/", "/sa/")}`],
});

/** The inbound chains of the case's workload for one port. */
function chainsAt(yaml: string, port: number, meshConfig = "{}"): readonly FilterChain[] {
  const text = `${head}  meshConfig: ${meshConfig}\n${yaml}`;
  const { model, proxy } = parseMeshCase(text, "p.yaml");
  const listeners = translate(model, proxy).get(typeUrls.listener) ?? [];
  const inbound = listeners.find(({ name }) => name === "virtualInbound");
  assert.ok(inbound !== undefined);
  const { filterChains } = Listener.decode(inbound.bytes);
  return filterChains.filter((one) => one.filterChainMatch?.destinationPort === port);
}

function judgeHttp(yaml: string, request: Request, meshConfig?: string): Verdict {
  for (const { filters } of chainsAt(yaml, httpPort, meshConfig)) {
    const manager = filters.find(({ name }) => name.endsWith("http_connection_manager"));
    if (manager?.typedConfig === undefined) continue;
    const { httpFilters } = HttpConnectionManager.decode(manager.typedConfig.value);
    const rules = httpFilters.flatMap(({ name, typedConfig }) =>
      name === "envoy.filters.http.rbac" && typedConfig !== undefined
        ? [HttpRbac.decode(typedConfig.value).rules]
        : [],
    );
    const view = requestView(request);
    const isAllowed = rules.every((one) => compileRbac(one, "")?.evaluate(view).isAllowed ?? true);
    return isAllowed ? "allowed" : "denied";
  }
  throw new Error("no chain for HTTP");
}

function judgeTcp(yaml: string, connection: Request["connection"]): Verdict {
  const [chain] = chainsAt(yaml, tcpPort);
  assert.ok(chain !== undefined);
  const rules = chain.filters.flatMap(({ name, typedConfig }) =>
    name === "envoy.filters.network.rbac" && typedConfig !== undefined
      ? [NetworkRbac.decode(typedConfig.value).rules]
      : [],
  );
  const view = connectionView({ destinationPort: tcpPort, ...connection });
  const isAllowed = rules.every(
    (one) => compileNetworkRbac(one, "")?.evaluate(view).isAllowed ?? true,
  );
  return isAllowed ? "allowed" : "denied";
}

/** Whether a rule matches each of two requests; asked as ALLOW and as DENY. */
function checkRule(rule: string, matching: readonly Request[], others: readonly Request[]): void {
  for (const [request, isMatch] of [
    ...matching.map((one) => [one, true] as const),
    ...others.map((one) => [one, false] as const),
  ]) {
    const words = `${rule} ${JSON.stringify(request)}`;
    const allow = judgeHttp(policy(`{ rules: [${rule}] }`), request);
    assert.equal(allow, isMatch ? "allowed" : "denied", `ALLOW ${words}`);
    const deny = judgeHttp(policy(`{ action: DENY, rules: [${rule}] }`), request);
    assert.equal(deny, isMatch ? "denied" : "allowed", `DENY ${words}`);
  }
}

const from = (source: string): string => `{ from: [{ source: ${source} }] }`;
const to = (operation: string): string => `{ to: [{ operation: ${operation} }] }`;
const when = (condition: string): string => `{ when: [${condition}] }`;
const by = (account: string): Request => ({ connection: mtls(account) });
const plain: Request = {};

test("an empty policy denies all, an empty rule matches all, DENY comes before ALLOW", () => {
  assert.equal(judgeHttp("", plain), "allowed");
  assert.equal(judgeHttp(policy("{}"), plain), "denied");
  assert.equal(judgeHttp(policy("{ rules: [] }"), plain), "denied");
  assert.equal(judgeHttp(policy("{ rules: [{}] }"), plain), "allowed");
  assert.equal(judgeHttp(policy("{ action: DENY }"), plain), "allowed");
  assert.equal(judgeTcp(policy("{}"), {}), "denied");
  const both = policy("{ rules: [{}] }") + policy("{ action: DENY, rules: [{}] }", { name: "d" });
  assert.equal(judgeHttp(both, plain), "denied");
  const either = policy("{}") + policy("{ rules: [{}] }", { name: "other" });
  assert.equal(judgeHttp(either, plain), "allowed");
});

test("a policy holds in its namespace, in the root namespace everywhere, by its selector", () => {
  assert.equal(judgeHttp(policy("{}", { namespace: "elsewhere" }), plain), "allowed");
  assert.equal(judgeHttp(policy("{}", { namespace: "istio-system" }), plain), "denied");
  const selecting = (labels: string): string => `{ selector: { matchLabels: ${labels} } }`;
  assert.equal(judgeHttp(policy(selecting("{ app: web }")), plain), "denied");
  assert.equal(judgeHttp(policy(selecting("{ app: other }")), plain), "allowed");
  const root = { namespace: "istio-system" };
  assert.equal(judgeHttp(policy(selecting("{ app: web }"), root), plain), "denied");
  assert.equal(judgeHttp(policy(selecting("{ app: other }"), root), plain), "allowed");
});

test("principals: exact, prefix*, *suffix, *, and their negation", () => {
  const alice = by("shop/alice");
  const others = [by("shop/alicex"), by("other/alice"), plain];
  checkRule(from('{ principals: ["cluster.local/ns/shop/sa/alice"] }'), [alice], others);
  checkRule(
    from('{ principals: ["cluster.local/ns/shop/*"] }'),
    [alice],
    [by("shopx/alice"), plain],
  );
  checkRule(
    from('{ principals: ["*/sa/alice"] }'),
    [alice, by("other/alice")],
    [by("shop/bob"), plain],
  );
  checkRule(from('{ principals: ["*"] }'), [alice], [plain]);
  checkRule(from('{ notPrincipals: ["*"] }'), [plain], [alice]);
  checkRule(from('{ notPrincipals: ["cluster.local/ns/shop/sa/alice"] }'), others, [alice]);
});

test("principals: the trust domain cluster.local is the mesh's own", () => {
  const own = { connection: { isTls: true, peerUriSans: ["spiffe://my.mesh/ns/shop/sa/alice"] } };
  const rule = from('{ principals: ["cluster.local/ns/shop/sa/alice"] }');
  const mesh = "{ trustDomain: my.mesh }";
  assert.equal(judgeHttp(policy(`{ rules: [${rule}] }`), own, mesh), "allowed");
  assert.equal(judgeHttp(policy(`{ rules: [${rule}] }`), by("shop/alice"), mesh), "denied");
});

test("namespaces and service accounts", () => {
  const alice = by("shop/alice");
  checkRule(from("{ namespaces: [shop] }"), [alice], [by("shop2/alice"), by("ashop/alice"), plain]);
  checkRule(from('{ namespaces: ["sh*"] }'), [alice, by("shop2/a")], [by("ashop/a"), plain]);
  checkRule(from("{ notNamespaces: [shop] }"), [by("other/a"), plain], [alice]);
  checkRule(from("{ serviceAccounts: [shop/alice] }"), [alice], [by("other/alice"), by("shop/al")]);
  // Without a namespace it is the policy's own.
  checkRule(
    from("{ serviceAccounts: [alice] }"),
    [alice],
    [by("other/alice"), by("shop/alice2"), plain],
  );
  checkRule(from("{ notServiceAccounts: [alice] }"), [by("other/alice"), plain], [alice]);
  checkRule(from("{ serviceAccounts: [cert.io] }"), [by("shop/cert.io")], [by("shop/certxio")]);
});

test("addresses: the peer's own, and the client's as proxies vouch for it", () => {
  const direct: Request = { connection: { sourceAddress: "10.1.2.3" } };
  const behind: Request = { remoteAddress: "10.1.2.3" };
  checkRule(from("{ ipBlocks: [10.0.0.0/8] }"), [direct], [behind, plain]);
  checkRule(from("{ notIpBlocks: [10.0.0.0/8] }"), [behind, plain], [direct]);
  checkRule(from("{ remoteIpBlocks: [10.1.2.3] }"), [behind, direct], [plain]);
  checkRule(when("{ key: source.ip, values: [10.0.0.0/8] }"), [direct], [behind]);
  checkRule(when("{ key: remote.ip, notValues: [10.0.0.0/8] }"), [plain], [behind, direct]);
  const rule = `{ rules: [${from("{ remoteIpBlocks: [10.0.0.0/8] }")}] }`;
  assert.equal(judgeTcp(policy(rule), { sourceAddress: "10.1.2.3" }), "allowed");
  assert.equal(judgeTcp(policy(rule), { sourceAddress: "11.1.2.3" }), "denied");
});

test("methods and paths: exact, prefix*, *suffix; the query is no part of a path", () => {
  checkRule(to("{ methods: [GET] }"), [plain], [{ method: "POST" }, { method: "get" }]);
  checkRule(to("{ notMethods: [GET] }"), [{ method: "POST" }], [plain]);
  checkRule(
    to("{ paths: [/a] }"),
    [{ path: "/a" }, { path: "/a?b=/c" }],
    [{ path: "/ab" }, { path: "/A" }],
  );
  checkRule(to('{ paths: ["/a/*"] }'), [{ path: "/a/b" }, { path: "/a/" }], [{ path: "/a" }]);
  checkRule(to('{ paths: ["*.html"] }'), [{ path: "/x.html?y" }], [{ path: "/x.htm" }]);
  checkRule(to('{ paths: ["*"] }'), [{ path: "/" }], []);
  checkRule(to("{ notPaths: [/a] }"), [{ path: "/b" }], [{ path: "/a" }]);
  checkRule(to('{ paths: ["/a*"], notPaths: [/ab] }'), [{ path: "/ac" }], [{ path: "/ab" }]);
});

test("hosts: without case and whole; a port or the root's dot gets around nothing", () => {
  const host = (authority: string): Request => ({ authority });
  checkRule(
    to("{ hosts: [a.example] }"),
    [host("a.example"), host("A.Example")],
    [host("b.a.example")],
  );
  checkRule(
    to('{ hosts: ["*.example"] }'),
    [host("a.Example")],
    [host("example"), host("a.example.com")],
  );
  checkRule(to('{ hosts: ["a.*"] }'), [host("A.b"), host("a.b:80")], [host("b.a")]);
  checkRule(to('{ hosts: ["*"] }'), [host("a")], []);
  checkRule(to('{ hosts: ["a.example:*"] }'), [host("a.example:80")], [host("a.example")]);
  checkRule(to('{ hosts: ["a.example:80"] }'), [host("a.example:80")], [host("a.example:81")]);
  const rules = (action: string, operation: string): string =>
    policy(`{ action: ${action}, rules: [${to(operation)}] }`);
  for (const written of ["a.example", "*.example"]) {
    for (const added of [":8080", ":", ".", ".:8080", ".:"]) {
      const spelt = host(`A.example${added}`);
      for (const action of ["ALLOW", "DENY"]) {
        for (const field of ["hosts", "notHosts"]) {
          const verdict = judgeHttp(rules(action, `{ ${field}: ["${written}"] }`), spelt);
          assert.equal(verdict, "denied", `${action} ${field} ${written} ${spelt.authority}`);
        }
      }
    }
    assert.equal(
      judgeHttp(rules("DENY", `{ notHosts: ["${written}"] }`), host("a.example")),
      "allowed",
    );
  }
});

test("ports are the application's", () => {
  const only = (ports: string): string => policy(`{ rules: [${to(`{ ports: ${ports} }`)}] }`);
  assert.equal(judgeHttp(only('["8080"]'), plain), "allowed");
  assert.equal(judgeHttp(only('["80"]'), plain), "denied");
  assert.equal(judgeTcp(only('["9000"]'), {}), "allowed");
  assert.equal(judgeTcp(only('["8080"]'), {}), "denied");
  const not = policy(`{ action: DENY, rules: [${to('{ notPorts: ["8080"] }')}] }`);
  assert.equal(judgeHttp(not, plain), "allowed");
  assert.equal(judgeTcp(not, {}), "denied");
  const condition = policy(`{ rules: [${when('{ key: destination.port, values: ["9000"] }')}] }`);
  assert.deepEqual([judgeHttp(condition, plain), judgeTcp(condition, {})], ["denied", "allowed"]);
});

test("conditions: every key that is honoured", () => {
  const header = (value: string): Request => ({ headers: { "x-a": value } });
  const key = (name: string, values: string): string => when(`{ key: "${name}", ${values} }`);
  checkRule(
    key("request.headers[X-A]", "values: [one, 'tw*']"),
    [header("one"), header("two")],
    [header("x"), plain],
  );
  checkRule(key("request.headers[X-A]", "values: ['*']"), [header("one")], [plain]);
  checkRule(key("request.headers[X-A]", "notValues: [one]"), [header("x"), plain], [header("one")]);
  checkRule(key("source.namespace", "values: [shop]"), [by("shop/a")], [by("other/a"), plain]);
  checkRule(key("source.principal", "values: ['*/sa/a']"), [by("shop/a")], [by("shop/b"), plain]);
  checkRule(key("source.serviceAccount", "values: [a]"), [by("shop/a")], [by("other/a"), plain]);
  checkRule(
    key("destination.ip", "values: [198.18.0.9]"),
    [plain],
    [{ connection: { destinationAddress: "198.18.0.8" } }],
  );
  checkRule(key("connection.sni", "values: [a.b]"), [{ connection: { sni: "a.b" } }], [plain]);
});

test("all parts of a rule hold together, any of a list, any rule", () => {
  const rule = `{ from: [{ source: { namespaces: [shop] } }, { source: { namespaces: [other] } }], to: [{ operation: { methods: [GET], paths: [/a] } }], when: [{ key: "request.headers[x-a]", values: [b] }] }`;
  const good: Request = { connection: mtls("other/x"), path: "/a", headers: { "x-a": "b" } };
  checkRule(
    rule,
    [good],
    [
      { ...good, path: "/b" },
      { ...good, headers: {} },
      { ...good, connection: mtls("third/x") },
    ],
  );
});

test("attributes of HTTP on a TCP port: ALLOW never matches, DENY applies without them", () => {
  const rule = to("{ methods: [GET] }");
  assert.equal(judgeTcp(policy(`{ rules: [${rule}] }`), {}), "denied");
  assert.equal(judgeTcp(policy(`{ action: DENY, rules: [${rule}] }`), {}), "denied");
});

test("what is not honoured denies, and is never left out of a policy", () => {
  for (const spec of [
    `{ rules: [${from('{ requestPrincipals: ["*"], namespaces: [shop] }')}] }`,
    `{ rules: [${from('{ notRequestPrincipals: ["*"] }')}] }`,
    `{ rules: [${from("{ trustDomains: [a] }")}] }`,
    `{ rules: [${from("{ notTrustDomains: [a] }")}] }`,
    `{ rules: [${from("{ serviceAccounts: ['a*'] }")}] }`,
    `{ rules: [${from("{ serviceAccounts: [a], namespaces: [shop] }")}] }`,
    `{ rules: [${to("{ paths: ['/{*}'] }")}] }`,
    `{ rules: [${when("{ key: 'request.auth.claims[iss]', values: [a] }")}] }`,
    `{ rules: [${when("{ key: request.auth.principal, values: [a] }")}] }`,
    `{ rules: [${when("{ key: source.trustDomain, values: [a] }")}] }`,
    `{ rules: [${when("{ key: 'experimental.envoy.filters.a[b]', values: [a] }")}] }`,
    `{ rules: [${when("{ key: no.such, values: [a] }")}] }`,
    "{ action: AUDIT, rules: [{}] }",
    "{ action: CUSTOM, provider: { name: a }, rules: [{}] }",
    "{ targetRefs: [{ kind: Gateway, name: g }], rules: [{}] }",
    "{ action: DENY, rules: [{ form: [] }] }",
  ]) {
    assert.equal(judgeHttp(policy(spec), by("shop/alice")), "denied", spec);
    assert.equal(judgeTcp(policy(spec), mtls("shop/alice")), "denied", spec);
  }
});
