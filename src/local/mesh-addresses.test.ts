import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { AddressBook, serviceAddresses, workloadAddresses } from "./mesh-addresses.ts";

test("workloadAddresses() and serviceAddresses() count through their ranges", () => {
  assert.deepEqual(workloadAddresses(2, true), ["198.18.0.2", "fd48:6564:646c:12::2"]);
  assert.deepEqual(serviceAddresses(258, true), ["198.19.1.2", "fd48:6564:646c:13::102"]);
  assert.deepEqual(workloadAddresses(2, false), ["198.18.0.2"]);
});

test("AddressBook keeps numbers, gives the lowest free one, and forgets what is gone", () => {
  const book = new AddressBook(2, { a: 2, b: 4, broken: -1 });
  assert.equal(book.numberOf("a"), 2);
  assert.equal(book.numberOf("c"), 3);
  assert.equal(book.numberOf("d"), 5);
  book.keepOnly(new Set(["a", "d"]));
  assert.equal(book.numberOf("e"), 3);
  assert.deepEqual(book.toJSON(), { a: 2, d: 5, e: 3 });
});

test("AddressBook never gives one number to two names", () => {
  fc.assert(
    fc.property(fc.array(fc.string({ maxLength: 3 }), { maxLength: 200 }), (names) => {
      const book = new AddressBook(2);
      const numbers = new Map(names.map((name) => [name, book.numberOf(name)]));
      assert.equal(new Set(numbers.values()).size, numbers.size);
    }),
  );
});
