import assert from "node:assert/strict";
import { test } from "node:test";

import { message } from "../../../test/support/message.ts";
import { createMetricRegistry } from "../../telemetry/metric-registry.ts";
import { RBAC } from "../../wire/gen/ts/envoy/extensions/filters/http/rbac/v3/rbac.ts";
import { createRbacFilter } from "./rbac-filter.ts";

test("createRbacFilter() labels its series by the prefixes of its rules", () => {
  const metrics = createMetricRegistry();
  const config = message(RBAC, { rulesStatPrefix: "own.", shadowRulesStatPrefix: "dry_run_" });
  const place = { name: "rbac", path: "", metrics, statPrefix: "p" };
  createRbacFilter(RBAC.encode(config).finish(), place);
  const text = metrics.expose();
  for (const [name, prefix] of [
    ["allowed", "own"],
    ["denied", "own"],
    ["shadow_allowed", "dry_run_"],
  ] as const) {
    const labels = `http_conn_manager_prefix="p",rbac_http_prefix="${prefix}"`;
    assert.ok(text.includes(`envoy_http_rbac_${name}{${labels}}`), name);
  }
});
