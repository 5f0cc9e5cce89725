import assert from "node:assert/strict";
import test from "node:test";

import { type Fields, message } from "../../../test/support/message.ts";
import { connectionView, requestView } from "../../../test/support/request-view.ts";
import {
  type Permission,
  type Principal,
  RBAC,
  RBAC_Action as Action,
} from "../../wire/gen/ts/envoy/config/rbac/v3/rbac.ts";
import { compileNetworkRbac, compileRbac, deniedDetails, type RbacVerdict } from "./rbac.ts";

type Rules = Fields<RBAC>;
type Request = Parameters<typeof requestView>[0];

const alice = "spiffe://cluster.local/ns/shop/sa/alice";

function evaluate(rules: Rules, request: Request): RbacVerdict {
  const rbac = compileRbac(message(RBAC, rules), "rules");
  assert.ok(rbac !== undefined);
  return rbac.evaluate(requestView(request));
}

function policies(
  permission: Fields<Permission>,
  principal: Fields<Principal> = { any: true },
): NonNullable<Rules["policies"]> {
  return { p: { permissions: [permission], principals: [principal] } };
}

function allows(
  permission: Fields<Permission>,
  request: Request,
  principal?: Fields<Principal>,
): boolean {
  return evaluate({ policies: policies(permission, principal) }, request).isAllowed;
}

test("evaluate() denies under ALLOW without policies, allows under DENY without policies", () => {
  assert.equal(evaluate({ action: Action.ALLOW }, {}).isAllowed, false);
  assert.equal(evaluate({ action: Action.DENY }, {}).isAllowed, true);
  assert.equal(compileRbac(undefined, "rules"), undefined);
});

test("evaluate() names the policy that decided", () => {
  const verdict = evaluate({ action: Action.DENY, policies: policies({ any: true }) }, {});
  assert.deepEqual(verdict, { isAllowed: false, policy: "p" });
  assert.equal(deniedDetails(verdict), "rbac_access_denied_matched_policy[p]");
  const none = evaluate({}, {});
  assert.equal(deniedDetails(none), "rbac_access_denied_matched_policy[none]");
});

test("evaluate() sees paths without query and fragment", () => {
  const exact = { urlPath: { path: { exact: "/admin" } } };
  assert.equal(allows(exact, { path: "/admin" }), true);
  assert.equal(allows(exact, { path: "/admin?x=/other" }), true);
  assert.equal(allows(exact, { path: "/admin#f" }), true);
  assert.equal(allows(exact, { path: "/admin/" }), false);
});

test("evaluate() sees methods, headers, ports, addresses and server names", () => {
  const get = { header: { name: ":method", stringMatch: { exact: "GET" } } };
  assert.equal(allows(get, { method: "GET" }), true);
  assert.equal(allows(get, { method: "POST" }), false);
  assert.equal(allows({ destinationPort: 8080 }, {}), true);
  assert.equal(allows({ destinationPort: 80 }, {}), false);
  assert.equal(allows({ destinationPortRange: { start: 8000, end: 8080 } }, {}), false);
  const range = { addressPrefix: "198.18.0.0", prefixLen: 16 };
  assert.equal(allows({ destinationIp: range }, {}), true);
  assert.equal(allows({ any: true }, {}, { directRemoteIp: range }), true);
  assert.equal(allows({ any: true }, { remoteAddress: "10.0.0.1" }, { remoteIp: range }), false);
  assert.equal(
    allows({ any: true }, { remoteAddress: "10.0.0.1" }, { directRemoteIp: range }),
    true,
  );
  const sni = { requestedServerName: { exact: "a.b" } };
  assert.equal(allows(sni, { connection: { sni: "a.b" } }), true);
});

test("evaluate() looks at each line of a header, in code and in closures", () => {
  const isAdmin = { header: { name: "x-role", stringMatch: { exact: "admin" } } };
  const isBoth = { header: { name: "x-role", stringMatch: { exact: "user,admin" } } };
  const either = [isAdmin, { header: { name: "x-role", stringMatch: { exact: "root" } } }];
  const verdicts = (permission: Fields<Permission>, role: string | readonly string[]): boolean[] =>
    [true, false].map((generatesCode) => {
      const rules = message(RBAC, { action: Action.DENY, policies: policies(permission) });
      const rbac = compileRbac(rules, "rules", { generatesCode });
      return rbac?.evaluate(requestView({ headers: { "x-role": role } })).isAllowed === true;
    });
  assert.deepEqual(verdicts(isAdmin, ["user", "admin"]), [false, false]);
  assert.deepEqual(verdicts({ orRules: { rules: either } }, ["user", "root"]), [false, false]);
  assert.deepEqual(verdicts({ notRule: isAdmin }, ["user", "admin"]), [true, true]);
  assert.deepEqual(verdicts(isBoth, ["user", "admin"]), [true, true]);
  assert.deepEqual(verdicts(isBoth, "user,admin"), [false, false]);
  assert.deepEqual(verdicts(isAdmin, "user,admin"), [true, true]);
});

