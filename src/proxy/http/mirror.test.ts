import assert from "node:assert/strict";
import { test } from "node:test";

import { HttpHarness } from "../../../test/support/http-harness.ts";
import type { Fields } from "../../../test/support/message.ts";
import type { RouteAction_RequestMirrorPolicy as Policy } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";

function hostOfCopy(policy: Fields<Policy>): string | undefined {
  const requestMirrorPolicies = [{ cluster: "app", ...policy }];
  const route = { match: { prefix: "/" }, route: { cluster: "app", requestMirrorPolicies } };
  const mesh = new HttpHarness({
    routes: { name: "r", virtualHosts: [{ name: "v", domains: ["*"], routes: [route] }] } as never,
  });
  mesh.connect().send("GET /a HTTP/1.1\r\nhost: shop.test:80\r\n\r\n");
  assert.equal(mesh.upstreams.length, 2);
  const heads = mesh.upstreams.map((_, i) => mesh.upstream(i).take());
  const host = /\r\nhost: (.*)\r\n/.exec(heads.at(-1) ?? "")?.[1];
  // Of a cluster whose servers prove to be whom requests name, the copy's must.
  assert.ok(mesh.askedFor.includes(host));
  return host;
}

test("sendMirrors() tells by the host that a request is a copy, unless it is told not to", () => {
  assert.equal(hostOfCopy({}), "shop.test-shadow:80");
  assert.equal(hostOfCopy({ disableShadowHostSuffixAppend: true }), "shop.test:80");
  assert.equal(hostOfCopy({ hostRewriteLiteral: "copy.test" }), "copy.test");
  assert.equal(
    hostOfCopy({ hostRewriteLiteral: "copy.test", disableShadowHostSuffixAppend: true }),
    "copy.test",
  );
});
