import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { chainMatches, type Conditions } from "./connection-chains.ts";

const conditions: fc.Arbitrary<Conditions> = fc.record({
  serverNames: fc.uniqueArray(fc.constantFrom("a.example", "A.example", "*.example", "*"), {
    maxLength: 3,
  }),
  ranges: fc.uniqueArray(fc.constantFrom("10.0.0.0/8", "10.1.2.3/8", "10.0.0.1", "fd00::/8"), {
    maxLength: 3,
  }),
  source: fc.constantFrom(undefined, "10.0.0.0/9", "10.5.0.0/9"),
});

type Match = ReturnType<typeof chainMatches>[number];

/** What a data plane compares: every combination that a match takes. */
function combinations(match: Match): string[] {
  const texts = (list: Match["prefixRanges"]): string[] => {
    const all = (list ?? []).map(({ addressPrefix, prefixLen }) => `${addressPrefix}/${prefixLen}`);
    return all.length === 0 ? ["any"] : all;
  };
  const names = match.serverNames ?? [];
  const tls = match.transportProtocol ?? "";
  return (names.length === 0 ? ["any"] : names).flatMap((name) =>
    texts(match.prefixRanges).flatMap((range) =>
      texts(match.sourcePrefixRanges).map((source) => `${tls} ${name} ${range} ${source}`),
    ),
  );
}

test("chainMatches() takes each combination once, and leaves out none", () => {
  fc.assert(
    fc.property(fc.array(conditions, { maxLength: 6 }), (all) => {
      const taken = new Set<string>();
      const made = all.map((one) => chainMatches(one, taken));
      const together = made.flat().flatMap(combinations);
      assert.equal(new Set(together).size, together.length, "two chains take the same");
      const wanted = new Set(
        all.flatMap((one) => chainMatches(one, new Set()).flatMap(combinations)),
      );
      assert.deepEqual(new Set(together), wanted);
    }),
  );
});
