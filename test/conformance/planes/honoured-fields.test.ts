/**
 * Nothing is accepted without effect: every field of every message that the data plane takes is set
 * once, alone. What is not refused must stand in `honoured-fields.txt`, which people have read: each
 * line is a field that is honoured, or one that means nothing to this data plane.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import test from "node:test";

import type { JsonObject } from "@bufbuild/protobuf";

import { createListenerSet } from "../../../src/proxy/listener.ts";
import { typeUrls } from "../../../src/xds/feed.ts";
import { testDataPlane } from "../../support/data-plane.ts";
import { fieldExamples } from "./field-examples.ts";
import { mentionedNames, nameKey, readKey, recordReads } from "./field-reads.ts";
import { acceptedFields, enclose, encode, fieldAt, setFields, type Walked } from "./field-walk.ts";
import { unreadFields } from "./unread-fields.ts";

// `HEDDLE_UPDATE_GOLDEN=1 node --test test/conformance/planes/honoured-fields.test.ts` writes it anew.
const isUpdating = process.env["HEDDLE_UPDATE_GOLDEN"] === "1";
const golden = new URL("honoured-fields.txt", import.meta.url).pathname;

const extensions = "envoy.extensions";
const prefix = "type.googleapis.com/";
const manager = `${extensions}.filters.network.http_connection_manager.v3.HttpConnectionManager`;
const tcpProxy = `${extensions}.filters.network.tcp_proxy.v3.TcpProxy`;
const endpoint = { address: { socketAddress: { address: "192.0.2.1", portValue: 80 } } };

function any(type: string, json: JsonObject = {}): JsonObject {
  return { "@type": `${prefix}${type}`, ...json };
}

const tcp = { name: "tcp", typedConfig: any(tcpProxy, { cluster: "app" }) };
const router = { name: "router", typedConfig: any(`${extensions}.filters.http.router.v3.Router`) };

function routesOf(action: JsonObject, more: JsonObject = {}): JsonObject {
  const route = { match: { prefix: "/" }, route: action, ...more };
  return { name: "r", virtualHosts: [{ name: "v", domains: ["*"], routes: [route] }] };
}

function listenerOf(chain: JsonObject, more: JsonObject = {}): JsonObject {
  const address = { socketAddress: { address: "127.0.0.1", portValue: 1 } };
  return { name: "l", address, bindToPort: false, filterChains: [chain], ...more };
}

const reads = await recordReads();
const plane = testDataPlane((context, secrets) => createListenerSet({ context, secrets }));
plane.configuration.start();
let version = 0;

function send(typeUrl: string, name: string, bytes: Uint8Array): string | undefined {
  const answer = plane.feed.send(typeUrl, [{ name, version: String(++version), bytes }]);
  return answer === "accepted" ? undefined : answer;
}

const listenerType = "envoy.config.listener.v3.Listener";
const clusterType = "envoy.config.cluster.v3.Cluster";

function inListener(
  type: string,
  place: (config: JsonObject) => JsonObject,
  base: JsonObject = {},
): Walked {
  const outer = { type: listenerType, json: place(any(type)) };
  const refusal = (bytes: Uint8Array): string | undefined =>
    send(typeUrls.listener, "l", enclose(outer, { type, bytes }));
  return { type, base, refusal };
}

/** A filter of a connection manager, or what else stands in one. */
function inManager(
  type: string,
  place: (config: JsonObject) => JsonObject,
  base: JsonObject = {},
): Walked {
  const full = {
    httpFilters: [router],
    routeConfig: routesOf({ cluster: "app" }),
    ...place(any(type)),
  };
  const { refusal } = inListener(manager, (typedConfig) => ({
    ...listenerOf({ filters: [{ name: "http", typedConfig }] }),
  }));
  return {
    type,
    base,
    refusal: (bytes) => refusal(enclose({ type: manager, json: full }, { type, bytes })),
  };
}

function inCluster(
  type: string,
  place: (config: JsonObject) => JsonObject,
  base: JsonObject = {},
): Walked {
  const outer = { type: clusterType, json: { name: "c", ...place(any(type)) } };
  const refusal = (bytes: Uint8Array): string | undefined =>
    send(typeUrls.cluster, "c", enclose(outer, { type, bytes }));
  return { type, base, refusal };
}

