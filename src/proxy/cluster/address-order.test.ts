import assert from "node:assert/strict";
import { test } from "node:test";

import { type AddressOrder, inOrder } from "./address-order.ts";

const usual: AddressOrder = { first: undefined, count: 1 };

function check(what: string, addresses: string, order: AddressOrder, wanted: string): void {
  test(`inOrder() ${what}`, () => {
    const list = addresses.split(" ").map((address) => ({ address, port: 80 }));
    const ordered = inOrder(list, order).map(({ address }) => address);
    assert.equal(ordered.join(" "), wanted);
  });
}

check(
  "takes families by turns, that of the first address first",
  "1 2 3 a: b:",
  usual,
  "1 a: 2 b: 3",
);
check("keeps the order of one family", "1 2 3", usual, "1 2 3");
check(
  "begins with the family that is asked for",
  "1 2 a: b:",
  { first: "ipv6", count: 1 },
  "a: 1 b: 2",
);
check(
  "takes several of the first family",
  "1 2 3 a: b:",
  { first: undefined, count: 2 },
  "1 2 a: 3 b:",
);
check("does without a family that nobody has", "1 2", { first: "ipv6", count: 3 }, "1 2");
check(
  "ends with what is left of the other family",
  "a: 1 2 3",
  { first: "ipv6", count: 2 },
  "a: 1 2 3",
);
