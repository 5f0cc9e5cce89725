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
  await check([{ O: ["x"], CN: ["y"] }], "O=x+CN=y");
  await check([{ CN: [{ utf8String: ' "<q>;"\\ ' }] }], 'CN=\\ \\"\\<q\\>\\;\\"\\\\\\ ');
  await check([{ CN: [{ utf8String: "#1 M\u00fcller" }] }], "CN=\\#1 M\\C3\\BCller");
  await check([{ DC: ["local"] }, { DC: ["cluster"] }], "DC=cluster,DC=local");
  await check([{ "1.2.3.4": ["odd"] }], "1.2.3.4=#13036F6464");
});
