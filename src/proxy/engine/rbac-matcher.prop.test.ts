/** Policies as trees of matchers, against an interpreter of the same messages, two ways each. */
import assert from "node:assert/strict";
import test from "node:test";

import fc from "fast-check";

import { type Fields, message } from "../../../test/support/message.ts";
import { oracleMatch } from "../../../test/support/oracle/match-tree.ts";
import { requestView } from "../../../test/support/request-view.ts";
import { Action, RBAC_Action as Effect } from "../../wire/gen/ts/envoy/config/rbac/v3/rbac.ts";
import { Ip } from "../../wire/gen/ts/envoy/extensions/matching/input_matchers/ip/v3/ip.ts";
import { HttpRequestHeaderMatchInput } from "../../wire/gen/ts/envoy/type/matcher/v3/http_inputs.ts";
import { IPMatcher } from "../../wire/gen/ts/xds/type/matcher/v3/ip.ts";
import {
  Matcher,
  type Matcher_MatcherList_Predicate as Predicate,
  type Matcher_OnMatch as OnMatch,
} from "../../wire/gen/ts/xds/type/matcher/v3/matcher.ts";
import { compileMatcherRbac, compileNetworkMatcherRbac } from "./rbac-matcher.ts";
import type { RequestView } from "./request.ts";

function any(type: string, value: Uint8Array = new Uint8Array(0)) {
  return { name: "x", typedConfig: { typeUrl: `type.googleapis.com/${type}`, value } };
}

const network = "envoy.extensions.matching.common_inputs.network.v3";
const header = (headerName: string) =>
  any(
    "envoy.type.matcher.v3.HttpRequestHeaderMatchInput",
    HttpRequestHeaderMatchInput.encode({ headerName }).finish(),
  );
const addressInput = fc.constantFrom(
  any(`${network}.DestinationIPInput`),
  any(`${network}.SourceIPInput`),
  any(`${network}.DirectSourceIPInput`),
);
const input = fc.oneof(
  addressInput,
  fc.constantFrom(
    any(`${network}.DestinationPortInput`),
    any(`${network}.ServerNameInput`),
    any("envoy.extensions.matching.common_inputs.ssl.v3.UriSanInput"),
    header("x"),
    header("y"),
    header(":method"),
  ),
);
const text = fc.constantFrom("1", "12", "GET", "a", "A", "10.0.0.1", "8080", "constructor");
const valueMatch = fc.oneof(
  fc.record({ exact: text, ignoreCase: fc.boolean() }),
  fc.record({ prefix: text, ignoreCase: fc.boolean() }),
  fc.record({ suffix: text, ignoreCase: fc.boolean() }),
  fc.record({ contains: text, ignoreCase: fc.boolean() }),
  fc.constant({ safeRegex: { regex: "[a-z0-9]*" } }),
);
const range = fc.record({
  addressPrefix: fc.constantFrom("198.18.0.7", "198.18.0.0", "10.0.0.0"),
  prefixLen: fc.constantFrom(0, 8, 16, 24, 31, 32),
});
const ranges = fc.array(range, { minLength: 1, maxLength: 3 });

const { predicate } = fc.letrec<{ predicate: Fields<Predicate> }>((tie) => ({
  predicate: fc.oneof(
    { maxDepth: 3 },
    fc.record({ input, valueMatch }).map((singlePredicate) => ({ singlePredicate })),
    fc.tuple(addressInput, ranges).map(([of, cidrRanges]) => ({
      singlePredicate: {
        input: of,
        customMatch: any(
          "envoy.extensions.matching.input_matchers.ip.v3.Ip",
          Ip.encode(message(Ip, { cidrRanges })).finish(),
        ),
      },
    })),
    tie("predicate").map((notMatcher) => ({ notMatcher })),
    fc
      .array(tie("predicate"), { minLength: 2, maxLength: 3 })
      .map((of) => ({ andMatcher: { predicate: of } })),
    fc
      .array(tie("predicate"), { minLength: 2, maxLength: 3 })
      .map((of) => ({ orMatcher: { predicate: of } })),
  ),
}));

