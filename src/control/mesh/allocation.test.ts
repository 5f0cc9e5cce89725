import assert from "node:assert/strict";
import { test } from "node:test";

import { allocatedAddresses, isAllocatedAddress } from "../../base/allocated-addresses.ts";
import { allocatePlaces } from "./allocation.ts";

const none = new Map<string, number>();

test("allocatePlaces() gives a host the same place whatever else there is", () => {
  const alone = allocatePlaces(["db.example"], none);
  const among = allocatePlaces(["web.example", "db.example", "a.example"], none);
  assert.equal(among.get("db.example"), alone.get("db.example"));
});

test("allocatePlaces() gives no place twice, and takes none away", () => {
  const many = Array.from({ length: 2000 }, (_, index) => `host-${index}.example`);
  const first = allocatePlaces(many.slice(1000), none);
  const all = allocatePlaces(many, first);
  assert.equal(new Set(all.values()).size, many.length);
  for (const [host, place] of first) assert.equal(all.get(host), place);
  const fewer = allocatePlaces(many.slice(1500), all);
  for (const [host, place] of fewer) assert.equal(all.get(host), place);
});

test("allocatePlaces() ends with the range", () => {
  const many = Array.from({ length: 65_540 }, (_, index) => `h${index}`);
  const places = allocatePlaces(many, none);
  assert.equal(places.size, 65_534);
  const values = [...places.values()];
  assert.deepEqual(
    [Math.min(...values.slice(0, 9000)) >= 1, places.get("nobody")],
    [true, undefined],
  );
});

test("allocatedAddresses() stay within Istio's ranges", () => {
  assert.deepEqual(allocatedAddresses(1, true), ["240.240.0.1", "2001:2::1"]);
  assert.deepEqual(allocatedAddresses(65_534, false), ["240.240.255.254"]);
  assert.ok(allocatedAddresses(300, true).every(isAllocatedAddress));
  assert.ok(!["240.241.0.1", "2001:20::1", "198.19.0.1", "fd48::1"].some(isAllocatedAddress));
});
