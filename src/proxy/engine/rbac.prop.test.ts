/** Policies and header matchers against an interpreter of the same messages, two ways each. */
import assert from "node:assert/strict";
import test from "node:test";

import fc from "fast-check";

import { type Fields, message } from "../../../test/support/message.ts";
import { oracleHeader } from "../../../test/support/oracle/headers.ts";
import { oracleRbac } from "../../../test/support/oracle/rbac.ts";
import { requestView } from "../../../test/support/request-view.ts";
import {
  type Permission,
  type Principal,
  RBAC,
  RBAC_Action as Action,
} from "../../wire/gen/ts/envoy/config/rbac/v3/rbac.ts";
import { HeaderMatcher } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { conditionClosure } from "./condition-closure.ts";
import { type CodeChoice, compileCondition } from "./condition-code.ts";
import { compileHeaderMatcher, headerCondition } from "./header-matcher.ts";
import { compileNetworkRbac, compileRbac, type NetworkRbac, type RbacVerdict } from "./rbac.ts";
import type { RequestView } from "./request.ts";

const text = fc.constantFrom("1", "12", "GET", "a", "A", "", '"', "\\", "'+x+'", "\u2029");
const stringMatch = fc.oneof(
  fc.record({ exact: text, ignoreCase: fc.boolean() }),
  fc.record({ prefix: text, ignoreCase: fc.boolean() }),
  fc.record({ suffix: text, ignoreCase: fc.boolean() }),
  fc.record({ contains: text, ignoreCase: fc.boolean() }),
  fc.constant({ safeRegex: { regex: "[a-z0-9]*" } }),
);

const header: fc.Arbitrary<Fields<HeaderMatcher>> = fc
  .tuple(
    fc.record({
      name: fc.constantFrom("x", "X", ":method", ":path", ":authority", "y"),
      invertMatch: fc.boolean(),
      treatMissingHeaderAsEmpty: fc.boolean(),
    }),
    fc.oneof(
      stringMatch.map((each) => ({ stringMatch: each })),
      fc.boolean().map((presentMatch) => ({ presentMatch })),
      fc.constant({ rangeMatch: { start: -5n, end: 13n } }),
      text.map((exactMatch) => ({ exactMatch })),
      text.map((prefixMatch) => ({ prefixMatch })),
      text.map((suffixMatch) => ({ suffixMatch })),
      text.map((containsMatch) => ({ containsMatch })),
      fc.constant({ safeRegexMatch: { regex: "[0-9]+" } }),
      fc.constant({}),
    ),
  )
  .map(([name, value]) => ({ ...name, ...value }));

const san = fc.constantFrom("spiffe://a/1", "spiffe://a/2", "spiffe://b/1", "SPIFFE://A/1");
const sanMatch = fc.oneof(
  fc.record({ exact: san, ignoreCase: fc.boolean() }),
  fc.record({ prefix: fc.constant("spiffe://a/"), ignoreCase: fc.boolean() }),
);
const range = fc.record({
  addressPrefix: fc.constantFrom("198.18.0.7", "198.18.0.0", "10.0.0.0"),
  prefixLen: fc.constantFrom(0, 8, 16, 24, 31, 32),
});

const value = fc.oneof(
  stringMatch.map((each) => ({ stringMatch: each })),
  stringMatch.map((each) => ({ listMatch: { oneOf: { stringMatch: each } } })),
  fc.constant({ nullMatch: {} }),
  fc.boolean().map((boolMatch) => ({ boolMatch })),
  fc.boolean().map((presentMatch) => ({ presentMatch })),
);
const claim = fc.constantFrom("a", "b", "__proto__", "toString");
const metadata = fc.record({
  filter: fc.constantFrom("jwt", "other"),
  path: fc.array(
    claim.map((key) => ({ key })),
    { minLength: 1, maxLength: 2 },
  ),
  value: fc.oneof(
    value,
    fc.array(value, { minLength: 2, maxLength: 3 }).map((valueMatchers) => ({
      orMatch: { valueMatchers },
    })),
  ),
  invert: fc.boolean(),
});

const stateKey = fc.constantFrom("s", "t", "__proto__");

const { permission } = fc.letrec<{ permission: Fields<Permission> }>((tie) => ({
  permission: fc.oneof(
    { maxDepth: 4 },
    fc.constant({ any: true }),
    header.map((each) => ({ header: each })),
    stringMatch.map((path) => ({ urlPath: { path } })),
    range.map((destinationIp) => ({ destinationIp })),
    fc.constantFrom(80, 8080).map((destinationPort) => ({ destinationPort })),
    fc.constant({ destinationPortRange: { start: 8000, end: 8080 } }),
    stringMatch.map((requestedServerName) => ({ requestedServerName })),
    metadata.map((each) => ({ metadata: each })),
    tie("permission").map((notRule) => ({ notRule })),
    fc
      .array(tie("permission"), { minLength: 1, maxLength: 4 })
      .map((rules) => ({ andRules: { rules } })),
    fc
      .array(tie("permission"), { minLength: 1, maxLength: 4 })
      .map((rules) => ({ orRules: { rules } })),
  ),
}));

