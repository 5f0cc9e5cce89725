import assert from "node:assert/strict";
import { test } from "node:test";

import { message } from "../../../test/support/message.ts";
import { requestView } from "../../../test/support/request-view.ts";
import { RouteAction_HashPolicy } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { compileHashPolicies } from "./hash-policy.ts";

test("compileHashPolicies() has nothing to hash of the address of who comes from a Unix socket", () => {
  const policy = message(RouteAction_HashPolicy, { connectionProperties: { sourceIp: true } });
  const hash = compileHashPolicies([policy], "hash_policy");
  assert.ok(hash !== undefined);
  assert.notEqual(hash({ ...requestView({}), remoteAddress: "192.0.2.7" }), undefined);
  for (const remoteAddress of ["/run/app.sock", "@app"]) {
    assert.equal(hash({ ...requestView({}), remoteAddress }), undefined);
  }
});
