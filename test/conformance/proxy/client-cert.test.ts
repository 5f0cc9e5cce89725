/**
 * What upstreams are told of a client's certificate (`x-forwarded-client-cert`), over one file, under
 * Heddle's data plane (both I/O backends, and data workers) and under Envoy: every mode, every detail,
 * and certificates that are hard to write down.
 */
import assert from "node:assert/strict";
import http from "node:http";
import { after, before, test } from "node:test";
import tls from "node:tls";

import { findEnvoy } from "../../support/envoy.ts";
import { makeTestAuthority, type TestCertificate } from "../../support/test-certificates.ts";
import { planeNames, type PlaneName, startPlanes } from "./planes.ts";

const spiffe = "spiffe://cluster.local/ns/shop/sa/cart";
const authority = await makeTestAuthority();
const intermediate = await (await authority.intermediate()).intermediate();

const awkward = [
  { O: ["Shop, Inc. + Sons"] },
  { OU: [{ utf8String: "Größe; <x>" }] },
  { CN: [{ utf8String: '#cart-0."shop" \\ = ' }] },
];
const clients = {
  workload: await authority.issue({ uris: [spiffe], dnsNames: ["cart.shop.svc", "cart.test"] }),
  nameless: await authority.issue({ dnsNames: ["only.test"], commonName: "only" }),
  several: await authority.issue({
    uris: ["https://one.test/a;b,c=d", "urn:two"],
    dnsNames: ["*.wild.test"],
    ips: ["192.0.2.1"],
    emails: ["me@mail.test"],
    subject: awkward,
  }),
  chained: await intermediate.issue({ uris: [spiffe] }),
  none: undefined,
} as const satisfies Record<string, TestCertificate | undefined>;
const own = await authority.issue({
  uris: ["spiffe://cluster.local/ns/shop/sa/catalog"],
  dnsNames: ["catalog.test"],
});
const bare = await authority.issue({ dnsNames: ["bare.test"] });

const all = "{subject: true, cert: true, chain: true, dns: true, uri: true}";
const details: Readonly<Record<string, string>> = {
  none: "{}",
  subject: "{subject: true}",
  cert: "{cert: true}",
  chain: "{chain: true}",
  dns: "{dns: true}",
  uri: "{uri: true}",
  all,
};
const modes = [
  "SANITIZE",
  "FORWARD_ONLY",
  "APPEND_FORWARD",
  "SANITIZE_SET",
  "ALWAYS_FORWARD_ONLY",
] as const;

interface Chain {
  readonly name: string;
  readonly mode: (typeof modes)[number];
  readonly details: string;
  readonly server: TestCertificate;
}

const chains: readonly Chain[] = [
  ...modes.map((mode) => ({ name: mode.toLowerCase(), mode, details: all, server: own })),
  ...Object.entries(details).map(([name, set]) => ({
    name: `details-${name}`,
    mode: "SANITIZE_SET" as const,
    details: set,
    server: own,
  })),
  { name: "bare", mode: "APPEND_FORWARD", details: all, server: bare },
];

const earlier = {
  nothing: [],
  "an earlier proxy": ["x-forwarded-client-cert: By=spiffe://a/b;URI=spiffe://c/d"],
  "two earlier proxies": ["X-Forwarded-Client-Cert: URI=one", "x-forwarded-client-cert: URI=two"],
} as const;

interface Scenario {
  readonly name: string;
  /** Undefined: without TLS. */
  readonly chain: string | undefined;
  readonly as: keyof typeof clients;
  readonly fields: readonly string[];
}

const scenarios: readonly Scenario[] = [
  ...chains.flatMap(({ name }): readonly Scenario[] =>
    name.startsWith("details-")
      ? (["workload", "nameless", "several", "chained"] as const).map((as) => ({
          name: `${name} as ${as}`,
          chain: name,
          as,
          fields: [],
        }))
      : (["workload", "none"] as const).flatMap((as) =>
          Object.entries(earlier).map(([what, fields]) => ({
            name: `${name} as ${as} behind ${what}`,
            chain: name,
            as,
            fields,
          })),
        ),
  ),
  ...Object.entries(earlier).map(([what, fields]) => ({
    name: `plaintext behind ${what}`,
    chain: undefined,
    as: "none" as const,
    fields,
  })),
];

