/** Where a match can hold at all, beside what istiod decides of the same fields (route.go, tls.go). */
import assert from "node:assert/strict";
import { test } from "node:test";

import type { RouteScope, SourceConditions } from "./route-match.ts";
import { isInScope } from "./route-match.ts";

const mesh: RouteScope = {
  gateways: new Set(["mesh"]),
  port: 80,
  namespace: "shop",
  labels: { app: "web" },
};
const gateway: RouteScope = { ...mesh, gateways: new Set(["edge/front"]), namespace: "edge" };

function check(match: SourceConditions, isMesh: boolean, isGateway: boolean): void {
  const what = JSON.stringify(match);
  assert.equal(isInScope(match, "edge", mesh), isMesh, `${what} in the mesh`);
  assert.equal(isInScope(match, "edge", gateway), isGateway, `${what} at the gateway`);
}

test("isInScope() holds a gateway to labels and namespace of the source, unless the match names it", () => {
  check({}, true, true);
  check({ port: 81 }, false, false);
  check({ gateways: ["front"] }, false, true);
  check({ gateways: ["mesh", "edge/front"] }, true, true);
  check({ sourceLabels: { app: "web" } }, true, true);
  check({ sourceLabels: { app: "other" } }, false, false);
  check({ sourceNamespace: "shop" }, true, false);
  check({ sourceNamespace: "edge" }, false, true);
  check({ gateways: ["front"], sourceNamespace: "shop" }, false, true);
});
