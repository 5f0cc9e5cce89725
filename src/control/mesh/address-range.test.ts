import assert from "node:assert/strict";
import { test } from "node:test";

import { canonicalRange } from "./address-range.ts";

test("canonicalRange() reads the same for the same range", () => {
  const same = [
    ["10.1.2.3/8", "10.0.0.0/8"],
    ["10.1.2.3", "10.1.2.3/32"],
    ["192.168.255.1/17", "192.168.128.0/17"],
    ["1.2.3.4/0", "0.0.0.0/0"],
    ["fd00::1/64", "fd00:0::/64"],
    ["2001:db8::ff", "2001:DB8:0:0::ff/128"],
    ["2001:db8:ffff::/33", "2001:db8:8000::/33"],
  ] as const;
  for (const [one, other] of same) assert.equal(canonicalRange(one), canonicalRange(other));
  assert.notEqual(canonicalRange("10.0.0.0/8"), canonicalRange("10.0.0.0/9"));
});
