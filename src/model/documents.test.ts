import assert from "node:assert/strict";
import { test } from "node:test";

import { formatProblem } from "../base/problem.ts";
import { positionOf } from "./config-resource.ts";
import { parseDocuments } from "./documents.ts";

const heads: Readonly<Record<string, string>> = {
  VirtualService: "networking.istio.io/v1",
  DestinationRule: "networking.istio.io/v1",
  Gateway: "networking.istio.io/v1",
  ServiceEntry: "networking.istio.io/v1",
  PeerAuthentication: "security.istio.io/v1",
  AuthorizationPolicy: "security.istio.io/v1",
};

function document(kind: string, spec: string): string {
  return `apiVersion: ${heads[kind]}\nkind: ${kind}\nmetadata: { name: x }\nspec: ${spec}\n`;
}

/** What is wrong with a spec, as code, line:column and path; and whether the resource acts. */
function check(kind: string, spec: string, problems: readonly string[], acts: boolean): void {
  const parsed = parseDocuments(document(kind, spec), "f.yaml");
  assert.deepEqual(
    parsed.problems.map(
      ({ code, source, path }) => `${code} ${source?.line}:${source?.column} ${path}`,
    ),
    problems,
    parsed.problems.map(formatProblem).join("\n"),
  );
  assert.equal(parsed.resources.length, acts ? 1 : 0);
  assert.equal(parsed.broken.length, acts ? 0 : 1);
}

const route = "http: [{ route: [{ destination: { host: a } }] }]";

test("parseDocuments() accepts Istio's kinds", () => {
  check("VirtualService", `{ hosts: [a], ${route} }`, [], true);
  check(
    "DestinationRule",
    "{ host: a, subsets: [{ name: v1, labels: { version: v1 } }] }",
    [],
    true,
  );
  check("PeerAuthentication", "{ mtls: { mode: STRICT } }", [], true);
  check("AuthorizationPolicy", "{}", [], true);
  check("AuthorizationPolicy", "{ rules: [{}] }", [], true);
  check("ServiceEntry", "{ hosts: [a.example], ports: [{ number: 80, name: http }] }", [], true);
  check(
    "Gateway",
    "{ servers: [{ port: { number: 80, protocol: HTTP }, hosts: ['*'] }] }",
    [],
    true,
  );
});

test("parseDocuments() says where each mistake is", () => {
  check(
    "VirtualService",
    `{ hosts: [a], htp: [], ${route} }`,
    ["config.unknown-field 4:21 spec.htp"],
    false,
  );
  check("VirtualService", `{ hosts: a, ${route} }`, ["config.wrong-type 4:16 spec.hosts"], false);
  check("VirtualService", `{ ${route} }`, ["config.missing 4:7 spec"], false);
  check(
    "VirtualService",
    "{ hosts: [a], http: [{ timeout: 5x, route: [{ destination: { host: a } }] }] }",
    ["config.bad-duration 4:39 spec.http[0].timeout"],
    false,
  );
  check(
    "VirtualService",
    "{ hosts: [a], http: [{ match: [{ uri: { regex: '(' } }], route: [{ destination: { host: a } }] }] }",
    ["config.bad-regex 4:55 spec.http[0].match[0].uri.regex"],
    false,
  );
  check(
    "DestinationRule",
    "{ host: a, trafficPolicy: { loadBalancer: { simple: ROUND_ROBBIN } } }",
    ["config.bad-enum 4:59 spec.trafficPolicy.loadBalancer.simple"],
    false,
  );
});

test("parseDocuments() refuses what is not honoured; the rest acts only where that is sound", () => {
  check(
    "DestinationRule",
    "{ host: a, trafficPolicy: { loadBalancer: { warmup: { duration: 1s } } } }",
    ["config.not-honoured 4:51 spec.trafficPolicy.loadBalancer.warmup"],
    true,
  );
  check(
    "VirtualService",
    "{ hosts: [a], http: [{ delegate: { name: b } }] }",
    ["config.not-honoured 4:30 spec.http[0].delegate"],
    false,
  );
});

