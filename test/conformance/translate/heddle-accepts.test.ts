/** Heddle's own data plane honours everything that translation makes for it. */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { translate } from "../../../src/control/translate.ts";
import { compileCluster } from "../../../src/proxy/cluster/plan.ts";
import {
  honouredAssignment,
  honouredCluster,
} from "../../../src/proxy/config/honoured-clusters.ts";
import { honouredRoutes } from "../../../src/proxy/config/honoured-routes.ts";
import { checkHonoured } from "../../../src/proxy/config/honoured.ts";
import { checkListener, filterUrls } from "../../../src/proxy/config/listener-plan.ts";
import { compileNetworkRbac } from "../../../src/proxy/engine/rbac.ts";
import { compileRouteConfiguration } from "../../../src/proxy/engine/route-configuration.ts";
import { httpFilterOverrides } from "../../../src/proxy/http.ts";
import { compileFilters } from "../../../src/proxy/http/filter-chain.ts";
import { compileSettings } from "../../../src/proxy/http/settings.ts";
import { createMetricRegistry } from "../../../src/telemetry/metric-registry.ts";
import { Cluster } from "../../../src/wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { ClusterLoadAssignment } from "../../../src/wire/gen/ts/envoy/config/endpoint/v3/endpoint.ts";
import { Listener } from "../../../src/wire/gen/ts/envoy/config/listener/v3/listener.ts";
import { RouteConfiguration } from "../../../src/wire/gen/ts/envoy/config/route/v3/route.ts";
import { HttpConnectionManager } from "../../../src/wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { RBAC } from "../../../src/wire/gen/ts/envoy/extensions/filters/network/rbac/v3/rbac.ts";
import { typeUrls } from "../../../src/xds/feed.ts";
import { FakeClock } from "../../support/fake-clock.ts";
import { silentLog } from "../../support/silent-log.ts";
import { HttpHarness } from "../../support/http-harness.ts";
import { parseMeshCase } from "../../support/mesh-case.ts";

const folder = new URL("../../../src/control/translate/testdata/", import.meta.url).pathname;

for (const file of globSync("**/*.in.yaml", { cwd: folder }).toSorted()) {
  test(`translate() of ${file} is honoured by Heddle's proxy`, () => {
    const text = readFileSync(`${folder}${file}`, "utf8");
    const { model, proxy } = parseMeshCase(text, file, { dataPlane: "heddle" });
    const unknown = { count: 0 };
    for (const [typeUrl, resources] of translate(model, proxy)) {
      for (const { name, bytes } of resources) {
        assert.doesNotThrow(() => check(typeUrl, bytes, unknown), `${typeUrl} ${name}`);
      }
    }
    assert.equal(unknown.count, 0);
  });
}

function check(typeUrl: string, bytes: Uint8Array, unknown: { count: number }): void {
  switch (typeUrl) {
    case typeUrls.cluster: {
      const cluster = Cluster.decode(bytes);
      checkHonoured(cluster, honouredCluster, "", unknown);
      compileCluster(cluster);
      return;
    }
    case typeUrls.endpoint:
      checkHonoured(ClusterLoadAssignment.decode(bytes), honouredAssignment, "", unknown);
      return;
    case typeUrls.route: {
      const routes = RouteConfiguration.decode(bytes);
      checkHonoured(routes, honouredRoutes, "", unknown);
      compileRouteConfiguration(routes, httpFilterOverrides);
      return;
    }
    case typeUrls.listener:
      checkWholeListener(Listener.decode(bytes), unknown);
      return;
    default:
      return;
  }
}

function checkWholeListener(listener: Listener, unknown: { count: number }): void {
  checkListener(listener, unknown);
  const fallback = listener.defaultFilterChain === undefined ? [] : [listener.defaultFilterChain];
  for (const { typedConfig } of [...listener.filterChains, ...fallback].flatMap(
    (chain) => chain.filters,
  )) {
    if (typedConfig?.typeUrl === filterUrls.http) {
      const manager = HttpConnectionManager.decode(typedConfig.value);
      compileSettings(manager);
      compileFilters(manager.httpFilters, {
        ...new HttpHarness().callServices,
        clock: new FakeClock(),
        random: () => 0,
        metrics: createMetricRegistry(),
        statPrefix: manager.statPrefix,
        owner: "",
        log: silentLog,
        node: { id: "", metadata: {} },
      });
    }
    if (typedConfig?.typeUrl === filterUrls.rbac) {
      compileNetworkRbac(RBAC.decode(typedConfig.value).rules, "rules");
    }
  }
}
