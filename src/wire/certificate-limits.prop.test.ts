import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";

import fc from "fast-check";

import { makeTestAuthority } from "../../test/support/test-certificates.ts";
import { decodeAuthorityLimits, decodeKeyUsage } from "./certificate-limits.ts";

const authority = await makeTestAuthority();
const limited = await authority.intermediate({
  pathLength: 300,
  nameConstraints: Uint8Array.from(Buffer.from("300ba009300786056f7572732e", "hex")),
});
const [, pem = ""] = (await limited.issue({})).chainPem.split(/(?<=-----END CERTIFICATE-----)\n/);
const { raw } = new X509Certificate(pem);

test("decodeAuthorityLimits() reads how far and for whom an authority may vouch", () => {
  assert.deepEqual(decodeAuthorityLimits(raw), {
    pathLength: 300,
    permitted: [{ form: 0x86, base: Buffer.from("ours.") }],
    excluded: [],
  });
  assert.deepEqual(decodeAuthorityLimits(new X509Certificate(authority.rootPem).raw), {
    pathLength: Number.POSITIVE_INFINITY,
    permitted: [],
    excluded: [],
  });
});

test("decodeAuthorityLimits() reads nothing that is cut off", () => {
  for (let end = 0; end < raw.length; end++) {
    assert.equal(decodeAuthorityLimits(raw.subarray(0, end)), undefined);
    assert.equal(decodeKeyUsage(raw.subarray(0, end)), undefined);
  }
});

test("decodeAuthorityLimits() and decodeKeyUsage() take any bytes", () => {
  fc.assert(
    fc.property(fc.nat(raw.length - 1), fc.nat(255), (at, byte) => {
      const changed = Buffer.from(raw);
      changed[at] = byte;
      decodeKeyUsage(changed);
      decodeAuthorityLimits(changed);
    }),
  );
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      decodeKeyUsage(bytes);
      decodeAuthorityLimits(bytes);
    }),
  );
});