const { principal } = fc.letrec<{ principal: Fields<Principal> }>((tie) => ({
  principal: fc.oneof(
    { maxDepth: 4 },
    fc.constant({ any: true }),
    sanMatch.map((principalName) => ({ authenticated: { principalName } })),
    fc.constant({ authenticated: {} }),
    range.map((directRemoteIp) => ({ directRemoteIp })),
    range.map((remoteIp) => ({ remoteIp })),
    range.map((sourceIp) => ({ sourceIp })),
    header.map((each) => ({ header: each })),
    stringMatch.map((path) => ({ urlPath: { path } })),
    metadata.map((each) => ({ metadata: each })),
    fc.record({ key: stateKey, stringMatch }).map((filterState) => ({ filterState })),
    tie("principal").map((notId) => ({ notId })),
    fc.array(tie("principal"), { minLength: 1, maxLength: 4 }).map((ids) => ({ andIds: { ids } })),
    fc.array(tie("principal"), { minLength: 1, maxLength: 6 }).map((ids) => ({ orIds: { ids } })),
  ),
}));

const rules = fc.record({
  action: fc.constantFrom(Action.ALLOW, Action.DENY, Action.LOG),
  policies: fc.dictionary(
    fc.constantFrom("p", "q", "__proto__x", 'a"b'),
    fc.record({
      permissions: fc.array(permission, { minLength: 1, maxLength: 3 }),
      principals: fc.array(principal, { minLength: 1, maxLength: 6 }),
    }),
    { maxKeys: 3 },
  ),
});

const json = fc.oneof(text, fc.boolean(), fc.constant(null), fc.array(text, { maxLength: 2 }));
const claims = fc.dictionary(claim, fc.oneof(json, fc.dictionary(claim, json, { maxKeys: 2 })), {
  maxKeys: 2,
});
const found = fc.option(
  claims.map((fields) => new Map([["jwt", fields]])),
  { nil: undefined },
);

const state = fc.option(
  fc
    .array(fc.tuple(stateKey, text), { maxLength: 2 })
    .map((pairs) => new Map(pairs.map(([key, each]) => [key, { text: each, isHashable: false }]))),
  { nil: undefined },
);

const request: fc.Arbitrary<RequestView> = fc
  .record({
    path: fc.constantFrom("/", "1", "/a?x=1", "12#a", "a"),
    method: fc.constantFrom("GET", "POST", "CONNECT"),
    x: fc.option(text, { nil: undefined }),
    metadata: found,
    state,
    remoteAddress: fc.constantFrom(undefined, "10.1.2.3", "not an address"),
    connection: fc.record({
      sourceAddress: fc.constantFrom("198.18.0.7", "198.18.0.6", "10.0.0.1"),
      direct: fc.constantFrom(undefined, { address: "10.0.0.2", port: 1 }),
      destinationAddress: fc.constantFrom("198.18.0.7", "10.9.9.9"),
      destinationPort: fc.constantFrom(80, 8080, 8079),
      sni: fc.constantFrom(undefined, "a", "12"),
      isTls: fc.boolean(),
      peerUriSans: fc.array(san, { maxLength: 2 }),
      peerNames: fc.option(fc.record({ subject: san, dnsSans: fc.array(san, { maxLength: 2 }) }), {
        nil: undefined,
      }),
      state,
    }),
  })
  .map(({ x, remoteAddress, ...rest }) =>
    requestView({
      ...rest,
      ...(rest.method === "CONNECT" ? { path: "" } : {}),
      ...(remoteAddress === undefined ? {} : { remoteAddress }),
      headers: x === undefined ? {} : { x },
    }),
  );

const told = (verdict: RbacVerdict | undefined): string => {
  const word = verdict?.isAllowed === true ? "allow" : "deny";
  return verdict?.policy === undefined ? word : `${word} ${verdict.policy}`;
};

/** Undefined for rules about headers, which connections cannot have. */
function networkOf(config: RBAC, choice: CodeChoice = {}): NetworkRbac | undefined {
  try {
    return compileNetworkRbac(config, "rules", choice);
  } catch (thrown) {
    assert.match(String(thrown), /header: is not supported for connections/);
    return undefined;
  }
}

test("compileRbac() agrees with the interpreter: generated code and closures", () => {
  fc.assert(
    fc.property(rules, fc.array(request, { minLength: 1, maxLength: 6 }), (fields, requests) => {
      const config = message(RBAC, fields);
      const generated = compileRbac(config, "rules");
      const closures = compileRbac(config, "rules", { generatesCode: false });
      const network = networkOf(config);
      const plain = networkOf(config, { generatesCode: false });
      for (const each of requests) {
        const wanted = oracleRbac(config, each);
        assert.equal(told(generated?.evaluate(each)), wanted);
        assert.equal(told(closures?.evaluate(each)), wanted);
        assert.deepEqual(network?.evaluate(each.connection), plain?.evaluate(each.connection));
      }
    }),
    { numRuns: 800 },
  );
});

test("headerCondition() agrees with the interpreter: generated code, closures and look-ups", () => {
  fc.assert(
    fc.property(header, fc.array(request, { minLength: 1, maxLength: 6 }), (fields, requests) => {
      const matcher = message(HeaderMatcher, fields);
      const condition = headerCondition(matcher, "header");
      const generated = compileCondition(condition);
      const closure = conditionClosure(condition);
      const lookUp = compileHeaderMatcher(matcher, "header");
      for (const each of requests) {
        const wanted = oracleHeader(matcher, each);
        assert.equal(generated(each, "/", Math.random), wanted);
        assert.equal(closure(each, "/", Math.random), wanted);
        assert.equal(
          lookUp((name) => each.header(name)),
          wanted,
        );
      }
    }),
    { numRuns: 600 },
  );
});
