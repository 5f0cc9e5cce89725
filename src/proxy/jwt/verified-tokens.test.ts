import assert from "node:assert/strict";
import { test } from "node:test";

import { encodePart } from "../../../test/support/tokens.ts";
import { KeySet } from "./keys.ts";
import { parseToken } from "./token.ts";
import { VerifiedTokens } from "./verified-tokens.ts";

const text = `${encodePart({ alg: "ES256" })}.${encodePart({})}.${encodePart("s")}`;
const token = parseToken(text);
assert.ok(typeof token === "object");
const one = new KeySet([]);

test("has() knows what was added, as long as the keys are the same", () => {
  const tokens = new VerifiedTokens(undefined);
  assert.equal(tokens.has("a", one), false);
  tokens.add("a", token);
  assert.equal(tokens.has("a", one), true);
  assert.equal(tokens.read("a"), token);
  assert.equal(tokens.has("a", new KeySet([])), false);
  assert.equal(tokens.has("a", one), false, "what was forgotten is verified anew");
  assert.equal(tokens.read("a"), undefined);
});

test("add() keeps those used last, and none that is too long", () => {
  const tokens = new VerifiedTokens({ jwtCacheSize: 2, jwtMaxTokenSize: 3 });
  tokens.has("", one);
  for (const each of ["a", "b"]) tokens.add(each, token);
  tokens.has("a", one);
  tokens.add("c", token);
  tokens.add("long", token);
  assert.deepEqual(
    ["a", "b", "c", "long"].map((each) => tokens.has(each, one)),
    [true, false, true, false],
  );
});
