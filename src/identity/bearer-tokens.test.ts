import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { test } from "node:test";

import { BearerTokens } from "./bearer-tokens.ts";

const digestOf = (token: string): string => createHash("sha256").update(token).digest("hex");
const cart = "token-of-cart-0123456789";
const shop = "token-of-shop-0123456789";

function tokens(): BearerTokens<string> {
  const known = new BearerTokens<string>();
  known.replace([
    { sha256: digestOf(cart), holder: "cart" },
    { sha256: digestOf(shop), holder: "shop" },
    { sha256: "", holder: "nobody" },
  ]);
  return known;
}

test("identify() knows the holder of a whole token and nobody else", () => {
  const known = tokens();
  assert.equal(known.identify(`Bearer ${cart}`), "cart");
  assert.equal(known.identify(`Bearer ${shop}`), "shop");
  assert.equal(known.identify(undefined), undefined);
  const strangers = ["", "Bearer ", cart, `Basic ${cart}`, `Bearer ${cart}x`];
  for (const header of [...strangers, `Bearer ${cart.slice(0, -1)}`, `Bearer ${cart} ${shop}`]) {
    assert.equal(known.identify(header), undefined, header);
  }
});

test("identify() takes no digest for a token: whoever reads what is kept is nobody", () => {
  assert.equal(tokens().identify(`Bearer ${digestOf(cart)}`), undefined);
});

test("replace() forgets the tokens of before", () => {
  const known = tokens();
  known.replace([{ sha256: digestOf(shop), holder: "shop" }]);
  assert.equal(known.identify(`Bearer ${cart}`), undefined);
  assert.equal(known.identify(`Bearer ${shop}`), "shop");
});
