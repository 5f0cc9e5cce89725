import assert from "node:assert/strict";
import { test } from "node:test";

import { allKindNames, isSecurityKind, kindAskedFor, kindOf, kinds, writtenKind } from "./kinds.ts";

test("kinds has each kind once under its name, and each pair of group and kind once", () => {
  const all = Object.entries(kinds);
  for (const [name, kind] of all) assert.equal(kind.name, name);
  const pairs = new Set(all.map(([, kind]) => `${kind.group}/${writtenKind(kind)}`));
  assert.equal(pairs.size, all.length);
});

test("kindOf() tells kinds of one name by their group", () => {
  const name = (apiVersion: string): string | undefined => kindOf(apiVersion, "Gateway")?.name;
  assert.equal(name("networking.istio.io/v1"), "Gateway");
  assert.equal(name("gateway.networking.k8s.io/v1"), "Gateway.gateway.networking.k8s.io");
  assert.equal(name("v1"), undefined);
});

test("kindAskedFor() takes kubectl's spellings, each of one kind", () => {
  const check = (text: string, name: string | undefined): void =>
    assert.equal(kindAskedFor(text), name);
  check("vs", "VirtualService");
  check("virtualservices", "VirtualService");
  check("ServiceEntries", "ServiceEntry");
  check("AuthorizationPolicies", "AuthorizationPolicy");
  check("gateways", "Gateway");
  check("gateway.networking.istio.io", "Gateway");
  check("gateways.gateway.networking.k8s.io", "Gateway.gateway.networking.k8s.io");
  check("gtw", "Gateway.gateway.networking.k8s.io");
  check("gatewayclasses", "GatewayClass");
  check("toString", undefined);
  for (const name of allKindNames()) check(name, name);
});

test("isSecurityKind() knows what must fail closed, honoured or not", () => {
  const security = allKindNames().filter(isSecurityKind);
  assert.deepEqual(security, [
    "PeerAuthentication",
    "AuthorizationPolicy",
    "RequestAuthentication",
  ]);
  assert.equal(isSecurityKind("constructor"), false);
});
