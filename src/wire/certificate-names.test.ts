import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";

import { makeTestAuthority } from "../../test/support/test-certificates.ts";
import { decodeCertificateNames } from "./certificate-names.ts";

test("decodeCertificateNames() writes subjects as RFC 2253 does", async () => {
  const authority = await makeTestAuthority();
  const check = async (
    subject: NonNullable<Parameters<typeof authority.issue>[0]["subject"]>,
    expected: string,
  ): Promise<void> => {
    const { chainPem } = await authority.issue({ subject });
    assert.equal(decodeCertificateNames(new X509Certificate(chainPem).raw)?.subject, expected);
  };
  await check([], "");
  await check(
    [{ C: ["DE"] }, { O: ["Shop, Inc."] }, { OU: ["a+b"] }, { CN: ["cart-0.shop"] }],
    "CN=cart-0.shop,OU=a\\+b,O=Shop\\, Inc.,C=DE",
  );
  // As `openssl x509 -nameopt RFC2253` says: the order is turned round within a part, too.
  await check([{ O: ["x"], CN: ["y"] }, { C: ["DE"] }], "C=DE,CN=y+O=x");
  await check(
    [{ "2.5.4.17": ["123"] }, { "2.5.4.97": ["odd"] }],
    "2.5.4.97=#13036F6464,postalCode=123",
  );
  await check([{ CN: [{ utf8String: ' "<q>;"\\ ' }] }], 'CN=\\ \\"\\<q\\>\\;\\"\\\\\\ ');
  await check([{ CN: [{ utf8String: "#1 M\u00fcller" }] }], "CN=\\#1 M\\C3\\BCller");
  await check([{ DC: ["local"] }, { DC: ["cluster"] }], "DC=cluster,DC=local");
  await check([{ "1.2.3.4": ["odd"] }], "1.2.3.4=#13036F6464");
});

test("decodeCertificateNames() has no names for a certificate with a name that is no plain text", async () => {
  const authority = await makeTestAuthority();
  const uri = "spiffe://cluster.local/ns/default/sa/cart!evil";
  const { chainPem } = await authority.issue({ uris: [uri], dnsNames: ["cart!evil"] });
  const { raw } = new X509Certificate(chainPem);
  assert.deepEqual(decodeCertificateNames(raw)?.uriSans, [uri]);
  for (const byte of [0, 0x0a, 0x7f, 0xe9]) {
    for (const start of [raw.indexOf("cart!"), raw.lastIndexOf("cart!")]) {
      const changed = Buffer.from(raw);
      changed[start + 4] = byte;
      assert.equal(decodeCertificateNames(changed), undefined, `${byte} at ${start}`);
    }
  }
});

test("decodeCertificateNames() has no names for a certificate with two lists of them", async () => {
  const authority = await makeTestAuthority();
  const { chainPem } = await authority.issue({ uris: ["spiffe://cluster.local/ns/a/sa/b"] });
  const { raw } = new X509Certificate(chainPem);
  // Basic constraints (2.5.29.19) become a second list of names (2.5.29.17), an empty one.
  const at = raw.indexOf(Buffer.of(0x55, 0x1d, 0x13));
  assert.ok(at > 0);
  raw[at + 2] = 0x11;
  assert.equal(decodeCertificateNames(raw), undefined);
});
