import assert from "node:assert/strict";
import { test } from "node:test";

import { DescriptorTable } from "./descriptor-table.ts";

test("takeOf() gives what a thread had at its end, once", () => {
  const table = new DescriptorTable(new SharedArrayBuffer(64));
  const first = new DescriptorTable(table.memory).ledgerOf(1);
  const second = new DescriptorTable(table.memory).ledgerOf(2);
  for (const fd of [3, 4, 5]) first.own(fd);
  first.disown(4);
  second.own(6);
  assert.deepEqual(table.takeOf(1), [3, 5]);
  assert.deepEqual(table.takeOf(1), []);
  assert.deepEqual(table.takeOf(2), [6]);
});

test("disown() leaves what has another owner by now", () => {
  const table = new DescriptorTable(new SharedArrayBuffer(64));
  const late = table.ledgerOf(1);
  late.own(3);
  assert.ok(table.give(3, 2));
  late.disown(3);
  assert.deepEqual(table.takeOf(2), [3]);
});

test("give() refuses a number that the table has no room for", () => {
  const table = new DescriptorTable(new SharedArrayBuffer(64));
  assert.equal(table.give(15, 1), true);
  assert.equal(table.give(16, 1), false);
  table.ledgerOf(1).disown(16);
});
