import assert from "node:assert/strict";
import { test } from "node:test";

import {
  encodePart,
  jwkOf,
  makeKey,
  signToken,
  type TestKey,
} from "../../../test/support/tokens.ts";
import { type KeySet, parseKeySet } from "./keys.ts";
import { parseToken } from "./token.ts";

const p256 = makeKey("e", "P-256");
const p384 = makeKey("e", "P-384");
const rsa = makeKey("r", "rsa");
const claims = { iss: "me" };

function setOf(...keys: readonly object[]): KeySet {
  const set = parseKeySet(JSON.stringify({ keys }));
  assert.ok(set !== undefined);
  return set;
}

function check(set: KeySet, text: string): string {
  const token = parseToken(text);
  return typeof token === "string" ? token : (set.verify(token) ?? "signed");
}

test("verify() believes the key's owner alone", () => {
  const stranger = makeKey("e", "P-256");
  const set = setOf(jwkOf(p256));
  assert.equal(check(set, signToken(p256, "ES256", claims)), "signed");
  assert.equal(check(set, signToken(stranger, "ES256", claims)), "verification");
  assert.equal(
    check(setOf(jwkOf(stranger), jwkOf(p256)), signToken(p256, "ES256", claims)),
    "signed",
  );
});

test("verify() lets a token choose among its key's algorithms only", () => {
  const as = (key: TestKey, algorithm: string, said: string): string =>
    signToken(key, algorithm, claims, { alg: said });
  assert.equal(
    check(setOf(jwkOf(rsa, { alg: "PS256" })), as(rsa, "RS256", "RS256")),
    "no-matching-key",
  );
  assert.equal(check(setOf(jwkOf(rsa)), as(rsa, "RS256", "PS256")), "verification");
  assert.equal(check(setOf(jwkOf(p256)), as(p256, "ES384", "ES384")), "verification");
  assert.equal(check(setOf(jwkOf(p384)), as(p384, "ES256", "ES256")), "verification");
  assert.equal(check(setOf(jwkOf(rsa)), as(rsa, "RS256", "HS256")), "verification");
});

test("parseKeySet() leaves out keys that verify nothing", () => {
  const useless: readonly object[] = [
    { kty: "oct", k: encodePart("secret") },
    { kty: "EC", crv: "secp256k1", x: "AA", y: "AA" },
    { kty: "EC", crv: "P-256", x: "AA", y: "AA" },
    { kty: "OKP", crv: "X25519", x: "AA" },
    jwkOf(p256, { use: "enc" }),
    jwkOf(p256, { alg: "ES384" }),
    jwkOf(p256, { alg: "RS256" }),
    jwkOf(p256, { kid: 1 }),
    jwkOf(rsa, { e: "AQ" }),
    jwkOf(rsa, { n: 1 }),
  ];
  for (const jwk of useless) assert.equal(setOf(jwk).size, 0, JSON.stringify(jwk));
  assert.equal(setOf({ ...jwkOf(p256), d: "AA" }).size, 1, "a private part is not looked at");
});

test("parseKeySet() refuses what is no key set", () => {
  for (const text of ["", "[]", "{}", '{"keys":1}', '{"a":1}', '{"a":"no certificate"}']) {
    assert.equal(parseKeySet(text), undefined, text);
  }
  const many = { keys: Array.from({ length: 101 }, () => jwkOf(p256)) };
  assert.equal(parseKeySet(JSON.stringify(many)), undefined);
});
