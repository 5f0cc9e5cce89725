import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";
import tls from "node:tls";

import { makeTestAuthority } from "../../../test/support/test-certificates.ts";
import type { TlsMaterial, TlsPlan } from "./material.ts";
import { judgePeer, type PeerQuestion } from "./peer.ts";
import { readPeerCertificate } from "./peer-certificate.ts";

const cart = "spiffe://cluster.local/ns/default/sa/cart";

const plan: TlsPlan = {
  certificates: [],
  scansAll: false,
  prefersOwnCiphers: true,
  validationSecret: undefined,
  trustedCaPem: undefined,
  crlPem: undefined,
  crlSecret: undefined,
  canVerify: true,
  peerNames: undefined,
  pins: undefined,
  spiffe: undefined,
  acceptsUntrusted: false,
  alpn: [],
  versions: { minVersion: "TLSv1.3", maxVersion: "TLSv1.3" },
  ciphers: "",
  yieldsToChaCha: false,
  curves: undefined,
  signatures: undefined,
  secretNames: new Set(),
};

const material: TlsMaterial = {
  context: tls.createSecureContext(),
  parts: {
    minVersion: "TLSv1.3",
    maxVersion: "TLSv1.3",
    ciphers: "",
    prefersOwnCiphers: true,
    yieldsToChaCha: false,
    curves: undefined,
    signatures: undefined,
    certificates: [],
    trustedCaPem: undefined,
    crlPem: undefined,
  },
  localNames: [],
  ownNames: () => undefined,
  verifiesPeer: true,
};

function judge(
  certificate: X509Certificate | undefined,
  question: Partial<PeerQuestion>,
): ReturnType<typeof judgePeer> {
  return judgePeer({
    facts: {
      certificate: certificate === undefined ? undefined : readPeerCertificate(certificate.raw),
      version: "TLSv1.3",
      cipher: "x",
      alpn: undefined,
    },
    plan,
    material,
    requiresCertificate: true,
    sni: undefined,
    verifyCode: undefined,
    ...question,
  });
}

// OpenSSL asks for the certificate, too; this is the last door, whatever it was told to ask for.
test("judgePeer() refuses a session without a certificate where one is required", () => {
  for (const verifiesPeer of [true, false]) {
    const verdict = judge(undefined, { material: { ...material, verifiesPeer } });
    assert.equal(verdict.kind, "refused");
    assert.ok(verdict.kind === "refused" && verdict.failure === "no-certificate");
  }
});

test("judgePeer() gives a session without a certificate no names where none is required", () => {
  const verdict = judge(undefined, { requiresCertificate: false });
  assert.ok(verdict.kind === "accepted");
  assert.deepEqual(verdict.session.peerUriSans, []);
  assert.equal(verdict.session.peerCommonName, undefined);
  assert.equal(verdict.session.peerCertificateDer, undefined);
});

test("judgePeer() believes the names of a verified certificate alone", async () => {
  const authority = await makeTestAuthority();
  const issued = await authority.issue({ uris: [cart] });
  const certificate = new X509Certificate(issued.chainPem);
  const verified = judge(certificate, {});
  assert.ok(verified.kind === "accepted");
  assert.deepEqual(verified.session.peerUriSans, [cart]);
  const unverified = judge(certificate, { material: { ...material, verifiesPeer: false } });
  assert.ok(unverified.kind === "accepted");
  assert.deepEqual(unverified.session.peerUriSans, []);
  const refused = judge(certificate, { verifyCode: "CERT_HAS_EXPIRED" });
  assert.ok(refused.kind === "refused" && refused.failure === "expired");
});

test("readPeerCertificate() knows a certificate again, and takes none for another", async () => {
  const authority = await makeTestAuthority();
  const ders: Buffer[] = [];
  for (let i = 0; i < 70; i++) {
    const { chainPem } = await authority.issue({ uris: [`${cart}${i}`] });
    ders.push(new X509Certificate(chainPem).raw);
  }
  const memory = Buffer.alloc(4096);
  for (const round of [1, 2]) {
    for (const [i, der] of ders.entries()) {
      memory.set(der);
      const read = readPeerCertificate(memory.subarray(0, der.length));
      memory.fill(0);
      assert.deepEqual(read.names?.uriSans, [`${cart}${i}`], `round ${round}`);
      assert.ok(read.der.equals(der));
      assert.equal(readPeerCertificate(der), read);
    }
  }
});
