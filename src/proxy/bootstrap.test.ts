import assert from "node:assert/strict";
import test from "node:test";

import { load } from "js-yaml";

import { Cluster } from "../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { typeUrls, type XdsResource } from "../xds/feed.ts";
import { parseBootstrap } from "./bootstrap.ts";

function parse(text: string): ReturnType<typeof parseBootstrap> {
  return parseBootstrap({
    name: "proxy.yaml",
    text,
    parseYaml: (yaml) => load(yaml),
    readFile: (path) => Buffer.from(`content of ${path}`),
  });
}

function resourcesOf(text: string, typeUrl: string): readonly XdsResource[] {
  const { feed } = parse(text);
  let found: readonly XdsResource[] = [];
  feed.onUpdate = (update) => {
    found = update.resources;
    update.respond();
  };
  feed.subscribe(typeUrl, "*");
  return found;
}

test("parseBootstrap() reads static resources, with anchors and either spelling of fields", () => {
  const text = `
node: {id: proxy-1}
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  clusters:
  - {name: one, connect_timeout: &short 0.25s, type: STATIC}
  - {name: two, connectTimeout: *short}
`;
  const clusters = resourcesOf(text, typeUrls.cluster).map(({ bytes }) => Cluster.decode(bytes));
  assert.deepEqual(
    clusters.map(({ name }) => name),
    ["one", "two"],
  );
  assert.deepEqual(
    clusters.map(({ connectTimeout }) => connectTimeout?.nanos),
    [250_000_000, 250_000_000],
  );
  const { admin, nodeId } = parse(text);
  assert.deepEqual(admin, { address: "127.0.0.1", port: 9901 });
  assert.equal(nodeId, "proxy-1");
});

test("parseBootstrap() takes secrets from inline content and from files", () => {
  const { secrets } = parse(`
static_resources:
  secrets:
  - name: default
    tls_certificate:
      certificate_chain: {inline_string: CHAIN}
      private_key: {filename: key.pem}
  - name: ROOTCA
    validation_context: {trusted_ca: {filename: ca.pem}}
`);
  assert.deepEqual(secrets.get("default"), {
    kind: "certificate",
    chainPem: "CHAIN",
    privateKeyPem: "content of key.pem",
  });
  assert.deepEqual(secrets.get("ROOTCA"), {
    kind: "validation",
    trustedCaPem: "content of ca.pem",
  });
});

test("parseBootstrap() says where a file is wrong", () => {
  const check = (text: string, message: RegExp): void =>
    assert.throws(() => parse(text), { code: "bootstrap.invalid", message });
  check("static_resources:\n  clusters: [", /^proxy\.yaml:\d+: /);
  check(
    "static_resources:\n  clusters:\n  - name: a\n    no_such: 1\n",
    /^proxy\.yaml:4: .*no_such/,
  );
  check(
    "node: {}\ndynamic_resources:\n  lds_config: {ads: {}}\n",
    /^proxy\.yaml:\d: dynamic_resources\.ads_config: is required by lds_config or cds_config$/,
  );
});

test("parseBootstrap() refuses two resources of one name, and listeners that could serve nobody", () => {
  const text = `
static_resources:
  secrets:
  - {name: s, validation_context: {trusted_ca: {inline_string: A}}}
  - {name: s, validation_context: {trusted_ca: {inline_string: B}}}
  clusters:
  - {name: one, connect_timeout: 1s}
  - {name: two, connect_timeout: 1s}
  - {name: one, connect_timeout: 2s}
  listeners:
  - {name: l, default_filter_chain: {}}
  - {name: "", filter_chains: [{}]}
  - {name: "", filter_chains: [{}]}
  - {name: m, filter_chains: []}
  - {name: l, filter_chains: [{}]}
`;
  assert.throws(() => parse(text), {
    message: [
      "proxy.yaml:4: static_resources.clusters[2].name: 'one' is the name of two",
      "proxy.yaml:4: static_resources.listeners[4].name: 'l' is the name of two",
      "proxy.yaml:4: static_resources.secrets[1].name: 's' is the name of two",
      "proxy.yaml:12: static_resources.listeners[3].filter_chains: at least one is required",
    ].join("\n"),
  });
});

test("parseBootstrap() says what is wrong with a file of nothing but mistakes", () => {
  const text = JSON.stringify(
    Object.fromEntries(Array.from({ length: 200_000 }, (_, i) => [`k${i}`, 1])),
  );
  const file = { name: "proxy.json", text, parseYaml: JSON.parse, readFile: () => Buffer.alloc(0) };
  assert.throws(
    () => parseBootstrap(file),
    /^HeddleError: proxy\.json:1: k0: .* has no field 'k0'\n/,
  );
});

test("parseBootstrap() takes a watchdog over workers, which ends nothing unless it says so", () => {
  const limits = (text: string) => parse(`watchdogs: ${text}`).watch;
  assert.equal(limits("{}"), undefined);
  assert.deepEqual(limits("{worker_watchdog: {}}"), {
    missMs: 200,
    megaMissMs: 1000,
    endMs: 0,
    killMs: 0,
  });
  assert.deepEqual(
    limits("{worker_watchdog: {miss_timeout: 0.3s, megamiss_timeout: 2s, kill_timeout: 60s}}"),
    { missMs: 300, megaMissMs: 2000, endMs: 0, killMs: 60_000 },
  );
});

test("parseBootstrap() refuses what a watchdog cannot do", () => {
  for (const [text, field] of [
    ["watchdog: {kill_timeout: 1s}", "watchdog"],
    ["watchdogs: {main_thread_watchdog: {kill_timeout: 1s}}", "watchdogs.main_thread_watchdog"],
    [
      "watchdogs: {worker_watchdog: {multikill_timeout: 1s}}",
      "watchdogs.worker_watchdog.multikill_timeout",
    ],
    [
      "watchdogs: {worker_watchdog: {max_kill_timeout_jitter: 1s}}",
      "watchdogs.worker_watchdog.max_kill_timeout_jitter",
    ],
    [
      "watchdogs: {worker_watchdog: {actions: [{event: MISS}]}}",
      "watchdogs.worker_watchdog.actions",
    ],
  ] as const) {
    assert.throws(
      () => parse(text),
      new RegExp(`${field.replaceAll(".", "\\.")}[^:]*: is not supported`),
    );
  }
});
