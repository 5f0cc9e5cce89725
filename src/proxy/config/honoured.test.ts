import assert from "node:assert/strict";
import { test } from "node:test";

import { type Fields, message } from "../../../test/support/message.ts";
import { Cluster } from "../../wire/gen/ts/envoy/config/cluster/v3/cluster.ts";
import { RouteConfiguration } from "../../wire/gen/ts/envoy/config/route/v3/route.ts";
import { HttpConnectionManager } from "../../wire/gen/ts/envoy/extensions/filters/network/http_connection_manager/v3/http_connection_manager.ts";
import { ExtAuthz } from "../../wire/gen/ts/envoy/extensions/filters/http/ext_authz/v3/ext_authz.ts";
import { checkHonoured } from "./honoured.ts";
import { honouredExtAuthz } from "./honoured-auth.ts";
import { honouredCluster } from "./honoured-clusters.ts";
import { honouredHttp } from "./honoured-listeners.ts";
import { honouredRoutes } from "./honoured-routes.ts";

type ManagerFields = Fields<HttpConnectionManager>;

function checkManager(fields: ManagerFields): void {
  // As it comes over the wire: nested messages get their defaults.
  const bytes = HttpConnectionManager.encode(message(HttpConnectionManager, fields)).finish();
  checkHonoured(HttpConnectionManager.decode(bytes), honouredHttp, "", { count: 0 });
}

test("checkHonoured() refuses what would have no effect, by its place", () => {
  const cases: [ManagerFields, string][] = [
    [{ schemeHeaderTransformation: {} }, "scheme_header_transformation"],
    [{ setCurrentClientCertDetails: { issuer: true } }, "set_current_client_cert_details.issuer"],
  ];
  for (const [fields, place] of cases) {
    assert.throws(() => checkManager(fields), new RegExp(`${place}.* is not supported`), place);
  }
});

test("checkHonoured() lets pass what is honoured, and what is not set", () => {
  checkManager({});
  checkManager({
    accessLogOptions: { flushAccessLogOnNewRequest: true },
    drainTimeout: { seconds: 5n, nanos: 0 },
    internalAddressConfig: {
      cidrRanges: [{ addressPrefix: "10.0.0.0", prefixLen: 8 }],
      unixSockets: true,
    },
    setCurrentClientCertDetails: { subject: true, dns: true, uri: true },
    tracing: { randomSampling: { value: 1 }, spawnUpstreamSpan: false },
  });
});

test("checkHonoured() tells a value that reads as nothing from none, where that matters", () => {
  const check = (waitForWarmOnInit: boolean | undefined): void =>
    checkHonoured(Cluster.fromPartial({ waitForWarmOnInit }), honouredCluster, "", { count: 0 });
  check(undefined);
  assert.throws(() => check(false), /wait_for_warm_on_init.* is not supported/);
  assert.throws(() => check(true), /wait_for_warm_on_init.* is not supported/);
});

test("checkHonoured() lets pass the zero of what is done anyway, and nothing else", () => {
  checkManager({ addUserAgent: false });
  assert.throws(() => checkManager({ addUserAgent: true }), /add_user_agent: is not supported/);
  const http2ProtocolOptions = { maxHeaderFieldSizeKb: 0 };
  assert.throws(() => checkManager({ http2ProtocolOptions }), /max_header_field_size_kb: is not/);
});

test("checkHonoured() takes a zero for none only where that is the same", () => {
  const authorization = message(ExtAuthz, { chargeClusterResponseStats: false });
  assert.throws(() => checkHonoured(authorization, honouredExtAuthz, "", { count: 0 }));
});

test("checkHonoured() looks into lists", () => {
  const routes = message(RouteConfiguration, {
    virtualHosts: [
      { domains: ["*"], routes: [{}, { route: { grpcTimeoutOffset: { seconds: 1n, nanos: 0 } } }] },
    ],
  });
  assert.throws(
    () => checkHonoured(routes, honouredRoutes, "", { count: 0 }),
    /virtual_hosts\[0\]\.routes\[1\]\.route\.grpc_timeout_offset/,
  );
});

test("checkHonoured() names every field that would have no effect", () => {
  assert.throws(
    () =>
      checkManager({
        maxRequestHeadersKb: 1,
        originalIpDetectionExtensions: [{}],
        addUserAgent: true,
      }),
    { message: /add_user_agent: is not supported; .*original_ip_detection_extensions: is not/ },
  );
});
