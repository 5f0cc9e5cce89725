/**
 * What the control plane writes, the data plane takes: every example of translation is handed to the
 * proxy's configuration, which must accept it whole.
 */
import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import test from "node:test";

import { translate } from "../../../src/control/translate.ts";
import { createServerTls, createTlsCounters } from "../../../src/net/tls-contexts.ts";
import { filterUrls } from "../../../src/proxy/config/listener-plan.ts";
import type { ListenerSet, ProxyContext } from "../../../src/proxy/context.ts";
import { compileNetworkRbac } from "../../../src/proxy/engine/rbac.ts";
import { createHttpConnectionManager } from "../../../src/proxy/http.ts";
import type { Listener } from "../../../src/wire/gen/ts/envoy/config/listener/v3/listener.ts";
import type { FilterChain } from "../../../src/wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import { HttpConnectionManager } from "../../../src/wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { RBAC } from "../../../src/wire/gen/ts/envoy/extensions/filters/network/rbac/v3/rbac.ts";
import { DownstreamTlsContext } from "../../../src/wire/gen/ts/envoy/extensions/transport_sockets/tls/v3/tls.ts";
import { typeUrls } from "../../../src/xds/feed.ts";
import { testDataPlane } from "../../support/data-plane.ts";
import { parseMeshCase } from "../../support/mesh-case.ts";
import type { FakeSecrets } from "../../support/secrets.ts";

const folder = new URL("../../../src/control/translate/testdata/", import.meta.url).pathname;

for (const file of globSync("**/*.in.yaml", { cwd: folder }).toSorted()) {
  test(`the data plane accepts what is translated from ${file}`, () => {
    const { model, proxy } = parseMeshCase(readFileSync(`${folder}${file}`, "utf8"), file);
    const types = translate(model, { ...proxy, dataPlane: "heddle" });
    const plane = testDataPlane(checkingListeners);
    plane.configuration.start();
    const refusals = [typeUrls.cluster, typeUrls.endpoint, typeUrls.listener, typeUrls.route]
      .map((typeUrl) => plane.feed.send(typeUrl, types.get(typeUrl) ?? []))
      .flatMap((answer) => (answer === "accepted" ? [] : answer.split("; ")));
    plane.close();
    assert.deepEqual(refusals, []);
  });
}

/** Compiles what listeners hold, as the real ones do, and opens nothing. */
function checkingListeners(context: ProxyContext, secrets: FakeSecrets): ListenerSet {
  return {
    prepare(listener: Listener) {
      const fallback = listener.defaultFilterChain;
      const chains = [...listener.filterChains, ...(fallback === undefined ? [] : [fallback])];
      for (const chain of chains) checkChain(chain, context, secrets);
      return { open: () => undefined, start: () => undefined, discard: () => undefined };
    },
    checkFilter: () => undefined,
    remove: () => undefined,
    bound: () => [],
    drain: async () => undefined,
    resetSlowest: () => undefined,
    close: async () => undefined,
  };
}

function checkChain(chain: FilterChain, context: ProxyContext, secrets: FakeSecrets): void {
  const socket = chain.transportSocket?.typedConfig;
  if (socket?.typeUrl.endsWith("DownstreamTlsContext") === true) {
    createServerTls(DownstreamTlsContext.decode(socket.value), {
      secrets,
      log: context.log,
      counters: createTlsCounters(context.metrics, "envoy_listener", {}),
    }).close();
  }
  for (const { typedConfig } of chain.filters) {
    if (typedConfig?.typeUrl === filterUrls.http) {
      const config = HttpConnectionManager.decode(typedConfig.value);
      createHttpConnectionManager(config, context, { direction: "unspecified" });
    }
    if (typedConfig?.typeUrl === filterUrls.rbac) {
      compileNetworkRbac(RBAC.decode(typedConfig.value).rules, "rules");
    }
  }
}