const httpFilter = (name: string) => `${extensions}.filters.http.${name}`;
const filter = (type: string, base: JsonObject = {}): Walked =>
  inManager(
    httpFilter(type),
    (typedConfig) => ({ httpFilters: [{ name: "f", typedConfig }, router] }),
    base,
  );
const listenerFilter = (type: string, base: JsonObject = {}): Walked =>
  inListener(
    `${extensions}.filters.listener.${type}`,
    (typedConfig) =>
      listenerOf({ filters: [tcp] }, { listenerFilters: [{ name: "f", typedConfig }] }),
    base,
  );
const logger = (type: string, base: JsonObject = {}): Walked =>
  inManager(
    `${extensions}.access_loggers.${type}`,
    (typedConfig) => ({ accessLog: [{ name: "l", typedConfig }] }),
    base,
  );
const tracer = (type: string, base: JsonObject): Walked =>
  inManager(
    `envoy.config.trace.v3.${type}`,
    (typedConfig) => ({ tracing: { provider: { name: "t", typedConfig } } }),
    base,
  );
const service = { envoyGrpc: { clusterName: "app" } };
const collected = { logName: "l", grpcService: service, transportApiVersion: "V3" };
const balancer = (type: string, base: JsonObject = {}): Walked =>
  inCluster(
    `${extensions}.load_balancing_policies.${type}`,
    (typedConfig) => ({
      loadBalancingPolicy: { policies: [{ typedExtensionConfig: { name: "p", typedConfig } }] },
    }),
    base,
  );
/** A balancing policy inside another. */
function choosing(type: string): JsonObject {
  const typedConfig = any(`${extensions}.load_balancing_policies.${type}`);
  return { policies: [{ typedExtensionConfig: { name: "p", typedConfig } }] };
}
const policies = {
  p: { permissions: [{ any: true }], principals: [{ any: true }] },
};
const tls = `${extensions}.transport_sockets.tls.v3`;
const tlsBase = {
  commonTlsContext: {
    tlsCertificateSdsSecretConfigs: [{ name: "default", sdsConfig: { ads: {} } }],
    validationContextSdsSecretConfig: { name: "ROOTCA", sdsConfig: { ads: {} } },
  },
};
const stateValue = {
  objectKey: "k",
  factoryKey: "envoy.string",
  formatString: { textFormatSource: { inlineString: "v" } },
};
const forwardBase = { dnsCacheConfig: { name: "d", dnsLookupFamily: "ALL" } };

const jwtSet =
  '{"keys":[{"kty":"OKP","crv":"Ed25519","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}';
const jwtProvider = { issuer: "me", localJwks: { inlineString: jwtSet } };
/** Maps are not walked into: their fields are those of one provider and of one requirement. */
const jwtBases: readonly JsonObject[] = [
  { providers: { p: jwtProvider }, requirementMap: { r: { providerName: "p" } } },
  {
    providers: { p: jwtProvider },
    rules: [{ match: { prefix: "/" }, requires: { providerName: "p" } }],
  },
];

const checkBase = { timeout: "1s", interval: "5s", unhealthyThreshold: 1, healthyThreshold: 1 };
const checks: readonly JsonObject[] = [
  { httpHealthCheck: { path: "/" } },
  { httpHealthCheck: { path: "/", method: "POST" } },
  { tcpHealthCheck: {} },
];