test("parseDocuments() says where routes of connections are wrong", () => {
  const to = "route: [{ destination: { host: a } }]";
  const tls = (match: string): string => `{ hosts: [a, "*.b"], tls: [{ ${match}, ${to} }] }`;
  check("VirtualService", tls("match: [{ sniHosts: [a, x.b, '*.b'] }]"), [], true);
  check(
    "VirtualService",
    tls("match: [{ sniHosts: [a, c] }]"),
    ["virtualservice.sni-host 4:60 spec.tls[0].match[0].sniHosts[1]"],
    false,
  );
  check("VirtualService", tls("match: []"), ["config.too-few 4:43 spec.tls[0].match"], false);
  check(
    "VirtualService",
    tls("match: [{ port: 443 }]"),
    ["config.missing 4:44 spec.tls[0].match[0]"],
    false,
  );
  check(
    "VirtualService",
    `{ hosts: [a], tcp: [{ match: [{ destinationSubnets: [10.0.0.0/33] }], ${to} }] }`,
    ["config.bad-address 4:60 spec.tcp[0].match[0].destinationSubnets[0]"],
    false,
  );
  check(
    "VirtualService",
    "{ hosts: [a], tcp: [{ route: [{ destination: { host: a }, headers: {} }] }] }",
    ["config.unknown-field 4:65 spec.tcp[0].route[0].headers"],
    false,
  );
});

test("parseDocuments() says where a server of a Gateway is wrong", () => {
  const server = (written: string): string => `{ servers: [{ hosts: ["*"], ${written} }] }`;
  const port = (protocol: string): string => `port: { number: 443, protocol: ${protocol} }`;
  check("Gateway", server(`${port("TLS")}, tls: { mode: PASSTHROUGH }`), [], true);
  check("Gateway", server(port("TCP")), [], true);
  const at = (code: string, column: number, path: string): string[] => [
    `${code} 4:${column} spec.servers[0].${path}`,
  ];
  check("Gateway", server(port("HTTPS")), at("config.missing", 19, "tls"), false);
  check(
    "Gateway",
    server(`${port("TCP")}, tls: { mode: PASSTHROUGH }`),
    at("config.conflict", 19, "tls"),
    false,
  );
  check(
    "Gateway",
    server(`${port("HTTP")}, tls: { mode: PASSTHROUGH }`),
    at("config.conflict", 19, "tls"),
    false,
  );
  check(
    "Gateway",
    server(`${port("HTTPS")}, tls: { mode: SIMPLE }`),
    at("config.not-honoured", 88, "tls.mode"),
    false,
  );
});

test("parseDocuments() lets no broken policy act in part", () => {
  check(
    "AuthorizationPolicy",
    "{ action: AUDIT, rules: [{}] }",
    ["config.not-honoured 4:17 spec.action"],
    false,
  );
  check(
    "AuthorizationPolicy",
    "{ rules: [{ from: [{ source: { requestPrincipals: ['*'] } }] }] }",
    ["config.not-honoured 4:38 spec.rules[0].from[0].source.requestPrincipals"],
    false,
  );
  check(
    "AuthorizationPolicy",
    "{ rules: [{ from: [{ source: { principals: [] } }] }] }",
    ["config.too-few 4:36 spec.rules[0].from[0].source.principals"],
    false,
  );
  check(
    "PeerAuthentication",
    "{ mtls: { mode: STRICKT } }",
    ["config.bad-enum 4:23 spec.mtls.mode"],
    false,
  );
});