const action: fc.Arbitrary<Fields<OnMatch>> = fc
  .record({
    name: fc.constantFrom("p", "q", "r"),
    action: fc.constantFrom(Effect.ALLOW, Effect.DENY, Effect.LOG),
  })
  .map((one) => ({ action: any("envoy.config.rbac.v3.Action", Action.encode(one).finish()) }));

/** Ranges of one length, and texts, stand in a tree once: what is best must be one. */
const { matcher } = fc.letrec<{ matcher: Fields<Matcher>; onMatch: Fields<OnMatch> }>((tie) => ({
  onMatch: fc.oneof(
    { maxDepth: 3 },
    action,
    tie("matcher").map((inner) => ({ matcher: inner })),
  ),
  matcher: fc
    .tuple(
      fc.oneof(
        fc
          .array(fc.record({ predicate, onMatch: tie("onMatch") }), { minLength: 1, maxLength: 3 })
          .map((matchers) => ({ matcherList: { matchers } })),
        fc
          .record({
            input,
            map: fc.dictionary(text, tie("onMatch"), { minKeys: 1, maxKeys: 3 }),
            isExact: fc.boolean(),
          })
          .map(({ input: of, map, isExact }) => ({
            matcherTree: { input: of, [isExact ? "exactMatchMap" : "prefixMatchMap"]: { map } },
          })),
        fc
          .tuple(
            addressInput,
            fc.uniqueArray(fc.tuple(range, tie("onMatch")), {
              minLength: 1,
              maxLength: 3,
              selector: ([{ prefixLen }]) => prefixLen,
            }),
          )
          .map(([of, list]) => ({
            matcherTree: {
              input: of,
              customMatch: any(
                "xds.type.matcher.v3.IPMatcher",
                IPMatcher.encode(
                  message(IPMatcher, {
                    rangeMatchers: list.map(([one, onMatch]) => ({ ranges: [one], onMatch })),
                  }),
                ).finish(),
              ),
            },
          })),
      ),
      fc.option(tie("onMatch"), { nil: undefined }),
    )
    .map(([of, onNoMatch]): Fields<Matcher> => ({ ...of, onNoMatch })),
}));

const request: fc.Arbitrary<RequestView> = fc
  .record({
    method: fc.constantFrom("GET", "POST"),
    x: fc.option(text, { nil: undefined }),
    remoteAddress: fc.constantFrom(undefined, "10.1.2.3"),
    connection: fc.record({
      sourceAddress: fc.constantFrom("198.18.0.7", "198.18.0.6", "10.0.0.1"),
      direct: fc.constantFrom(undefined, { address: "10.9.9.9", port: 1 }),
      destinationAddress: fc.constantFrom("198.18.0.7", "10.9.9.9"),
      destinationPort: fc.constantFrom(80, 8080),
      sni: fc.constantFrom(undefined, "", "a", "12"),
      peerUriSans: fc.constantFrom([], ["a"], ["12", "1"]),
    }),
  })
  .map(({ x, remoteAddress, ...rest }) =>
    requestView({
      ...rest,
      ...(remoteAddress === undefined ? {} : { remoteAddress }),
      headers: x === undefined ? {} : { x },
    }),
  );

function wanted(tree: Matcher, view: RequestView): object {
  const found = oracleMatch(tree, view);
  if (found === undefined) return { isAllowed: false, policy: undefined };
  const { name, action: effect } = Action.decode(found);
  const isLogged = effect === Effect.LOG;
  return { isAllowed: effect !== Effect.DENY, policy: name, isLogged };
}