const walked: readonly Walked[] = [
  {
    type: clusterType,
    base: {
      name: "c",
      loadAssignment: { clusterName: "c", endpoints: [{ lbEndpoints: [{ endpoint }] }] },
    },
    refusal: (bytes) => send(typeUrls.cluster, "c", bytes),
  },
  ...checks.map((check) => ({
    type: clusterType,
    base: { name: "c", healthChecks: [{ ...checkBase, ...check }] },
    refusal: (bytes: Uint8Array) => send(typeUrls.cluster, "c", bytes),
  })),
  {
    type: "envoy.config.endpoint.v3.ClusterLoadAssignment",
    base: { clusterName: "c", endpoints: [{ lbEndpoints: [{ endpoint }] }] },
    refusal: (bytes) => send(typeUrls.endpoint, "c", bytes),
  },
  {
    type: "envoy.config.route.v3.RouteConfiguration",
    base: routesOf({ cluster: "app", retryPolicy: { retryOn: "5xx" } }),
    refusal: (bytes) => send(typeUrls.route, "r", bytes),
  },
  {
    type: "envoy.config.route.v3.RouteConfiguration",
    base: {
      name: "r",
      virtualHosts: [
        {
          name: "v",
          domains: ["*"],
          routes: [{ match: { prefix: "/" }, redirect: { hostRedirect: "x" } }],
        },
      ],
    },
    refusal: (bytes) => send(typeUrls.route, "r", bytes),
  },
  {
    type: listenerType,
    base: listenerOf({ filters: [tcp] }),
    refusal: (bytes) => send(typeUrls.listener, "l", bytes),
  },
  inListener(manager, (typedConfig) => listenerOf({ filters: [{ name: "http", typedConfig }] }), {
    httpFilters: [router],
    routeConfig: { name: "r" },
  }),
  inListener(tcpProxy, (typedConfig) => listenerOf({ filters: [{ name: "tcp", typedConfig }] }), {
    cluster: "app",
  }),
  inListener(tcpProxy, (typedConfig) => listenerOf({ filters: [{ name: "tcp", typedConfig }] }), {
    cluster: "app",
    tunnelingConfig: { hostname: "h:1", usePost: true },
  }),
  inListener(
    `${extensions}.filters.network.rbac.v3.RBAC`,
    (typedConfig) => listenerOf({ filters: [{ name: "rbac", typedConfig }, tcp] }),
    { rules: { policies } },
  ),
  inListener(
    `${extensions}.filters.network.set_filter_state.v3.Config`,
    (typedConfig) => listenerOf({ filters: [{ name: "state", typedConfig }, tcp] }),
    { onNewConnection: [stateValue], onDownstreamTlsHandshake: [stateValue] },
  ),
  inListener(
    `${tls}.DownstreamTlsContext`,
    (typedConfig) => listenerOf({ filters: [tcp], transportSocket: { name: "tls", typedConfig } }),
    tlsBase,
  ),
  inCluster(
    `${tls}.UpstreamTlsContext`,
    (typedConfig) => ({ transportSocket: { name: "tls", typedConfig } }),
    tlsBase,
  ),
  inCluster(
    `${extensions}.transport_sockets.proxy_protocol.v3.ProxyProtocolUpstreamTransport`,
    (typedConfig) => ({ transportSocket: { name: "header", typedConfig } }),
    {
      config: {
        passThroughTlvs: { matchType: "INCLUDE" },
        addedTlvs: [{ type: 2, value: "aGk=" }],
      },
      transportSocket: { name: "envoy.transport_sockets.raw_buffer" },
    },
  ),
  listenerFilter("tls_inspector.v3.TlsInspector"),
  listenerFilter("http_inspector.v3.HttpInspector"),
  listenerFilter("original_dst.v3.OriginalDst"),
  listenerFilter("proxy_protocol.v3.ProxyProtocol", {
    rules: [{ tlvType: 2, onTlvPresent: { key: "k" } }],
    passThroughTlvs: { matchType: "INCLUDE" },
  }),
  filter("rbac.v3.RBAC", { rules: { policies } }),
  filter("ext_authz.v3.ExtAuthz", { httpService: { serverUri: { cluster: "app" } } }),
  filter("ext_authz.v3.ExtAuthz", { grpcService: { envoyGrpc: { clusterName: "app" } } }),
  ...jwtBases.map((base) => filter("jwt_authn.v3.JwtAuthentication", base)),
  filter("fault.v3.HTTPFault", { abort: { httpStatus: 503 } }),
  filter("fault.v3.HTTPFault", { delay: { fixedDelay: "1s" } }),
  filter("set_filter_state.v3.Config", { onRequestHeaders: [stateValue] }),
  filter("cors.v3.Cors"),
  filter("grpc_stats.v3.FilterConfig"),
  filter("grpc_stats.v3.FilterConfig", {
    individualMethodStatsAllowlist: { services: [{ name: "s", methodNames: ["m"] }] },
  }),
  filter("grpc_web.v3.GrpcWeb"),
  filter("stateful_session.v3.StatefulSession"),
  filter("header_mutation.v3.HeaderMutation", {
    mutations: {
      requestMutations: [{ remove: "x" }],
      responseMutations: [{ append: { header: { key: "x", value: "y" } } }],
      queryParameterMutations: [{ append: { record: { key: "k", value: "v" } } }],
    },
  }),
  filter("local_ratelimit.v3.LocalRateLimit", {
    statPrefix: "s",
    tokenBucket: { maxTokens: 1, fillInterval: "1s" },
    descriptors: [
      {
        entries: [{ key: "k", value: "v" }],
        tokenBucket: { maxTokens: 1, fillInterval: "1s" },
      },
    ],
  }),
  filter("dynamic_forward_proxy.v3.FilterConfig", forwardBase),
  inManager(httpFilter("router.v3.Router"), (typedConfig) => ({
    httpFilters: [{ name: "router", typedConfig }],
  })),
  ...["rbac.v3.RBACPerRoute", "cors.v3.CorsPolicy", "fault.v3.HTTPFault"].map((type) =>
    inManager(httpFilter(type), (config) => ({
      routeConfig: routesOf({ cluster: "app" }, { typedPerFilterConfig: { f: config } }),
    })),
  ),
  inManager(
    httpFilter("ext_authz.v3.ExtAuthzPerRoute"),
    (config) => ({
      routeConfig: routesOf({ cluster: "app" }, { typedPerFilterConfig: { f: config } }),
    }),
    { checkSettings: {} },
  ),
  inManager(
    httpFilter("jwt_authn.v3.PerRouteConfig"),
    (config) => ({
      routeConfig: routesOf({ cluster: "app" }, { typedPerFilterConfig: { f: config } }),
    }),
    { requirementName: "r" },
  ),
  logger("file.v3.FileAccessLog", { path: "/dev/null" }),
  logger("stream.v3.StdoutAccessLog"),
  logger("stream.v3.StderrAccessLog"),
  logger("stats.v3.Config", { statPrefix: "istio" }),
  logger("grpc.v3.HttpGrpcAccessLogConfig", { commonConfig: collected }),
  logger("grpc.v3.TcpGrpcAccessLogConfig", { commonConfig: collected }),
  logger("open_telemetry.v3.OpenTelemetryAccessLogConfig", { grpcService: service }),
  tracer("ZipkinConfig", {
    collectorCluster: "app",
    collectorEndpoint: "/spans",
    collectorEndpointVersion: "HTTP_JSON",
  }),
  tracer("DatadogConfig", { collectorCluster: "app" }),
  tracer("SkyWalkingConfig", { grpcService: service }),
  inManager(
    "envoy.config.trace.v3.OpenTelemetryConfig",
    (typedConfig) => ({ tracing: { provider: { name: "otel", typedConfig } } }),
    { httpService: { httpUri: { uri: "http://a/v1", cluster: "app", timeout: "1s" } } },
  ),
  inCluster(
    `${extensions}.upstreams.http.v3.HttpProtocolOptions`,
    (config) => ({
      typedExtensionProtocolOptions: {
        "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": config,
      },
      // Where a protocol is to be agreed on.
      transportSocket: {
        name: "tls",
        typedConfig: any(`${extensions}.transport_sockets.tls.v3.UpstreamTlsContext`),
      },
    }),
    { explicitHttpConfig: { httpProtocolOptions: {} } },
  ),
  inCluster(
    `${extensions}.clusters.dynamic_forward_proxy.v3.ClusterConfig`,
    (typedConfig) => ({ lbPolicy: "CLUSTER_PROVIDED", clusterType: { name: "f", typedConfig } }),
    forwardBase,
  ),
  inCluster(
    `${extensions}.clusters.aggregate.v3.ClusterConfig`,
    (typedConfig) => ({ lbPolicy: "CLUSTER_PROVIDED", clusterType: { name: "a", typedConfig } }),
    { clusters: ["app"] },
  ),
  balancer("round_robin.v3.RoundRobin"),
  balancer("least_request.v3.LeastRequest"),
  balancer("random.v3.Random"),
  balancer("ring_hash.v3.RingHash"),
  balancer("maglev.v3.Maglev"),
  balancer("client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin"),
  balancer("wrr_locality.v3.WrrLocality", {
    endpointPickingPolicy: choosing(
      "client_side_weighted_round_robin.v3.ClientSideWeightedRoundRobin",
    ),
  }),
  balancer("override_host.v3.OverrideHost", {
    overrideHostSources: [{ header: "x-pick" }],
    fallbackPolicy: choosing("random.v3.Random"),
  }),
  balancer("subset.v3.Subset", {
    subsetSelectors: [{ keys: ["k"] }],
    subsetLbPolicy: choosing("random.v3.Random"),
  }),
];