test("parseDocuments() complains once of one mistake", () => {
  const once = (kind: string, spec: string, problem: string): void =>
    check(kind, spec, [problem], false);
  once(
    "AuthorizationPolicy",
    "{ rules: [{ when: [{ key: source.ip, values: [x] }] }] }",
    "config.bad-address 4:26 spec.rules[0].when[0]",
  );
  once(
    "AuthorizationPolicy",
    "{ rules: [{ when: [{ key: source.ips, values: [x] }] }] }",
    "authorizationpolicy.unknown-key 4:33 spec.rules[0].when[0].key",
  );
  once(
    "AuthorizationPolicy",
    "{ rules: [{ from: [{ source: { principal: [x] } }] }] }",
    "config.unknown-field 4:38 spec.rules[0].from[0].source.principal",
  );
  once(
    "AuthorizationPolicy",
    "{ rules: [{ to: [{ operation: { ports: [80] } }] }] }",
    "config.wrong-type 4:47 spec.rules[0].to[0].operation.ports[0]",
  );
  once("VirtualService", "{ hosts: [a], tls: [] }", "config.missing 4:7 spec");
  once(
    "VirtualService",
    "{ hots: [a], http: [{ directResponse: { status: 200 } }] }",
    "config.unknown-field 4:9 spec.hots",
  );
  once(
    "VirtualService",
    "{ hosts: [a], http: [{ delegate: { name: a } }] }",
    "config.not-honoured 4:30 spec.http[0].delegate",
  );
  once(
    "VirtualService",
    "{ hosts: [a], http: [{ route: [5] }] }",
    "config.wrong-type 4:38 spec.http[0].route[0]",
  );
  once(
    "DestinationRule",
    "{ host: a, trafficPolicy: { tls: { mode: MUTUAL, credentialName: c } } }",
    "config.not-honoured 4:56 spec.trafficPolicy.tls.credentialName",
  );
  once(
    "DestinationRule",
    "{ host: a, trafficPolicy: { loadBalancer: { consistentHash: { httpHeader: c } } } }",
    "config.unknown-field 4:69 spec.trafficPolicy.loadBalancer.consistentHash.httpHeader",
  );
});

test("parseDocuments() says what becomes of a refused resource", () => {
  const message = (kind: string, spec: string): string | undefined =>
    parseDocuments(document(kind, spec), "f.yaml").problems[0]?.message;
  const closed =
    "its last good version stays in force, or else the workloads it selects deny every request";
  for (const spec of [
    "{ action: AUDIT }",
    "{ rules: [{ from: [{ source: { requestPrincipals: ['*'] } }] }] }",
    "{ rules: [{ when: [{ key: 'request.auth.claims[iss]', values: [a] }] }] }",
    "{ rules: [{ to: [{ operation: { paths: ['/{*}'] } }] }] }",
    "{ targetRefs: [{ kind: Gateway, name: g }] }",
  ]) {
    const text = message("AuthorizationPolicy", spec) ?? "";
    assert.ok(text.endsWith(closed), text);
  }
  assert.equal(
    message(
      "Gateway",
      "{ servers: [{ port: { number: 1, protocol: TLS }, hosts: ['*'], tls: { mode: SIMPLE } }] }",
    ),
    "mode SIMPLE is not honoured yet; the resource is refused whole",
  );
});

test("parseDocuments() keeps the selector of a broken policy, and none it cannot trust", () => {
  const broken = (spec: string): unknown =>
    parseDocuments(document("AuthorizationPolicy", spec), "f.yaml").broken[0]?.selector;
  assert.deepEqual(broken("{ selector: { matchLabels: { app: a } }, action: AUDIT }"), {
    app: "a",
  });
  assert.deepEqual(broken("{ action: AUDIT }"), {});
  assert.equal(broken("{ selector: { matchLables: { app: a } } }"), undefined);
});

test("parseDocuments() reads every document it can, and guesses what a broken one held", () => {
  const text = `${document("PeerAuthentication", "{}")}---\nkind: AuthorizationPolicy\nmetadata:\n  name: p\n  namespace: n\nspec: [\n---\n${document("VirtualService", `{ hosts: [a], ${route} }`)}`;
  const { resources, broken, problems, isComplete } = parseDocuments(text, "f.yaml");
  assert.deepEqual(
    resources.map(({ kind }) => kind),
    ["PeerAuthentication", "VirtualService"],
  );
  assert.deepEqual(
    broken.map(({ kind, namespace, name, selector }) => [kind, namespace, name, selector]),
    [["AuthorizationPolicy", "n", "p", undefined]],
  );
  assert.deepEqual([problems[0]?.code, isComplete], ["yaml.syntax", false]);
});