test("compileMatcherRbac() agrees with the interpreter: generated code and closures", () => {
  fc.assert(
    fc.property(matcher, fc.array(request, { minLength: 1, maxLength: 6 }), (fields, requests) => {
      const tree = message(Matcher, fields);
      const generated = compileMatcherRbac(tree, "matcher");
      const closures = compileMatcherRbac(tree, "matcher", { generatesCode: false });
      for (const each of requests) {
        assert.deepEqual(generated.evaluate(each), wanted(tree, each));
        assert.deepEqual(closures.evaluate(each), wanted(tree, each));
      }
    }),
    { numRuns: 500 },
  );
});

const allow = {
  action: any("envoy.config.rbac.v3.Action", Action.encode({ name: "p", action: 0 }).finish()),
};

test("compileMatcherRbac() denies what nobody decides, and refuses what it does not know", () => {
  const onHeader = (more: Fields<Matcher>): Matcher =>
    message(Matcher, {
      matcherTree: { input: header("x"), exactMatchMap: { map: { a: allow } } },
      ...more,
    });
  const rbac = compileMatcherRbac(onHeader({}), "matcher");
  assert.deepEqual(rbac.evaluate(requestView()), { isAllowed: false, policy: undefined });
  assert.equal(rbac.evaluate(requestView({ headers: { x: "a" } })).isAllowed, true);
  assert.equal(compileMatcherRbac(Matcher.fromPartial({}), "matcher").logs, false);
  // A head's text is one character for each byte.
  const beyond = message(Matcher, {
    matcherTree: { input: header("x"), exactMatchMap: { map: { "\u00e9": allow } } },
  });
  const request = requestView({ headers: { x: "\xc3\xa9" } });
  assert.equal(compileMatcherRbac(beyond, "matcher").evaluate(request).isAllowed, true);
  const oneByte = message(Matcher, {
    matcherList: {
      matchers: [
        {
          predicate: {
            singlePredicate: { input: header("x"), valueMatch: { safeRegex: { regex: "." } } },
          },
          onMatch: allow,
        },
      ],
    },
  });
  assert.equal(compileMatcherRbac(oneByte, "matcher").evaluate(request).isAllowed, false);

  const cases: readonly (readonly [Matcher, RegExp])[] = [
    [onHeader({ onNoMatch: { ...allow, keepMatching: true } }), /on_no_match\.keep_matching/],
    [onHeader({ onNoMatch: {} }), /on_no_match: needs a matcher or an action/],
    [onHeader({ onNoMatch: { action: any("a.B") } }), /on_no_match\.action: 'a\.B'/],
    [
      message(Matcher, {
        matcherTree: { input: any("a.Input"), exactMatchMap: { map: { a: allow } } },
      }),
      /matcher_tree\.input: 'a\.Input' is not supported here/,
    ],
    [
      message(Matcher, { matcherTree: { input: header("x"), customMatch: any("a.Match") } }),
      /custom_match: 'a\.Match' is not supported/,
    ],
    [
      message(Matcher, { matcherList: { matchers: [{ predicate: {}, onMatch: allow }] } }),
      /matchers\[0\]\.predicate: says nothing/,
    ],
  ];
  for (const [tree, reason] of cases) {
    assert.throws(() => compileMatcherRbac(tree, "matcher"), reason);
  }
  for (const name of ["DestinationIPInput", "DestinationPortInput", "SourceIPInput"]) {
    const tree = message(Matcher, {
      matcherList: {
        matchers: [
          {
            predicate: {
              singlePredicate: {
                input: any(`${network}.${name}`),
                valueMatch: { safeRegex: { regex: ".*" } },
              },
            },
            onMatch: allow,
          },
        ],
      },
    });
    const inside = requestView({
      connection: {
        sourceAddress: "envoy://internal_client_address/",
        destinationAddress: "envoy://inner/",
        destinationPort: 0,
      },
    });
    assert.equal(compileMatcherRbac(tree, "matcher").evaluate(inside).isAllowed, false, name);
    assert.equal(compileMatcherRbac(tree, "matcher").evaluate(requestView()).isAllowed, true, name);
  }
  const ofHeader = onHeader({});
  assert.throws(() => compileNetworkMatcherRbac(ofHeader, "matcher"), /is not supported here/);
});
