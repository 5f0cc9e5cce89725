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

/** DER of NameConstraints: `form` is the tag of GeneralName. */
function constraints(
  kind: "permitted" | "excluded",
  form: number,
  base: string,
): Uint8Array<ArrayBuffer> {
  const wrap = (tag: number, content: readonly number[]): number[] => [
    tag,
    content.length,
    ...content,
  ];
  const tree = wrap(0x30, wrap(form, [...Buffer.from(base)]));
  return Uint8Array.from(wrap(0x30, wrap(kind === "permitted" ? 0xa0 : 0xa1, tree)));
}

test("refusal() keeps authorities to how far they may vouch", async () => {
  const last = await ours.intermediate({ pathLength: 0 });
  assert.equal(refusal(both, await last.issue({ uris })), undefined);
  const tooFar = await last.intermediate();
  assert.match(refusal(both, await tooFar.issue({ uris })) ?? "", /not issued/);
  const near = await (await ours.intermediate({ pathLength: 1 })).intermediate();
  assert.equal(refusal(both, await near.issue({ uris })), undefined);
  assert.match(
    refusal(both, await (await near.intermediate()).issue({ uris })) ?? "",
    /not issued/,
  );
});

test("refusal() keeps authorities to the names that they may vouch for", async () => {
  const [uri, dns, email, ip, directory, other] = [0x86, 0x82, 0x81, 0x87, 0xa4, 0xa0];
  const cases: readonly (readonly [constraint: Uint8Array<ArrayBuffer>, isVouched: boolean])[] = [
    [constraints("permitted", uri, "ours.test"), true],
    [constraints("permitted", uri, ".test"), true],
    [constraints("permitted", uri, "other.test"), false],
    [constraints("permitted", uri, ".ours.test"), false],
    [constraints("excluded", uri, "other.test"), true],
    [constraints("excluded", uri, "ours.test"), false],
    [constraints("excluded", uri, ".test"), false],
    [constraints("permitted", dns, "shop.svc"), true],
    [constraints("permitted", dns, "svc"), true],
    [constraints("permitted", dns, "hop.svc"), false],
    [constraints("excluded", dns, "SVC"), false],
    [constraints("excluded", dns, ""), false],
    // Of forms that the leaf does not have, of some that it has, and of some that nobody knows.
    [constraints("permitted", email, "shop.test"), true],
    [constraints("permitted", ip, "\x0a\0\0\0\xff\0\0\0"), true],
    [constraints("permitted", directory, "x"), false],
    [constraints("excluded", other, "x"), false],
    [Uint8Array.of(0x30, 0), true],
    [Uint8Array.of(0x30, 2, 0xa0, 0), true],
    [Uint8Array.of(0x30, 2, 0xa2, 0), false],
    [Uint8Array.of(0x04, 0), false],
  ];
  for (const [nameConstraints, isVouched] of cases) {
    const limited = await ours.intermediate({ nameConstraints });
    const leaf = await limited.issue({ uris, dnsNames: ["cart.shop.svc"] });
    const found = refusal(both, leaf);
    const text = Buffer.from(nameConstraints).toString("hex");
    if (isVouched) assert.equal(found, undefined, text);
    else assert.match(found ?? "", /not issued/, text);
  }
});

test("refusal() looks at so many signatures and no more", async () => {
  // Each of them vouches for itself alone, and none for the leaf's.
  const many = await Promise.all(Array.from({ length: 30 }, () => makeTestAuthority("theirs")));
  const bundles = compile({
    "ours.test": many.map(({ rootPem }) => rootPem).join("\n"),
    "theirs.test": theirs.rootPem,
  });
  assert.match(refusal(bundles, await theirs.issue({ uris })) ?? "", /not issued/);
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