test("parseDocuments() takes a misspelt policy for a broken one, and a nameless document for a gap", () => {
  const told = (head: string): readonly unknown[] => {
    const { broken, isComplete } = parseDocuments(`${head}\nmetadata: { name: x }\n`, "f.yaml");
    return [broken.map(({ kind, name }) => `${kind} ${name ?? "?"}`), isComplete];
  };
  const group = "apiVersion: security.istio.io/v1";
  assert.deepEqual(told(`${group}\nkind: AuthorizationPolic`), [["AuthorizationPolicy x"], false]);
  assert.deepEqual(told(`${group}\nkind: PeerAuth`), [["AuthorizationPolicy x"], false]);
  assert.deepEqual(told(`${group}\nkin: PeerAuthentication`), [["AuthorizationPolicy x"], false]);
  assert.deepEqual(told("kind: PeerAuthentication"), [["PeerAuthentication x"], false]);
  assert.deepEqual(told("apiVersion: networking.istio.io/v1\nkind: Gatway"), [[], false]);
  assert.deepEqual(told("apiVersion: networking.istio.io/v2\nkind: Gateway"), [
    ["Gateway x"],
    true,
  ]);
  assert.deepEqual(told("apiVersion: apps/v1\nkind: Deployment"), [[], true]);
});

test("parseDocuments() names kinds it does not honour", () => {
  const code = (apiVersion: string, kind: string): string | undefined =>
    parseDocuments(`apiVersion: ${apiVersion}\nkind: ${kind}\nmetadata: { name: x }\n`, "f.yaml")
      .problems[0]?.code;
  assert.equal(code("networking.istio.io/v1alpha3", "EnvoyFilter"), "config.kind-not-honoured");
  assert.equal(code("gateway.networking.k8s.io/v1", "Gateway"), "config.kind-not-honoured");
  assert.equal(code("install.istio.io/v1alpha1", "IstioOperator"), "config.kind-not-honoured");
  assert.equal(code("networking.istio.io/v2", "Gateway"), "config.bad-api-version");
  assert.equal(code("apps/v1", "Deployment"), "config.kubernetes-kind");
  assert.equal(code("example.com/v1", "Thing"), "config.unknown-kind");
});

test("parseDocuments() takes no Gateway of the Gateway API for one of Istio's", () => {
  const gateway = (more: string): string =>
    `apiVersion: gateway.networking.k8s.io/v1\nkind: Gateway\nmetadata: { name: x }\n${more}`;
  const { broken, problems } = parseDocuments(gateway("spec: {}\n"), "f.yaml");
  assert.deepEqual(broken, []);
  assert.equal(problems[0]?.resource?.kind, "Gateway.gateway.networking.k8s.io");
  // What is no YAML, too.
  assert.deepEqual(
    parseDocuments(gateway("spec: {\n"), "f.yaml").broken.map(({ kind }) => kind),
    ["Gateway.gateway.networking.k8s.io"],
  );
});

/** What a spec means, whatever it is called by, and what is said of its names. */
function specOf(kind: string, spec: string): [spec: unknown, problems: readonly string[]] {
  const { resources, problems } = parseDocuments(document(kind, spec), "f.yaml");
  return [
    resources[0]?.spec,
    problems.map(
      ({ code, severity, path, source }) => `${severity} ${code} ${source?.line} ${path}`,
    ),
  ];
}

