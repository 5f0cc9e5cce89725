import assert from "node:assert/strict";
import { generateKeyPairSync, X509Certificate } from "node:crypto";
import { test } from "node:test";

import fc from "fast-check";

import { FakeClock } from "../../test/support/fake-clock.ts";
import { CertificateAuthority, selfSignRoot } from "./authority.ts";
import { generateKey, requestFor } from "./key.ts";
import { createCsr, csrBytesMax, readCsr } from "./x509/csr.ts";

const clock = new FakeClock(Date.UTC(2026, 10, 21));
const rootKey = generateKey();
const subject = { trustDomain: "cluster.local", mesh: "test" };

function authority(certificateTtlMs = 86_400_000): CertificateAuthority {
  const certificatePem = selfSignRoot(rootKey.privateKey, subject, clock.nowMs());
  return new CertificateAuthority({
    root: { key: rootKey.privateKey, certificatePem },
    trustDomain: "cluster.local",
    certificateTtlMs,
    clock,
  });
}

const cart = { namespace: "shop", serviceAccount: "cart", instance: "cart-0.shop" };

function issue(ca: CertificateAuthority, csrPem: string, ttlMs?: number): X509Certificate {
  const issued = ca.issueWorkload({ ...cart, csrPem, ...(ttlMs === undefined ? {} : { ttlMs }) });
  assert.ok("certificatePem" in issued, JSON.stringify(issued));
  return new X509Certificate(issued.certificatePem);
}

test("selfSignRoot() makes a root for ten years that may sign certificates and nothing else", () => {
  const root = new X509Certificate(authority().rootPem);
  assert.equal(root.ca, true);
  assert.equal(root.subject, "O=cluster.local\nCN=heddle root of test");
  assert.equal(root.issuer, root.subject);
  assert.equal(root.verify(root.publicKey), true);
  assert.equal(root.validToDate.getUTCFullYear(), 2036);
});

test("issueWorkload() names the workload the caller proved to be, whatever the request says", () => {
  const ca = authority();
  const key = generateKey();
  const leaf = issue(ca, requestFor(key, "somebody.else"));
  assert.equal(leaf.subject, "CN=cart-0.shop");
  assert.equal(leaf.subjectAltName, "URI:spiffe://cluster.local/ns/shop/sa/cart");
  assert.equal(leaf.ca, false);
  assert.deepEqual(leaf.keyUsage, ["1.3.6.1.5.5.7.3.1", "1.3.6.1.5.5.7.3.2"]);
  assert.equal(leaf.publicKey.equals(key.publicKey), true);
  const intermediate = new X509Certificate(ca.intermediatePem);
  assert.equal(leaf.checkIssued(intermediate), true);
  assert.equal(leaf.verify(intermediate.publicKey), true);
});

test("CertificateAuthority signs by an intermediate, of which the root says what it may", () => {
  const ca = authority();
  const [root, intermediate] = [ca.rootPem, ca.intermediatePem].map(
    (pem) => new X509Certificate(pem),
  );
  assert(root !== undefined && intermediate !== undefined);
  assert.equal(intermediate.ca, true);
  assert.equal(intermediate.checkIssued(root), true);
  assert.equal(intermediate.verify(root.publicKey), true);
  assert.equal(intermediate.subject, "O=cluster.local\nCN=heddle intermediate");
  const issued = ca.issueWorkload({ ...cart, csrPem: requestFor(generateKey(), "") });
  assert("chainPem" in issued);
  assert.equal(issued.chainPem, issued.certificatePem + ca.intermediatePem);
});

test("CertificateAuthority replaces its intermediate before a certificate could outlive it", () => {
  const ageing = new FakeClock(clock.nowMs());
  const certificatePem = selfSignRoot(rootKey.privateKey, subject, clock.nowMs());
  const root = { key: rootKey.privateKey, certificatePem };
  const trustDomain = "cluster.local";
  const ca = new CertificateAuthority({
    root,
    trustDomain,
    certificateTtlMs: 86_400_000,
    clock: ageing,
  });
  const first = ca.intermediatePem;
  ageing.advance(200 * 86_400_000);
  const issued = ca.issueWorkload({ ...cart, csrPem: requestFor(generateKey(), "") });
  assert("notAfterMs" in issued);
  assert.notEqual(ca.intermediatePem, first);
  assert.equal(issued.notAfterMs, ageing.nowMs() + 86_400_000);
});

test("issueWorkload() grants no longer than the authority's own validity, backdated a minute", () => {
  const csr = requestFor(generateKey(), "");
  const validity = (ttlMs?: number): number[] => {
    const leaf = issue(authority(120_000), csr, ttlMs);
    return [leaf.validFromDate, leaf.validToDate].map((date) => date.getTime() - clock.nowMs());
  };
  assert.deepEqual(validity(), [-60_000, 120_000]);
  assert.deepEqual(validity(60_000), [-60_000, 60_000]);
  assert.deepEqual(validity(3_600_000), [-60_000, 120_000]);
});

