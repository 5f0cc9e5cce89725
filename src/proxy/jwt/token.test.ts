import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { encodePart } from "../../../test/support/tokens.ts";
import { parseJsonObject } from "./strict-json.ts";
import { parseToken } from "./token.ts";

const header = encodePart({ alg: "RS256", kid: "k" });
const token = (payload: object | string): string =>
  `${header}.${encodePart(payload as string)}.${encodePart("signature")}`;

test("parseToken() takes a token apart", () => {
  const text = token({ iss: "me", sub: "you", aud: "us", nbf: 1, iat: 2, exp: 3.9 });
  const parsed = parseToken(text);
  assert.ok(typeof parsed === "object");
  assert.deepEqual(
    [parsed.algorithm, parsed.keyId, parsed.issuer, parsed.subject, parsed.audiences],
    ["RS256", "k", "me", "you", ["us"]],
  );
  assert.deepEqual([parsed.notBefore, parsed.issuedAt, parsed.expires], [1, 2, 3]);
  assert.equal(`${parsed.signed}.${parsed.signature.toString("base64url")}`, text);
});

test("parseToken() says what is wrong", () => {
  const wrong: readonly (readonly [text: string, failure: string])[] = [
    ["", "bad-format"],
    ["a.b", "bad-format"],
    ["a.b.c.d", "bad-format"],
    ["a..c", "bad-format"],
    [`${"a".repeat(70_000)}.b.c`, "bad-format"],
    [`*.${header}.x`, "header-base64"],
    [`${encodePart("1")}.x.x`, "header-json"],
    [`${encodePart('{"alg":"RS256","alg":"none"}')}.x.x`, "header-json"],
    [`${encodePart({})}.x.x`, "algorithm-missing"],
    [`${encodePart({ alg: "none" })}.x.x`, "algorithm-unknown"],
    [`${encodePart({ alg: "rs256" })}.x.x`, "algorithm-unknown"],
    [`${encodePart({ alg: "RS256", kid: [] })}.x.x`, "key-id-type"],
    [`${header}.*.x`, "payload-base64"],
    [`${header}.${Buffer.from([0x22, 0xff, 0x22]).toString("base64url")}.x`, "payload-json"],
    [token({ exp: "1" }), "expires-type"],
    [token('{"exp":1e400}'), "expires-range"],
    [token({ exp: 1, aud: [1] }), "audience-type"],
    [`${header}.${encodePart({})}.+`, "signature-base64"],
    [
      `${encodePart({ alg: "RS256", crit: [] })}.${encodePart({})}.${encodePart("s")}`,
      "verification",
    ],
  ];
  for (const [text, failure] of wrong) assert.equal(parseToken(text), failure, text.slice(0, 80));
});

test("parseToken() survives whatever stands there", () => {
  const part = fc.oneof(fc.string(), fc.json().map(encodePart), fc.constant(header));
  fc.assert(
    fc.property(fc.array(part, { maxLength: 5 }), (parts) => {
      parseToken(parts.join("."));
    }),
    { numRuns: 500 },
  );
});

test("parseJsonObject() reads what JSON.parse() reads, but no name twice", () => {
  fc.assert(
    fc.property(fc.dictionary(fc.string(), fc.jsonValue({ maxDepth: 4 })), (json) => {
      const text = JSON.stringify(json, undefined, 1);
      assert.deepEqual(parseJsonObject(text), JSON.parse(text));
    }),
    { numRuns: 500 },
  );
  for (const text of [
    '{"a":1,"a":1}',
    '{"a":1,"\\u0061":1}',
    '{"b":[{"a":{},"a":[]}]}',
    '{"a":{"x":1},"b":2,"a":3}',
    `{"a":${"[".repeat(100)}${"]".repeat(100)}}`,
    "[]",
    "null",
    "{",
  ]) {
    assert.equal(parseJsonObject(text), undefined, text);
  }
  for (const text of ['{"a":{"a":1},"b":["a","a"]}', '{"a":"\\"a\\":,{","b":"\\\\"}', "{}"]) {
    assert.ok(parseJsonObject(text) !== undefined, text);
  }
});
