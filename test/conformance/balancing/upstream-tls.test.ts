/** Which servers' certificates are accepted, beside Envoy on the same file. */
import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import https from "node:https";
import { after, before, test } from "node:test";

import { freePort } from "../../support/free-port.ts";
import { makeTestAuthority } from "../../support/test-certificates.ts";
import { bootstrapOf, type Plane, startPlanes } from "./planes.ts";

const authority = await makeTestAuthority();
const stranger = await makeTestAuthority("another root");
const issued = await authority.issue({
  uris: ["spiffe://cluster.local/ns/shop/sa/catalog"],
  dnsNames: ["catalog.shop.svc", "www.catalog.test"],
  ips: ["127.0.0.1"],
  emails: ["shop@catalog.test"],
});
const certificate = new X509Certificate(issued.chainPem);
const digest = (bytes: Uint8Array, encoding: "hex" | "base64"): string =>
  createHash("sha256").update(bytes).digest(encoding);
const fingerprint = digest(certificate.raw, "hex");
const keyHash = digest(certificate.publicKey.export({ type: "spki", format: "der" }), "base64");
const noFingerprint = digest(Buffer.from("nobody"), "hex");
const noKeyHash = digest(Buffer.from("nobody"), "base64");
const colons = fingerprint.toUpperCase().replaceAll(/..(?=.)/g, "$&:");

const other = await authority.issue({ dnsNames: ["other.test"] });
const revoked = await authority.revoke([issued]);
const otherRevoked = await authority.revoke([other]);
// Of another name: lists are found by it.
const elsewhere = await stranger.intermediate();
const stranged = await elsewhere.revoke([await elsewhere.issue({})]);
const crl = (...lists: readonly string[]): string =>
  `crl: {inline_string: ${JSON.stringify(lists.join(""))}}`;

const trusted = `trusted_ca: {inline_string: ${JSON.stringify(authority.rootPem)}}`;
const untrusted = `trusted_ca: {inline_string: ${JSON.stringify(stranger.rootPem)}}`;
const named = (type: string, matcher: string): string =>
  `${trusted}, match_typed_subject_alt_names: [{san_type: ${type}, matcher: {${matcher}}}]`;

const domain = (name: string, pem: string): string =>
  `{name: ${name}, trust_bundle: {inline_string: ${JSON.stringify(pem)}}}`;
const validator =
  "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";
const spiffe = (config: string): string =>
  `custom_validator_config: {name: envoy.tls.cert_validator.spiffe, typed_config: {"@type": ${validator}, ${config}}}`;
const domains = (...all: readonly string[]): string => spiffe(`trust_domains: [${all.join(", ")}]`);
const bundleOf = (pem: string): object => ({
  sequence_number: 1,
  keys: [{ kty: "EC", use: "x509-svid", x5c: [new X509Certificate(pem).raw.toString("base64")] }],
});
const bundleMap = (all: Readonly<Record<string, string>>): string => {
  const bundles = Object.entries(all).map(([name, pem]) => [name, bundleOf(pem)] as const);
  const json = JSON.stringify({ trust_domains: Object.fromEntries(bundles) });
  return spiffe(`trust_bundles: {inline_string: ${JSON.stringify(json)}}`);
};
const ours = domain("cluster.local", authority.rootPem);
const theirs = domain("other.local", stranger.rootPem);
const uriOf = (name: string): string =>
  `match_typed_subject_alt_names: [{san_type: URI, matcher: {prefix: spiffe://${name}/}}]`;