test("parseDocuments() takes old names for their successors, and warns", () => {
  const http = (fields: string): string =>
    `{ hosts: [a], http: [{ route: [{ destination: { host: a } }], ${fields} }] }`;
  const old = (fields: string, now: string, path: string): void => {
    const [spec, problems] = specOf("VirtualService", http(fields));
    assert.deepEqual(spec, specOf("VirtualService", http(now))[0]);
    assert.deepEqual(problems, [`warning config.deprecated-field 4 spec.http[0].${path}`]);
  };
  const mirror = "mirror: { host: b }";
  const percentage = "mirrorPercentage: { value: 7 }";
  old(`${mirror}, mirrorPercent: 7`, `${mirror}, ${percentage}`, "mirrorPercent");
  old(`${mirror}, mirror_percent: 7`, `${mirror}, ${percentage}`, "mirror_percent");
  old(`${mirror}, ${percentage}, mirrorPercent: 9`, `${mirror}, ${percentage}`, "mirrorPercent");
  old(
    "fault: { delay: { fixedDelay: 1s, percent: 7 } }",
    "fault: { delay: { fixedDelay: 1s, percentage: { value: 7 } } }",
    "fault.delay.percent",
  );
  old(
    'corsPolicy: { allowOrigin: ["*", "https://a"] }',
    'corsPolicy: { allowOrigins: [{ exact: "*" }, { exact: "https://a" }] }',
    "corsPolicy.allowOrigin",
  );
  check(
    "VirtualService",
    http(`${mirror}, mirrorPercent: 101`),
    [
      "config.deprecated-field 4:90 spec.http[0].mirrorPercent",
      "config.out-of-range 4:105 spec.http[0].mirrorPercent",
    ],
    false,
  );
});

test("parseDocuments() warns of old names that do nothing in Istio either", () => {
  const [spec, problems] = specOf(
    "DestinationRule",
    "{ host: a, trafficPolicy: { outlierDetection: { consecutiveErrors: 3 } } }",
  );
  assert.deepEqual(spec, { host: "a", trafficPolicy: { outlierDetection: {} } });
  assert.deepEqual(problems, [
    "warning config.no-effect 4 spec.trafficPolicy.outlierDetection.consecutiveErrors",
  ]);
});

test("positionOf() finds a field or what is around it", () => {
  const text = document("VirtualService", `{ hosts: [a], ${route} }`);
  const resource = parseDocuments(text, "f.yaml").resources[0];
  assert.ok(resource !== undefined);
  assert.equal(positionOf(resource, "spec.http[0].route[0].destination.host").column, 61);
  assert.equal(positionOf(resource, "spec.http[0].route[0].weight").column, 38);
  assert.equal(positionOf(resource, "nowhere").line, 1);
});

test("parseDocuments() puts documents that name no namespace where it is told, text and all", () => {
  const text = `# why\n${document("PeerAuthentication", "{ mtls: { mode: STRICT } }")}`;
  const placed = text.replace("name: x", "name: z, namespace: own");
  const { resources, problems } = parseDocuments(`${text}---\n${placed}`, "f.yaml", "shop");
  assert.deepEqual(problems, []);
  assert.deepEqual(
    resources.map(({ namespace, name }) => `${namespace}/${name}`),
    ["shop/x", "own/z"],
  );
  for (const resource of resources) {
    const [again] = parseDocuments(resource.text, "stored.yaml").resources;
    const { kind, namespace, name, spec } = resource;
    assert(again !== undefined);
    assert.deepEqual(
      { kind: again.kind, namespace: again.namespace, name: again.name, spec: again.spec },
      { kind, namespace, name, spec },
    );
  }
  assert.match(resources[1]?.text ?? "", /# why/);
});

test("parseDocuments() gives each item of a List a text of its own", () => {
  const item = document("PeerAuthentication", "{ mtls: { mode: STRICT } }");
  const indented = (name: string): string =>
    `- ${item.replace("name: x", `name: ${name}`).trimEnd().replaceAll("\n", "\n  ")}\n`;
  const list = `apiVersion: v1\nkind: List\nitems:\n${indented("a")}${indented("b")}`;
  const { resources } = parseDocuments(list, "f.yaml");
  const texts = resources.map(({ text }) => parseDocuments(text, "f.yaml").resources);
  assert.deepEqual(
    texts.map((found) => found.map(({ name }) => name)),
    [["a"], ["b"]],
  );
});