const indented = (pem: string): string => JSON.stringify(pem);

function bootstrap(ports: { readonly [name in "tls" | "plain" | "app"]: number }): string {
  const manager = ({ mode, details: set }: Pick<Chain, "mode" | "details">): string => `
      - name: http
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          forward_client_cert_details: ${mode}
          set_current_client_cert_details: ${set}
          http_filters: [{name: router, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}}]
          route_config: {virtual_hosts: [{name: all, domains: ["*"], routes: [{match: {prefix: /}, route: {cluster: app}}]}]}`;
  return `
static_resources:
  clusters:
  - {name: app, type: STATIC, connect_timeout: 10s, load_assignment: {cluster_name: app, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${ports.app}}}}}]}]}}
  listeners:
  - name: plain
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports.plain}}}
    filter_chains:
    - filters: ${manager({ mode: "APPEND_FORWARD", details: all })}
  - name: tls
    address: {socket_address: {address: 127.0.0.1, port_value: ${ports.tls}}}
    listener_filters: [{name: tls, typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.listener.tls_inspector.v3.TlsInspector}}]
    filter_chains:${chains
      .map(
        (chain) => `
    - filter_chain_match: {server_names: [${chain.name}.test]}
      transport_socket:
        name: tls
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates: [{certificate_chain: {inline_string: ${indented(chain.server.chainPem)}}, private_key: {inline_string: ${indented(chain.server.privateKeyPem)}}}]
            validation_context: {trusted_ca: {inline_string: ${indented(authority.rootPem)}}}
      filters: ${manager(chain)}`,
      )
      .join("")}
`;
}

/** The header, each time it stands there. */
type Told = readonly string[];

let application: http.Server | undefined;
let planes: Awaited<ReturnType<typeof startPlanes<"tls" | "plain">>> | undefined;

before(async () => {
  application = http.createServer(({ rawHeaders }, answer) => {
    const told = rawHeaders.flatMap((name, i) =>
      i % 2 === 0 && name.toLowerCase() === "x-forwarded-client-cert" ? [rawHeaders[i + 1]] : [],
    );
    answer.end(JSON.stringify(told));
  });
  await new Promise<void>((resolve) => application?.listen(0, "127.0.0.1", resolve));
  const address = application.address();
  assert.ok(typeof address === "object" && address !== null);
  const { port } = address;
  planes = await startPlanes(["tls", "plain"], (ports) => bootstrap({ ...ports, app: port }));
});

after(async () => {
  await planes?.close();
  application?.close();
});

function ask(plane: PlaneName, { chain, as, fields }: Scenario): Promise<Told> {
  assert.ok(planes !== undefined);
  const port = planes.port(plane, chain === undefined ? "plain" : "tls");
  const client = clients[as];
  const headers = fields.flatMap((field) => {
    const [name = "", value = ""] = field.split(": ");
    return [name, value];
  });
  return new Promise((resolve, reject) => {
    const request = http.request({
      host: "127.0.0.1",
      port,
      headers: ["Host", "a", "Connection", "close", ...headers],
      ...(chain === undefined
        ? {}
        : {
            createConnection: () =>
              tls.connect({
                host: "127.0.0.1",
                port,
                servername: `${chain}.test`,
                rejectUnauthorized: false,
                ...(client === undefined
                  ? {}
                  : { cert: client.chainPem, key: client.privateKeyPem }),
              }),
          }),
    });
    request.on("error", reject);
    request.on("response", (answer) => {
      let body = "";
      answer.setEncoding("utf8");
      answer.on("data", (chunk: string) => (body += chunk));
      answer.on("end", () => resolve(JSON.parse(body)));
    });
    request.end();
  });
}

for (const scenario of scenarios) {
  test(`applyClientCert() ${scenario.name}, as Envoy`, async () => {
    assert.ok(findEnvoy() !== undefined, "no Envoy at hand: npm test installs one");
    const expected = await ask("envoy", scenario);
    for (const plane of planeNames) {
      assert.deepEqual(await ask(plane, scenario), expected, plane);
    }
  });
}
