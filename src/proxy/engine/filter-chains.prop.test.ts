/** The choice of a filter chain against an interpreter of Envoy's nine questions. */
import assert from "node:assert/strict";
import test from "node:test";

import fc from "fast-check";

import { type Fields, message } from "../../../test/support/message.ts";
import { oracleFilterChain } from "../../../test/support/oracle/filter-chains.ts";
import { HeddleError } from "../../base/error.ts";
import { Listener } from "../../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import type { FilterChainMatch } from "../../wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import {
  compileFilterChains,
  type ConnectionFacts,
  type FilterChainSelector,
} from "./filter-chains.ts";

const address = fc.constantFrom("10.0.0.1", "10.0.0.2", "10.1.0.1", "192.0.2.1");
const ranges = fc.array(
  fc.record({ addressPrefix: address, prefixLen: fc.constantFrom(0, 8, 16, 31, 32) }),
  { maxLength: 2 },
);
const names = fc.uniqueArray(fc.constantFrom("a.com", "b.a.com", "*.a.com", "*.com", "*.b.a.com"), {
  maxLength: 2,
});
const port = fc.constantFrom(80, 443);

const match: fc.Arbitrary<Fields<FilterChainMatch>> = fc.record({
  destinationPort: fc.option(port, { nil: undefined }),
  prefixRanges: ranges,
  serverNames: names,
  transportProtocol: fc.constantFrom("", "", "tls", "raw_buffer"),
  applicationProtocols: fc.uniqueArray(fc.constantFrom("istio", "h2", "http/1.1"), {
    maxLength: 2,
  }),
  directSourcePrefixRanges: fc.oneof(fc.constant([]), ranges),
  sourceType: fc.constantFrom(0, 0, 1, 2),
  sourcePrefixRanges: fc.oneof(fc.constant([]), ranges),
  sourcePorts: fc.uniqueArray(port, { maxLength: 1 }),
});

const facts: fc.Arbitrary<ConnectionFacts> = fc.record({
  destinationAddress: address,
  destinationPort: port,
  sni: fc.constantFrom(undefined, "a.com", "b.a.com", "c.b.a.com", "x.com", "com"),
  transportProtocol: fc.constantFrom("tls", "raw_buffer"),
  applicationProtocols: fc.uniqueArray(fc.constantFrom("istio", "h2", "http/1.1", "x"), {
    maxLength: 3,
  }),
  directSourceAddress: address,
  sourceAddress: address,
  sourcePort: port,
  isLocalSource: fc.boolean(),
});

test("compileFilterChains() agrees with the interpreter", () => {
  let compared = 0;
  fc.assert(
    fc.property(
      fc.array(match, { minLength: 1, maxLength: 8 }),
      fc.boolean(),
      fc.array(facts, { minLength: 1, maxLength: 12 }),
      (matches, hasDefault, connections) => {
        const listener = message(Listener, {
          filterChains: matches.map((filterChainMatch, i) => ({ name: `${i}`, filterChainMatch })),
          ...(hasDefault ? { defaultFilterChain: { name: "default" } } : {}),
        });
        const selector = selectorOf(listener);
        if (selector === undefined) return;
        for (const each of connections) {
          assert.equal(selector.match(each)?.name, oracleFilterChain(listener, each));
          compared++;
        }
      },
    ),
    { numRuns: 1000 },
  );
  assert.ok(compared > 1000, `only ${compared} choices were compared`);
});

/** Undefined where two chains ask for the same, which is refused. */
function selectorOf(listener: Listener): FilterChainSelector | undefined {
  try {
    return compileFilterChains(listener);
  } catch (thrown) {
    if (thrown instanceof HeddleError) return undefined;
    throw thrown;
  }
}