const shortName = (type: string): string => type.replace(/^envoy\.(?:extensions|config)\./, "");
const lines = new Set<string>();
/** Every field that was accepted, with the message that it stands in. */
const accepted = new Set<string>();

function accept(type: string, path: string): void {
  const { message, field } = fieldAt(type, path);
  if (!message.startsWith("google.protobuf.")) accepted.add(`${message} ${field}`);
}

test("every field that is not refused is one that people have read about", () => {
  for (const one of walked) {
    const bare = one.refusal(encode(one.type, one.base));
    assert.equal(bare, undefined, `${one.type}: the base is refused`);
    const name = shortName(one.type);
    for (const field of acceptedFields(one)) {
      lines.add(`${name} ${field}`);
      // Of which zero alone is taken says what is done anyway.
      if (!field.endsWith(" = 0")) accept(one.type, field);
    }
  }
  const text = `${[...lines].toSorted().join("\n")}\n`;
  if (isUpdating) writeFileSync(golden, text);
  assert.equal(text, readFileSync(golden, "utf8"));
});

/** Messages of other rooms: parts of those that are walked, and what stands in no resource alone. */
const walkedTypes: ReadonlySet<string> = new Set(walked.map(({ type }) => shortName(type)));

test("no field that docs/fields.md lists is refused by a compiler", () => {
  const taken = new Set(lines);
  const refusals: string[] = [];
  for (const [name, json] of fieldExamples) {
    const one = walked.find(({ type }) => shortName(type) === name);
    assert.ok(one !== undefined, `${name} is not walked`);
    const refusal = one.refusal(encode(one.type, json));
    if (refusal !== undefined) refusals.push(`${name}: ${refusal}`);
    for (const path of setFields(one.type, json)) {
      taken.add(`${name} ${path}`);
      accept(one.type, path);
    }
  }
  plane.close();
  assert.deepEqual(refusals, []);
  const listed = readFileSync("docs/fields.md", "utf8")
    .split(/^## /m)
    .slice(1)
    .flatMap((section) => {
      const name = shortName(section.slice(0, section.indexOf("\n")));
      if (!walkedTypes.has(name)) return [];
      return [...section.matchAll(/^- `([^`]+)`/gm)].map(([, path = ""]) => `${name} ${path}`);
    });
  assert.deepEqual(
    listed.filter((field) => !taken.has(field)),
    [],
  );
});

test("every field that is not refused is read by somebody, or means nothing here", () => {
  const mentioned = mentionedNames();
  const unread = [...accepted].filter((key) => {
    const [message = "", field = ""] = key.split(" ");
    return !reads.has(readKey(message, field)) && !mentioned.has(nameKey(field));
  });
  assert.deepEqual(
    unread.filter((key) => !unreadFields.has(key)).toSorted(),
    [],
    "accepted, and without effect",
  );
  // A reason that nobody needs any more is wrong.
  assert.deepEqual(
    [...unreadFields.keys()].filter((key) => !unread.includes(key)),
    [],
    "said to have no effect, and read",
  );
});