/** Validation, and whether the server passes it. */
const contexts: readonly (readonly [validation: string, passes: boolean])[] = [
  [trusted, true],
  [untrusted, false],
  [`${trusted}, verify_certificate_hash: ["${fingerprint}"]`, true],
  [`${trusted}, verify_certificate_hash: ["${colons}"]`, true],
  [`${trusted}, verify_certificate_hash: ["${noFingerprint}"]`, false],
  [`${trusted}, verify_certificate_hash: ["${noFingerprint}", "${fingerprint}"]`, true],
  [`${untrusted}, verify_certificate_hash: ["${fingerprint}"]`, false],
  [`verify_certificate_hash: ["${fingerprint}"]`, true],
  [`verify_certificate_hash: ["${noFingerprint}"]`, false],
  [`${trusted}, verify_certificate_spki: ["${keyHash}"]`, true],
  [`${trusted}, verify_certificate_spki: ["${noKeyHash}"]`, false],
  [
    `${trusted}, verify_certificate_spki: ["${noKeyHash}"], verify_certificate_hash: ["${fingerprint}"]`,
    true,
  ],
  [`${trusted}, ${crl(otherRevoked)}`, true],
  [`${trusted}, ${crl(revoked)}`, false],
  [`${trusted}, ${crl(stranged)}`, false],
  [`${trusted}, ${crl(stranged, otherRevoked)}`, true],
  [`${trusted}, ${crl(stranged, revoked)}`, false],
  [named("URI", "exact: spiffe://cluster.local/ns/shop/sa/catalog"), true],
  [named("URI", "prefix: spiffe://cluster.local/ns/shop/"), true],
  [named("URI", "safe_regex: {regex: 'spiffe://[^/]+/ns/shop/sa/[a-z]+'}"), true],
  [named("URI", "exact: catalog.shop.svc"), false],
  [named("DNS", "exact: catalog.shop.svc"), true],
  [named("DNS", "suffix: .shop.svc"), true],
  [named("DNS", "contains: other"), false],
  [named("EMAIL", "exact: shop@catalog.test"), true],
  [named("EMAIL", "exact: catalog.shop.svc"), false],
  [named("IP_ADDRESS", "exact: 127.0.0.1"), true],
  [named("IP_ADDRESS", "exact: 127.0.0.2"), false],
  [`${untrusted}, trust_chain_verification: ACCEPT_UNTRUSTED`, true],
  [`${trusted}, trust_chain_verification: ACCEPT_UNTRUSTED`, true],
  [`${named("DNS", "exact: nobody")}, trust_chain_verification: ACCEPT_UNTRUSTED`, true],
  [
    `${trusted}, verify_certificate_hash: ["${noFingerprint}"], trust_chain_verification: ACCEPT_UNTRUSTED`,
    true,
  ],
  [
    `${untrusted}, match_typed_subject_alt_names: [{san_type: DNS, matcher: {exact: nobody}}], trust_chain_verification: ACCEPT_UNTRUSTED`,
    true,
  ],
  [domains(ours), true],
  [domains(ours, theirs), true],
  [domains(theirs, ours), true],
  [domains(theirs), false],
  [domains(domain("cluster.local", stranger.rootPem)), false],
  // Its authority is known, for another domain.
  [
    domains(domain("cluster.local", stranger.rootPem), domain("other.local", authority.rootPem)),
    false,
  ],
  [domains(domain("cluster.local", `${stranger.rootPem}\n${authority.rootPem}`)), true],
  [`${domains(ours, theirs)}, ${uriOf("cluster.local")}`, true],
  [`${domains(ours, theirs)}, ${uriOf("other.local")}`, false],
  ["@trusted", true],
  ["@revoking", false],
  ["@revoking-another", true],
  [bundleMap({ "cluster.local": authority.rootPem }), true],
  [bundleMap({ "cluster.local": authority.rootPem, "other.local": stranger.rootPem }), true],
  [bundleMap({ "cluster.local": stranger.rootPem, "other.local": authority.rootPem }), false],
];

/** `@`: a secret of this name. */
function contextOf(validation: string): string {
  return validation.startsWith("@")
    ? `validation_context_sds_secret_config: {name: ${validation.slice(1)}}`
    : `validation_context: {${validation}}`;
}

const server = https.createServer(
  { cert: issued.chainPem, key: issued.privateKeyPem },
  (request, response) => {
    request.resume();
    response.end("ok");
  },
);
let planes: readonly Plane[] = [];

const upstreamTls =
  "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.UpstreamTlsContext";

before(async () => {
  const port = await freePort();
  await new Promise<void>((resolve) => server.listen(port, "127.0.0.1", resolve));
  const endpoint = `{endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: ${port}}}}}`;
  planes = await startPlanes((place) =>
    bootstrapOf(place, {
      secrets: [
        `{name: trusted, validation_context: {${trusted}}}`,
        `{name: revoking, validation_context: {${trusted}, ${crl(revoked)}}}`,
        `{name: revoking-another, validation_context: {${trusted}, ${crl(otherRevoked)}}}`,
      ],
      clusters: contexts.map(
        ([validation], i) =>
          `{name: c${i}, connect_timeout: 5s, load_assignment: {cluster_name: c${i}, endpoints: [{lb_endpoints: [${endpoint}]}]}, transport_socket: {name: tls, typed_config: {"@type": ${upstreamTls}, sni: catalog.test, common_tls_context: {${contextOf(validation)}}}}}`,
      ),
      routes: contexts.map((_, i) => `{match: {prefix: /c${i}/}, route: {cluster: c${i}}}`),
    }),
  );
});

after(async () => {
  await Promise.all(planes.map((plane) => plane.close()));
  server.closeAllConnections();
  server.close();
});

const lists = { revoked, otherRevoked, stranged };
function shorten(validation: string): string {
  let text = validation;
  for (const [name, pem] of Object.entries(lists)) {
    text = text.replace(JSON.stringify(pem).slice(1, -1), ` ${name}`);
  }
  return text;
}

for (const [i, [validation, passes]] of contexts.entries()) {
  const shown = shorten(validation).replaceAll(/trusted_ca: \{.*?\}/g, (ca) =>
    ca.includes(JSON.stringify(authority.rootPem)) ? "its CA" : "another CA",
  );
  test(`a server ${passes ? "passes" : "fails"} ${shown}`, async () => {
    for (const plane of planes) {
      const { status } = await plane.ask(`/c${i}/`);
      assert.equal(status, passes ? 200 : 503, plane.name);
      // Also where a session could be gone on with.
      const again = await plane.ask(`/c${i}/`, { connection: "close" });
      assert.equal(again.status, status, plane.name);
    }
  });
}