test("evaluate() knows peers by their verified identity alone", () => {
  const named = { authenticated: { principalName: { exact: alice } } };
  const peer = { connection: { isTls: true, peerUriSans: [alice] } };
  assert.equal(allows({ any: true }, peer, named), true);
  assert.equal(allows({ any: true }, {}, named), false);
  assert.equal(allows({ any: true }, {}, { authenticated: {} }), false);
  assert.equal(allows({ any: true }, peer, { authenticated: {} }), true);
  assert.equal(allows({ any: true }, {}, { notId: named }), true);
});

test("evaluate() knows clients by each URI, each DNS name and the subject of their certificate", () => {
  const named = (exact: string): Fields<Principal> => ({
    authenticated: { principalName: { exact } },
  });
  const peerNames = { subject: "CN=cart,O=shop", dnsSans: ["cart.test", "a.test"] };
  const connection = { isTls: true, peerUriSans: [alice], peerNames };
  for (const name of [alice, "cart.test", "a.test", "CN=cart,O=shop"]) {
    assert.equal(allows({ any: true }, { connection }, named(name)), true, name);
    const other = { ...connection, isTls: false };
    assert.equal(allows({ any: true }, { connection: other }, named(name)), false, name);
  }
  assert.equal(allows({ any: true }, { connection }, named("cart")), false);
  // As in Envoy: TLS without a certificate has the empty subject.
  const anonymous = { connection: { isTls: true } };
  assert.equal(allows({ any: true }, anonymous, named("")), true);
  assert.equal(allows({ any: true }, anonymous, { authenticated: {} }), true);
});

test("evaluate() finds no path in CONNECT", () => {
  const connect = { method: "CONNECT", path: "" };
  const any: Fields<Permission> = { urlPath: { path: { safeRegex: { regex: ".*" } } } };
  const header = { header: { name: ":path", safeRegexMatch: { regex: ".*" } } };
  const none = { header: { name: ":path", presentMatch: true, invertMatch: true } };
  assert.equal(allows(any, {}), true);
  assert.equal(allows(any, connect), false);
  assert.equal(allows(header, connect), false);
  assert.equal(allows(none, connect), true);
  assert.equal(allows(none, {}), false);
});

test("evaluate() combines rules", () => {
  const one = { destinationPort: 8080 };
  const two = { header: { name: "x", presentMatch: true } };
  assert.equal(allows({ andRules: { rules: [one, two] } }, {}), false);
  assert.equal(allows({ andRules: { rules: [one, two] } }, { headers: { x: "" } }), true);
  assert.equal(allows({ orRules: { rules: [two, one] } }, {}), true);
  assert.equal(allows({ notRule: one }, {}), false);
});

test("evaluate() sees what filters found out", () => {
  const claim = (key: string, value: object): Fields<Principal> => ({
    metadata: {
      filter: "envoy.filters.http.jwt_authn",
      path: [{ key: "payload" }, { key }],
      value,
    },
  });
  const found = (payload: Record<string, unknown>): Request => ({
    metadata: new Map([["envoy.filters.http.jwt_authn", { payload }]]),
  });
  const issuer = claim("iss", { stringMatch: { exact: "me" } });
  assert.equal(allows({ any: true }, found({ iss: "me" }), issuer), true);
  assert.equal(allows({ any: true }, found({ iss: ["me"] }), issuer), false);
  assert.equal(allows({ any: true }, {}, issuer), false);
  assert.equal(allows({ any: true }, {}, { notId: issuer }), true);
  const group = claim("groups", { listMatch: { oneOf: { stringMatch: { exact: "a" } } } });
  assert.equal(allows({ any: true }, found({ groups: ["b", "a"] }), group), true);
  assert.equal(allows({ any: true }, found({ groups: "a" }), group), false);
  const inherited = claim("constructor", { presentMatch: true });
  assert.equal(allows({ any: true }, found({}), inherited), false);
  const age = claim("age", { doubleMatch: { range: { start: 18, end: 99 } } });
  assert.equal(allows({ any: true }, found({ age: 18 }), age), true);
  assert.equal(allows({ any: true }, found({ age: 99 }), age), false);
});

