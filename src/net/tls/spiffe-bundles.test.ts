import assert from "node:assert/strict";
import { X509Certificate } from "node:crypto";
import { test } from "node:test";

import {
  makeTestAuthority,
  type TestCertificate,
} from "../../../test/support/test-certificates.ts";
import { SPIFFECertValidatorConfig } from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls_spiffe_validator_config.ts";
import { readPeerCertificate } from "./peer-certificate.ts";
import { compileSpiffeBundles, type SpiffeBundles } from "./spiffe-bundles.ts";

const typeUrl =
  "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.SPIFFECertValidatorConfig";

const ours = await makeTestAuthority("ours");
const theirs = await makeTestAuthority("theirs");

function compile(domains: Readonly<Record<string, string>>): SpiffeBundles {
  const trustDomains = Object.entries(domains).map(([name, inlineString]) => ({
    name,
    trustBundle: { inlineString },
  }));
  return compileConfig(SPIFFECertValidatorConfig.fromPartial({ trustDomains }));
}

function compileConfig(config: SPIFFECertValidatorConfig): SpiffeBundles {
  const value = SPIFFECertValidatorConfig.encode(config).finish();
  return compileSpiffeBundles({ name: "spiffe", typedConfig: { typeUrl, value } });
}

function refusal(bundles: SpiffeBundles, { chainPem }: TestCertificate): string | undefined {
  const chain = chainPem
    .split(/(?<=-----END CERTIFICATE-----)\n/)
    .filter((pem) => pem.includes("BEGIN"))
    .map((pem) => new X509Certificate(pem).raw);
  const [leaf = Buffer.alloc(0), ...issuers] = chain;
  return bundles.refusal(readPeerCertificate(leaf), issuers);
}

const both = compile({ "ours.test": ours.rootPem, "theirs.test": theirs.rootPem });
const uris = ["spiffe://ours.test/ns/shop/sa/catalog"];

test("refusal() holds a peer to the authorities of the domain that it names", async () => {
  assert.equal(refusal(both, await ours.issue({ uris })), undefined);
  assert.match(refusal(both, await theirs.issue({ uris })) ?? "", /not issued in .*'ours\.test'/);
});

test("refusal() knows authorities that are vouched for, however many there are between", async () => {
  const first = await ours.intermediate();
  const second = await first.intermediate();
  assert.equal(refusal(both, await first.issue({ uris })), undefined);
  assert.equal(refusal(both, await second.issue({ uris })), undefined);
  const foreign = await (await theirs.intermediate()).issue({ uris });
  assert.match(refusal(both, foreign) ?? "", /not issued/);
  // Without what stands between nobody knows who it is.
  const [alone = ""] = (await second.issue({ uris })).chainPem.split(
    /(?<=-----END CERTIFICATE-----)\n/,
  );
  assert.match(refusal(both, { chainPem: alone, privateKeyPem: "" }) ?? "", /not issued/);
});

test("refusal() refuses who names no domain, or one that nobody vouches for", async () => {
  for (const uri of ["spiffe://else.test/x", "spiffe://ours.test", "https://ours.test/x"]) {
    assert.match(refusal(both, await ours.issue({ uris: [uri] })) ?? "", /no bundle/, uri);
  }
  assert.match(refusal(both, await ours.issue({ dnsNames: ["ours.test"] })) ?? "", /no bundle/);
});

test("compileSpiffeBundles() refuses what is no bundle, in words", () => {
  const empty = SPIFFECertValidatorConfig.fromPartial({});
  assert.throws(() => compileConfig(empty), /names no trust domain/);
  assert.throws(() => compile({ "ours.test": "nothing" }), /holds no certificate/);
  for (const [text, reason] of [
    ["{", /is no JSON/],
    ["[]", /no map of bundles/],
    ['{"trust_domains":{"a":{}}}', /'a' has no keys/],
    ['{"trust_domains":{"a":{"keys":[{"use":"jwt-svid"}]}}}', /of other use/],
    ['{"trust_domains":{"a":{"keys":[{"use":"x509-svid"}]}}}', /without x5c/],
    ['{"trust_domains":{"a":{"keys":[{"use":"x509-svid","x5c":["AA=="]}]}}}', /no certificate/],
    ['{"trust_domains":{"a":{"keys":[]}}}', /has no certificate/],
  ] as const) {
    const config = SPIFFECertValidatorConfig.fromPartial({ trustBundles: { inlineString: text } });
    assert.throws(() => compileConfig(config), reason, text);
  }
});
