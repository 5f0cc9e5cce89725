import assert from "node:assert/strict";
import { test } from "node:test";

import { UpstreamTlsContext } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import { withFileSecrets } from "./tls-files.ts";

const matcher = { sanType: 2, matcher: { exact: "shop.test" } } as const;
const changed = (common: object): object | undefined =>
  withFileSecrets(UpstreamTlsContext.fromPartial({ commonTlsContext: common })).commonTlsContext;
const plain = (common: object): object | undefined =>
  UpstreamTlsContext.fromPartial({ commonTlsContext: common }).commonTlsContext;

test("withFileSecrets() makes secrets of what lies in files, and leaves the rest", () => {
  const found = changed({
    tlsCertificates: [{ certificateChain: { filename: "/c" }, privateKey: { filename: "/k" } }],
    validationContext: { trustedCa: { filename: "/r" }, matchTypedSubjectAltNames: [matcher] },
    alpnProtocols: ["h2"],
  });
  assert.deepEqual(
    found,
    plain({
      tlsCertificateSdsSecretConfigs: [{ name: "file-cert:/c~/k" }],
      combinedValidationContext: {
        defaultValidationContext: { matchTypedSubjectAltNames: [matcher] },
        validationContextSdsSecretConfig: { name: "file-root:/r" },
      },
      alpnProtocols: ["h2"],
    }),
  );
});

test("withFileSecrets() keeps the order of several certificates, and a list where it stands", () => {
  const found = changed({
    tlsCertificates: [
      { certificateChain: { filename: "/c" }, privateKey: { filename: "/k" } },
      { certificateChain: { filename: "/d" }, privateKey: { filename: "/l" } },
    ],
    validationContext: { trustedCa: { filename: "/r" }, crl: { filename: "/taken-back" } },
  });
  assert.deepEqual(
    found,
    plain({
      tlsCertificateSdsSecretConfigs: [{ name: "file-cert:/c~/k" }, { name: "file-cert:/d~/l" }],
      combinedValidationContext: {
        defaultValidationContext: { crl: { filename: "/taken-back" } },
        validationContextSdsSecretConfig: { name: "file-root:/r" },
      },
    }),
  );
});

test("withFileSecrets() changes nothing where nothing lies in files, or not all of it", () => {
  for (const common of [
    {},
    { validationContext: { trustedCa: { inlineString: "x" } } },
    {
      tlsCertificates: [
        { certificateChain: { filename: "/c" }, privateKey: { inlineString: "k" } },
      ],
    },
    {
      tlsCertificates: [
        { certificateChain: { filename: "/c" }, privateKey: { filename: "/k" } },
        { certificateChain: { inlineString: "c" }, privateKey: { inlineString: "k" } },
      ],
    },
    {
      tlsCertificates: [{ certificateChain: { filename: "/c~1" }, privateKey: { filename: "/k" } }],
      validationContext: { trustedCa: { filename: "certs/roots.pem" } },
    },
    {
      tlsCertificates: [
        {
          certificateChain: { filename: "/c" },
          privateKey: { filename: "/k" },
          ocspStaple: { filename: "/o" },
        },
      ],
    },
    {
      combinedValidationContext: {
        defaultValidationContext: { trustedCa: { filename: "/r" } },
        validationContextSdsSecretConfig: { name: "ROOTCA" },
      },
    },
  ]) {
    assert.deepEqual(changed(common), plain(common));
  }
  assert.equal(withFileSecrets({ commonTlsContext: undefined }).commonTlsContext, undefined);
});
