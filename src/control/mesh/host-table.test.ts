import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { hostMatches } from "../../model/matching.ts";
import { HostTable, patternsOver } from "./host-table.ts";

test("patternsOver() names the hosts that cover a name, the closest first", () => {
  const check = (hostname: string, ...expected: readonly string[]): void => {
    assert.deepEqual([...patternsOver(hostname)], [hostname, ...expected]);
  };
  check("a.b.c", "*.b.c", "*.c", "*");
  check("*.b.c", "*.c", "*");
  check("a", "*");
  check("*");
  check("a.", "*.", "*");
});

test("HostTable finds what hostMatches() finds, the longest host first", () => {
  const name = fc.array(fc.constantFrom("a", "b", "c"), { minLength: 1, maxLength: 4 });
  const host = fc
    .tuple(fc.boolean(), name)
    .map(([isWild, labels]) => (isWild ? ["*", ...labels] : labels).join("."));
  const anyHost = fc.oneof(
    { arbitrary: host, weight: 9 },
    { arbitrary: fc.constant("*"), weight: 1 },
  );
  fc.assert(
    fc.property(fc.array(anyHost), anyHost, (hosts, hostname) => {
      const table = new HostTable<number>();
      for (const [index, one] of hosts.entries()) table.add(one, index);
      const closeness = (one: string): number => (one === hostname ? Infinity : one.length);
      const expected = [...new Set(hosts)]
        .filter((one) => hostMatches(one, hostname))
        .toSorted((left, right) => (closeness(left) > closeness(right) ? -1 : 1));
      const found = [...table.covering(hostname)];
      assert.deepEqual(
        found.map((one) => one.host),
        expected,
      );
      assert.deepEqual(table.closest(hostname), found[0]?.items ?? []);
      for (const one of found) {
        assert.deepEqual(
          one.items,
          hosts.flatMap((each, index) => (each === one.host ? [index] : [])),
        );
      }
    }),
  );
});
