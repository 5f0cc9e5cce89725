import assert from "node:assert/strict";
import { createHash, X509Certificate } from "node:crypto";
import { test } from "node:test";

import { makeTestAuthority } from "../../../test/support/test-certificates.ts";
import { CertificateValidationContext } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/common.ts";
import { compilePins } from "./peer-pins.ts";

const authority = await makeTestAuthority();
const issue = async (): Promise<X509Certificate> =>
  new X509Certificate((await authority.issue({})).chainPem);
const pinsOf = (fields: object) => compilePins(CertificateValidationContext.fromPartial(fields));

test("compilePins() accepts a certificate or a key of its lists, no other", async () => {
  const [own, other] = [await issue(), await issue()];
  const hash = createHash("sha256").update(own.raw).digest("hex");
  const key = own.publicKey.export({ type: "spki", format: "der" });
  const spki = createHash("sha256").update(key).digest("base64");
  for (const fields of [{ verifyCertificateHash: [hash] }, { verifyCertificateSpki: [spki] }]) {
    const pins = pinsOf(fields);
    assert.equal(pins?.(own), true);
    assert.equal(pins?.(other), false);
  }
  assert.equal(pinsOf({}), undefined);
});

test("compilePins() refuses what is no hash", () => {
  for (const fields of [
    { verifyCertificateHash: ["abcd"] },
    { verifyCertificateHash: ["g".repeat(64)] },
    { verifyCertificateSpki: ["abcd"] },
    { verifyCertificateSpki: ["a".repeat(64)] },
  ]) {
    assert.throws(() => pinsOf(fields), { code: "tls-unsupported" });
  }
});
