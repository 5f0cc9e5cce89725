/**
 * What access logs tell of certificates, of both connections of a request, over one file, under Heddle's
 * data plane (both I/O backends, and data workers) and under Envoy: names of each kind, several and none,
 * of both ends; and of the places in configuration that took a connection and its request.
 */
import assert from "node:assert/strict";
import { once } from "node:events";
import https from "node:https";
import { after, before, test } from "node:test";

import { makeTestAuthority, type TestCertificate } from "../../support/test-certificates.ts";
import { until } from "./collector.ts";
import { planeNames, type PlaneName, type Planes, startPlanes } from "./planes.ts";

const authority = await makeTestAuthority();
const rich = {
  uris: ["https://one.test/a", "urn:two"],
  dnsNames: ["cart.shop.svc", "cart.test"],
  ips: ["192.0.2.1", "2001:db8:0:0:0:0:0:1"],
  emails: ["me@mail.test", "you@mail.test"],
  subject: [{ O: ["Shop"] }, { CN: [{ utf8String: "cart-0" }] }],
};
const clients = {
  rich: await authority.issue(rich),
  plain: await authority.issue({ commonName: "plain" }),
  none: undefined,
} as const satisfies Record<string, TestCertificate | undefined>;
const server = await authority.issue({ ...rich, dnsNames: ["front.test", "back.test"] });
const application = await authority.issue({ ...rich, uris: ["spiffe://cluster.local/app"] });

const operators = (
  "FINGERPRINT_256 FINGERPRINT_1 SERIAL CERT CERT_V_START CERT_V_END CERT_V_START(%s) " +
  "CERT_V_END(%Y-%m-%dT%H:%M:%S) SUBJECT ISSUER URI_SAN DNS_SAN EMAIL_SAN IP_SAN"
)
  .split(" ")
  .map((name) => `DOWNSTREAM_PEER_${name}`);
const upstreamOperators =
  "CERT CERT_V_START CERT_V_END CERT_V_END(%s) SUBJECT ISSUER URI_SAN DNS_SAN IP_SAN"
    .split(" ")
    .map((name) => `UPSTREAM_PEER_${name}`);
const others = [
  "DOWNSTREAM_LOCAL_DNS_SAN",
  "DOWNSTREAM_LOCAL_EMAIL_SAN",
  "DOWNSTREAM_LOCAL_IP_SAN",
  "DOWNSTREAM_LOCAL_SUBJECT",
  "DOWNSTREAM_LOCAL_URI_SAN",
  "DOWNSTREAM_TLS_VERSION",
  "FILTER_CHAIN_NAME",
  "METADATA(LISTENER:own:a)",
  "METADATA(LISTENER:own)",
  "METADATA(LISTENER_FILTER_CHAIN:own:a)",
  "METADATA(LISTENER_FILTER_CHAIN:none)",
  "METADATA(VIRTUAL_HOST:own:a)",
  "METADATA(ROUTE:own:a)",
  "REQUESTED_SERVER_NAME",
  "UPSTREAM_LOCAL_DNS_SAN",
  "UPSTREAM_LOCAL_IP_SAN",
  "UPSTREAM_LOCAL_URI_SAN",
  "VIRTUAL_CLUSTER_NAME",
];
const metadata = (of: string): string => `metadata: {filter_metadata: {own: {a: ${of}, b: 2}}}`;

type Ports = { readonly tls: number };

function bootstrap({ tls }: Ports, logFile: string, upstream: number): string {
  const type = "type.googleapis.com/envoy.extensions";
  const json = Object.fromEntries(
    [...operators, ...upstreamOperators, ...others].map((name) => [name, `%${name}%`]),
  );
  const context = (one: TestCertificate): string =>
    `common_tls_context: {tls_certificates: [{certificate_chain: {inline_string: ${JSON.stringify(one.chainPem)}}, private_key: {inline_string: ${JSON.stringify(one.privateKeyPem)}}}], validation_context: {trusted_ca: {inline_string: ${JSON.stringify(authority.rootPem)}}}}`;
  const socket = (side: "Upstream" | "Downstream", one: TestCertificate): string =>
    `transport_socket: {name: tls, typed_config: {"@type": ${type}.transport_sockets.tls.v3.${side}TlsContext, ${context(one)}}}`;
  return `
static_resources:
  clusters:
  - {name: app, type: STATIC, connect_timeout: 5s, ${socket("Upstream", clients.rich)}, load_assignment: {cluster_name: app, endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${upstream}}}}}]}]}}
  listeners:
  - name: tls
    ${metadata("listener")}
    address: {socket_address: {address: 127.0.0.1, port_value: ${tls}}}
    listener_filters: [{name: tls, typed_config: {"@type": ${type}.filters.listener.tls_inspector.v3.TlsInspector}}]
    filter_chains:
    - name: secured
      ${metadata("chain")}
      ${socket("Downstream", server)}
      filters:
      - name: http
        typed_config:
          "@type": ${type}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: http
          access_log: [{name: file, typed_config: {"@type": ${type}.access_loggers.file.v3.FileAccessLog, path: ${logFile}, log_format: {json_format: ${JSON.stringify(json)}}}}]
          http_filters: [{name: router, typed_config: {"@type": ${type}.filters.http.router.v3.Router}}]
          route_config: {virtual_hosts: [{name: all, domains: ["*"], ${metadata("host")}, routes: [{match: {prefix: /}, ${metadata("route")}, route: {cluster: app}}]}]}
`;
}

let planes: Planes<"tls"> | undefined;
const app = https.createServer(
  {
    cert: application.chainPem,
    key: application.privateKeyPem,
    ca: authority.rootPem,
    requestCert: true,
  },
  (_, answer) => answer.end("ok"),
);

before(async () => {
  app.listen(0, "127.0.0.1");
  await once(app, "listening");
  const address = app.address();
  assert.ok(typeof address === "object" && address !== null);
  const { port } = address;
  planes = await startPlanes(["tls"], (ports, { logFile }) => bootstrap(ports, logFile, port));
});

after(async () => {
  await planes?.close();
  app.closeAllConnections();
  app.close();
});

async function toldOf(plane: PlaneName, as: keyof typeof clients): Promise<unknown> {
  assert.ok(planes !== undefined);
  const own = planes;
  const before = own.log(plane).length;
  const client = clients[as];
  const certificate =
    client === undefined ? {} : { cert: client.chainPem, key: client.privateKeyPem };
  const host = { host: "127.0.0.1", port: own.port(plane, "tls"), servername: "front.test" };
  const request = https.get({ ...host, ...certificate, agent: false, rejectUnauthorized: false });
  const [answer] = await once(request, "response").catch((thrown: unknown) => {
    throw new Error(`${plane} does not answer`, { cause: thrown });
  });
  answer.resume();
  await once(answer, "end");
  const line = await until(
    () => own.log(plane)[before],
    () => `${plane} ${as}`,
  );
  return JSON.parse(line);
}

for (const as of ["rich", "plain", "none"] as const) {
  test(`certificates are told as Envoy tells them: ${as}`, async () => {
    const expected = await toldOf("envoy", as);
    for (const plane of planeNames) {
      assert.deepEqual(await toldOf(plane, as), expected, `${plane} (actual), Envoy`);
    }
  });
}
