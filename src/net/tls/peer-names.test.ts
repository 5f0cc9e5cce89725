import assert from "node:assert/strict";
import { test } from "node:test";

import { type Fields, message } from "../../../test/support/message.ts";
import type { CertificateNames } from "../../wire/certificate-names.ts";
import {
  CertificateValidationContext,
  SubjectAltNameMatcher_SanType as SanType,
} from "../../wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/common.ts";
import { compilePeerNames, isSoundSvid } from "./peer-names.ts";

const cart = "spiffe://cluster.local/ns/default/sa/cart";
const noNames: CertificateNames = {
  subject: "",
  commonName: cart,
  uriSans: [],
  dnsSans: [],
  emailSans: [],
  ipSans: [],
};

function accepts(
  context: Fields<CertificateValidationContext>,
  names: Partial<CertificateNames>,
): boolean {
  const check = compilePeerNames(message(CertificateValidationContext, context));
  assert.ok(check !== undefined);
  return check({ ...noNames, ...names });
}

test("compilePeerNames() compares an exact name whole", () => {
  const exact = { matchTypedSubjectAltNames: [{ sanType: SanType.URI, matcher: { exact: cart } }] };
  assert.equal(accepts(exact, { uriSans: [cart] }), true);
  for (const other of [`${cart}2`, `${cart}/`, cart.slice(0, -1), cart.toUpperCase(), ""]) {
    assert.equal(accepts(exact, { uriSans: [other] }), false, other);
  }
});

test("compilePeerNames() takes names of the wanted type alone, never the subject", () => {
  const typed = (sanType: SanType): Fields<CertificateValidationContext> => ({
    matchTypedSubjectAltNames: [{ sanType, matcher: { exact: cart } }],
  });
  const elsewhere = { uriSans: ["x"], dnsSans: [cart], emailSans: [cart], ipSans: [cart] };
  assert.equal(accepts(typed(SanType.URI), elsewhere), false);
  const asUri = { uriSans: [cart], emailSans: [cart], ipSans: [cart] };
  assert.equal(accepts(typed(SanType.DNS), asUri), false);
  assert.equal(accepts(typed(SanType.DNS), { dnsSans: [cart] }), true);
});

test("compilePeerNames() accepts any of several matchers, and has no opinion without one", () => {
  const matchers = ["a", "b"].map((exact) => ({ sanType: SanType.DNS, matcher: { exact } }));
  assert.equal(accepts({ matchTypedSubjectAltNames: matchers }, { dnsSans: ["b"] }), true);
  assert.equal(accepts({ matchTypedSubjectAltNames: matchers }, { dnsSans: ["c"] }), false);
  assert.equal(compilePeerNames(message(CertificateValidationContext, {})), undefined);
});

test("isSoundSvid() refuses a second URI beside a SPIFFE id", () => {
  const uris = (...uriSans: readonly string[]): boolean => isSoundSvid({ ...noNames, uriSans });
  assert.deepEqual([uris(), uris(cart), uris("https://a", "https://b")], [true, true, true]);
  assert.deepEqual([uris(cart, `${cart}2`), uris("https://a", "SPIFFE://a/b")], [false, false]);
});
