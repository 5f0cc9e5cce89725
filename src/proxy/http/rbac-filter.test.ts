import assert from "node:assert/strict";
import { test } from "node:test";

import { message } from "../../../test/support/message.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { RBAC } from "../../wire/gen/ts/envoy/extensions/filters/http/rbac/v3/rbac.ts";
import { createRbacFilter } from "./rbac-filter.ts";

test("createRbacFilter() names its series by the prefixes of its rules", () => {
  const metrics = createMetricRegistry();
  const config = message(RBAC, { rulesStatPrefix: "own.", shadowRulesStatPrefix: "dry_run_" });
  const place = { name: "rbac", path: "", metrics, statPrefix: "p" };
  createRbacFilter(RBAC.encode(config).finish(), place);
  const text = metrics.expose();
  for (const name of ["own_allowed", "own_denied", "dry_run__shadow_allowed"]) {
    assert.ok(text.includes(`envoy_http_rbac_${name}{http_conn_manager_prefix="p"}`), name);
  }
});