test("compileRbac() refuses what it cannot honour", () => {
  const refused = (rules: Rules, field: RegExp): void => {
    assert.throws(() => evaluate(rules, {}), { code: "xds.refused", message: field });
  };
  refused({ policies: policies({}) }, /permissions\[0\].*none is set/);
  refused({ policies: policies({ metadata: { filter: "f" } }) }, /metadata\.path/);
  refused({ policies: policies({ uriTemplate: { name: "t" } }) }, /uri_template/);
  refused({ policies: policies({ andRules: { rules: [] } }) }, /and_rules/);
  refused({ policies: policies({ any: true }, { filterState: { key: "k" } }) }, /filter_state/);
  refused({ policies: { p: { permissions: [], principals: [{ any: true }] } } }, /permissions/);
  refused({ auditLoggingOptions: {} }, /audit_logging_options/);
  for (const [start, end] of [
    [9000, 9000],
    [9001, 9000],
    [-1, 80],
    [80, 65_537],
  ] as const) {
    const destinationPortRange = { start, end };
    refused({ policies: policies({ destinationPortRange }) }, /destination_port_range/);
  }
  refused({ policies: policies({ destinationPort: 65_536 }) }, /destination_port/);
});

test("evaluate() finds no port in a connection inside the proxy", () => {
  const inside = { connection: { destinationAddress: "envoy://inner/", destinationPort: 0 } };
  assert.equal(allows({ destinationPortRange: { start: 0, end: 65_536 } }, inside), false);
  assert.equal(allows({ destinationPort: 0 }, inside), false);
});

test("compileNetworkRbac() takes conditions on connections alone, and asks a record for them", () => {
  const rules = (name: string): RBAC =>
    message(RBAC, {
      policies: {
        p: {
          permissions: [{ any: true }],
          principals: [{ any: true }],
          condition: {
            callExpr: {
              function: "_==_",
              args: [
                { selectExpr: { operand: { identExpr: { name } }, field: "mtls" } },
                { constExpr: { boolValue: false } },
              ],
            },
          },
        },
      },
    });
  assert.throws(() => compileNetworkRbac(rules("request"), "rules"), {
    code: "xds.refused",
    message: /policies\[p\]\.condition: 'request' is not supported for connections/,
  });
  const network = compileNetworkRbac(rules("connection"), "rules");
  assert.equal(network?.evaluate(connectionView()).isAllowed, false);
});

test("compileNetworkRbac() sees what a connection's PROXY header has said", () => {
  const key = { metadata: { filter: "tlv", path: [{ key: "zone" }] } };
  const isOutside: Fields<Principal> = {
    metadata: { ...key.metadata, value: { stringMatch: { exact: "outside" } } },
  };
  const check = (action: Action, principal: Fields<Principal>, zone: string): boolean | undefined =>
    compileNetworkRbac(
      message(RBAC, { action, policies: policies({ any: true }, principal) }),
      "rules",
    )?.evaluate(connectionView({ metadata: new Map([["tlv", { zone }]]) })).isAllowed;
  assert.equal(check(Action.DENY, isOutside, "outside"), false);
  assert.equal(check(Action.DENY, isOutside, "inside"), true);
  assert.equal(check(Action.ALLOW, { notId: isOutside }, "outside"), false);
});

test("compileNetworkRbac() never matches HTTP criteria", () => {
  const check = (permission: Fields<Permission>): boolean | undefined =>
    compileNetworkRbac(message(RBAC, { policies: policies(permission) }), "rules")?.evaluate(
      connectionView(),
    ).isAllowed;
  assert.equal(check({ urlPath: { path: { prefix: "/" } } }), false);
  const get = { header: { name: ":method", stringMatch: { exact: "GET" } } };
  assert.throws(
    () => check({ notRule: get }),
    /not_rule\.header: is not supported for connections/,
  );
  assert.equal(check({ destinationPort: 8080 }), true);
});

test("evaluate() takes whom a tunnel told for the peer only where the connection itself has none", () => {
  const gateway = "spiffe://cluster.local/ns/shop/sa/gateway";
  const key = "io.istio.peer_principal";
  const isGateway = { filterState: { key, stringMatch: { exact: gateway } } };
  const state = new Map([[key, { text: gateway, isHashable: false }]]);
  const plain = { isTls: false, peerUriSans: [], state };
  const own = { isTls: true, peerUriSans: [alice], state };
  assert.equal(allows({ any: true }, { connection: plain }, isGateway), true);
  assert.equal(allows({ any: true }, { connection: own }, isGateway), false);
  const itself = { isTls: true, peerUriSans: [gateway] };
  assert.equal(allows({ any: true }, { connection: itself }, isGateway), true);
});