test("issueWorkload() lets nothing outlive its root", () => {
  const ageing = new FakeClock(clock.nowMs());
  const certificatePem = selfSignRoot(rootKey.privateKey, subject, clock.nowMs());
  const root = { key: rootKey.privateKey, certificatePem };
  const end = new X509Certificate(certificatePem).validToDate.getTime();
  ageing.advance(end - ageing.nowMs() - 3_600_000);
  const options = { trustDomain: "cluster.local", certificateTtlMs: 86_400_000, clock: ageing };
  const ca = new CertificateAuthority({ ...options, root });
  const issued = ca.issueWorkload({ ...cart, csrPem: requestFor(generateKey(), "") });
  assert("certificatePem" in issued);
  assert.equal(issued.notAfterMs, end);
  assert.equal(new X509Certificate(issued.certificatePem).validToDate.getTime(), end);
});

test("issueWorkload() refuses names that make no identity", () => {
  const csrPem = requestFor(generateKey(), "");
  const refusal = (change: Partial<typeof cart>): string => {
    const issued = authority().issueWorkload({ ...cart, csrPem, ...change });
    return "refusal" in issued ? issued.refusal : "";
  };
  assert.match(refusal({ serviceAccount: "cart/../payments" }), /make no SPIFFE id/);
  assert.match(refusal({ namespace: "Shop" }), /make no SPIFFE id/);
  assert.match(refusal({ instance: `${"x".repeat(60)}.shop` }), /longer than 64 bytes/);
});

test("issueServer() carries DNS names and addresses of both families", () => {
  const issued = authority().issueServer(
    generateKey().publicKey,
    { dns: ["istiod.istio-system.svc"], addresses: ["198.18.0.1", "fd48:6564:646c::1"] },
    3_600_000,
  );
  const names = new X509Certificate(issued.certificatePem).subjectAltName;
  assert.equal(
    names,
    "DNS:istiod.istio-system.svc, IP Address:198.18.0.1, IP Address:FD48:6564:646C:0:0:0:0:1",
  );
});

test("CertificateAuthority refuses a root with another key, and one that has expired", () => {
  const certificatePem = selfSignRoot(rootKey.privateKey, subject, clock.nowMs());
  const make = (key = rootKey.privateKey, nowMs = clock.nowMs()) =>
    new CertificateAuthority({
      root: { key, certificatePem },
      trustDomain: "cluster.local",
      certificateTtlMs: 1,
      clock: new FakeClock(nowMs),
    });
  assert.throws(() => make(generateKey().privateKey), { code: "ca.key-mismatch" });
  assert.throws(() => make(rootKey.privateKey, Date.UTC(2037)), { code: "ca.root-expired" });
});

test("readCsr() refuses a request whose signature is not by its key", () => {
  const csr = createCsr(generateKey().privateKey, "a");
  const tampered = Uint8Array.from(csr);
  const last = tampered.length - 1;
  tampered[last] = (tampered[last] ?? 0) ^ 1;
  const read = readCsr(tampered);
  assert.ok("refusal" in read);
});

test("readCsr() takes keys on P-256 alone, and no request longer than an honest one", () => {
  const { privateKey } = generateKeyPairSync("ec", { namedCurve: "P-384" });
  assert.deepEqual(readCsr(createCsr(privateKey, "a")), {
    refusal: "key is not on the curve P-256",
  });
  const long = readCsr(createCsr(generateKey().privateKey, "a".repeat(csrBytesMax)));
  assert.deepEqual(long, { refusal: `request longer than ${csrBytesMax} bytes` });
});

test("readCsr() never throws and never takes a key from bytes that were changed", () => {
  const { privateKey } = generateKey();
  const csr = createCsr(privateKey, "cart-0.shop");
  fc.assert(
    fc.property(
      fc.array(fc.tuple(fc.nat(csr.length - 1), fc.integer({ min: 1, max: 255 })), {
        minLength: 1,
        maxLength: 4,
      }),
      fc.option(fc.nat(csr.length)),
      (flips, cut) => {
        const changed = Uint8Array.from(csr);
        for (const [at, mask] of flips) changed[at] = (changed[at] ?? 0) ^ mask;
        const bytes = cut === null ? changed : changed.subarray(0, cut);
        if (Buffer.from(bytes).equals(csr)) return; // two flips undid each other
        assert.ok("refusal" in readCsr(bytes));
      },
    ),
    { numRuns: 300 },
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 300 }), (bytes) => {
      assert.ok("refusal" in readCsr(bytes));
    }),
  );
});
