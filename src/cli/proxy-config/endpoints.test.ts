import assert from "node:assert/strict";
import { test } from "node:test";

import { viewEndpoints } from "./endpoints.ts";
import type { ViewFilter } from "./filter.ts";

const address = { socket_address: { address: "192.0.2.1", port_value: 80 } };

function statusesOf(...statuses: readonly object[]): readonly unknown[] {
  const cluster = {
    name: "shop",
    host_statuses: statuses.map((health_status) => ({ address, health_status, weight: 1 })),
  };
  const filter: ViewFilter = {};
  const { rows } = viewEndpoints(JSON.stringify({ cluster_statuses: [cluster] }), filter);
  return rows.map(([, status, outlier]) => `${status} ${outlier}`);
}

test("viewEndpoints() shows what checks have found before what the control plane says", () => {
  assert.deepEqual(
    statusesOf(
      { eds_health_status: "HEALTHY" },
      { eds_health_status: "HEALTHY", failed_active_health_check: true },
      { eds_health_status: "HEALTHY", failed_active_degraded_check: true },
      { eds_health_status: "DRAINING", failed_active_degraded_check: true },
      { eds_health_status: "HEALTHY", failed_outlier_check: true },
    ),
    ["HEALTHY OK", "UNHEALTHY OK", "DEGRADED OK", "DRAINING OK", "HEALTHY EJECTED"],
  );
});
