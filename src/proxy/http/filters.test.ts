import assert from "node:assert/strict";
import { test } from "node:test";

import {
  type HarnessOptions,
  HttpHarness,
  routesToApp,
} from "../../../test/support/http-harness.ts";
import { type Fields, message } from "../../../test/support/message.ts";
import { RBAC_Action } from "../../wire/gen/ts/envoy/config/rbac/v3/rbac.ts";
import {
  FilterConfig,
  type Route,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { CorsPolicy } from "../../wire/gen/ts/envoy/extensions/filters/http/cors/v3/cors.ts";
import { HTTPFault } from "../../wire/gen/ts/envoy/extensions/filters/http/fault/v3/fault.ts";
import {
  RBAC,
  RBACPerRoute,
} from "../../wire/gen/ts/envoy/extensions/filters/http/rbac/v3/rbac.ts";

const prefix = "type.googleapis.com/envoy.extensions.filters.http.";
const faultUrl = `${prefix}fault.v3.HTTPFault`;
const rbacUrl = `${prefix}rbac.v3.RBAC`;
const answer = "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi";
const get = "GET /a HTTP/1.1\r\nhost: shop\r\n\r\n";
const always = { numerator: 100 };

function fault(fields: Fields<HTTPFault>): NonNullable<HarnessOptions["filters"]> {
  return [{ typeUrl: faultUrl, value: HTTPFault.encode(message(HTTPFault, fields)).finish() }];
}

function rbac(fields: Fields<RBAC>): NonNullable<HarnessOptions["filters"]> {
  return [{ typeUrl: rbacUrl, value: RBAC.encode(message(RBAC, fields)).finish() }];
}

/** The one route, with an override of the filter under test (the harness calls it `filter-0`). */
function overriding(typeUrl: string, value: Uint8Array): NonNullable<HarnessOptions["routes"]> {
  const routes = routesToApp();
  const route: Fields<Route> = {
    match: { prefix: "/" },
    route: { cluster: "app" },
    typedPerFilterConfig: { "filter-0": { typeUrl, value } },
  };
  return { ...routes, virtualHosts: [{ name: "all", domains: ["*"], routes: [route] }] } as never;
}

function statusOf(text: string): string {
  return /^HTTP\/1\.1 (\d+)/.exec(text)?.[1] ?? "";
}

test("fault: an abort answers, and is logged as injected", () => {
  const mesh = new HttpHarness({
    filters: fault({ abort: { httpStatus: 503, percentage: always } }),
  });
  const client = mesh.connect();
  client.send(get);
  assert.match(client.take(), /^HTTP\/1\.1 503 [^]*\r\n\r\nfault filter abort$/);
  assert.equal(mesh.upstreams.length, 0);
  assert.equal(mesh.log[0]?.flags, "FI");
  assert.equal(mesh.log[0]?.details, "fault_filter_abort");
});

test("fault: a delay holds the request back, then lets it go on", () => {
  const delay = { fixedDelay: { seconds: 2n, nanos: 0 }, percentage: always };
  const mesh = new HttpHarness({ filters: fault({ delay }) });
  const client = mesh.connect();
  client.send(get);
  mesh.clock.advance(1_900);
  assert.equal(mesh.upstreams.length, 0);
  mesh.clock.advance(200);
  mesh.upstream().send(answer);
  assert.match(client.take(), /hi$/);
  assert.equal(mesh.log[0]?.flags, "DI");
});

test("fault: a client that leaves during a delay leaves nothing behind", () => {
  const delay = { fixedDelay: { seconds: 2n, nanos: 0 }, percentage: always };
  const mesh = new HttpHarness({ filters: fault({ delay, maxActiveFaults: 1 }) });
  const client = mesh.connect();
  client.send(get);
  client.close();
  mesh.clock.advance(3_000);
  assert.equal(mesh.upstreams.length, 0);
  assert.equal(mesh.log[0]?.flags, "DI,DC");
  // The one fault that may be in force is free again.
  const second = mesh.connect();
  second.send(get);
  assert.equal(mesh.upstreams.length, 0);
  mesh.clock.advance(2_100);
  assert.equal(mesh.upstreams.length, 1);
});

test("fault: only the share of requests that is asked for, and never more at once than allowed", () => {
  const abort = { httpStatus: 503, percentage: { numerator: 30 } };
  for (const [random, expected] of [
    [0.29, "503"],
    [0.31, ""],
  ] as const) {
    const mesh = new HttpHarness({ filters: fault({ abort }) });
    mesh.random = random;
    const client = mesh.connect();
    client.send(get);
    assert.equal(statusOf(client.take()), expected);
  }
  const delay = { fixedDelay: { seconds: 2n, nanos: 0 }, percentage: always };
  const mesh = new HttpHarness({ filters: fault({ delay, maxActiveFaults: 1 }) });
  mesh.connect().send(get);
  mesh.connect().send(get);
  assert.equal(mesh.upstreams.length, 1);
});

test("fault: two filters count their own faults alone", () => {
  const delay = { fixedDelay: { seconds: 2n, nanos: 0 }, percentage: always };
  const asked = (name: string): Fields<HTTPFault> => ({
    delay,
    maxActiveFaults: 1,
    headers: [{ name, presentMatch: true }],
  });
  const mesh = new HttpHarness({ filters: [...fault(asked("x-a")), ...fault(asked("x-b"))] });
  const send = (name: string): { close(): void } => {
    const client = mesh.connect();
    client.send(`GET /a HTTP/1.1\r\nhost: shop\r\n${name}: 1\r\n\r\n`);
    return client;
  };
  send("x-b").close();
  send("x-a");
  assert.equal(mesh.upstreams.length, 0);
  send("x-a");
  assert.equal(mesh.upstreams.length, 1, "one too many");
  send("x-b");
  assert.equal(mesh.upstreams.length, 1);
});

test("fault: a gRPC caller gets a gRPC status", () => {
  const mesh = new HttpHarness({
    filters: fault({ abort: { grpcStatus: 8, percentage: always } }),
  });
  const client = mesh.connect();
  client.send(
    "POST /a HTTP/1.1\r\nhost: a\r\ncontent-type: application/grpc\r\ncontent-length: 0\r\n\r\n",
  );
  const received = client.take();
  assert.match(received, /^HTTP\/1\.1 200 /);
  assert.match(received, /\r\ngrpc-status: 8\r\ngrpc-message: fault filter abort\r\n/);
});

test("fault: a route speaks for itself, or switches the filter off", () => {
  const filters = fault({ abort: { httpStatus: 503, percentage: always } });
  const own = message(HTTPFault, { abort: { httpStatus: 418, percentage: always } });
  const changed = new HttpHarness({
    filters,
    routes: overriding(faultUrl, HTTPFault.encode(own).finish()),
  });
  const client = changed.connect();
  client.send(get);
  assert.equal(statusOf(client.take()), "418");
  const off = FilterConfig.encode(FilterConfig.fromPartial({ disabled: true })).finish();
  const silent = new HttpHarness({
    filters,
    routes: overriding("type.googleapis.com/envoy.config.route.v3.FilterConfig", off),
  });
  silent.connect().send(get);
  assert.equal(silent.upstreams.length, 1);
});

const corsPolicy = message(CorsPolicy, {
  allowOriginStringMatch: [{ exact: "https://shop.test" }],
  allowMethods: "GET, PUT",
  allowHeaders: "x-a",
  exposeHeaders: "x-b",
  maxAge: "60",
  allowCredentials: true,
});

function corsMesh(): HttpHarness {
  return new HttpHarness({
    filters: [{ typeUrl: `${prefix}cors.v3.Cors`, value: new Uint8Array(0) }],
    routes: overriding(`${prefix}cors.v3.CorsPolicy`, CorsPolicy.encode(corsPolicy).finish()),
  });
}

test("cors: a preflight of an allowed origin is answered here", () => {
  const mesh = corsMesh();
  const client = mesh.connect();
  client.send(
    "OPTIONS /a HTTP/1.1\r\nhost: a\r\norigin: https://shop.test\r\naccess-control-request-method: PUT\r\n\r\n",
  );
  const received = client.take();
  assert.match(received, /^HTTP\/1\.1 200 OK\r\n/);
  for (const field of [
    "access-control-allow-origin: https://shop.test",
    "access-control-allow-methods: GET, PUT",
    "access-control-allow-headers: x-a",
    "access-control-max-age: 60",
    "access-control-allow-credentials: true",
  ]) {
    assert.ok(received.includes(`\r\n${field}\r\n`), field);
  }
  assert.equal(mesh.upstreams.length, 0);
  assert.equal(mesh.log[0]?.details, "cors_response");
});

test("cors: strangers, and requests that are no preflight, go to the application", () => {
  for (const [head, isMarked] of [
    [
      "OPTIONS / HTTP/1.1\r\norigin: https://evil.test\r\naccess-control-request-method: PUT",
      false,
    ],
    ["OPTIONS / HTTP/1.1\r\norigin: https://shop.test", true],
    ["GET / HTTP/1.1\r\norigin: https://shop.test", true],
    ["GET / HTTP/1.1\r\norigin: https://shop.test.evil.test", false],
    ["GET / HTTP/1.1", false],
  ] as const) {
    const mesh = corsMesh();
    const client = mesh.connect();
    client.send(`${head}\r\nhost: a\r\n\r\n`);
    mesh.upstream().send(answer);
    assert.equal(/\r\naccess-control-allow-origin: /.test(client.take()), isMarked, head);
  }
});

const denied: Fields<RBAC> = {
  rules: {
    action: RBAC_Action.DENY,
    policies: {
      "ns[shop]-policy[secret]-rule[0]": {
        permissions: [{ urlPath: { path: { prefix: "/a" } } }],
        principals: [{ any: true }],
      },
    },
  },
};

test("rbac: who is denied hears it, and the log names the policy", () => {
  const mesh = new HttpHarness({ filters: rbac(denied) });
  const client = mesh.connect();
  client.send(get);
  assert.match(client.take(), /^HTTP\/1\.1 403 Forbidden[^]*\r\n\r\nRBAC: access denied$/);
  assert.equal(
    mesh.log[0]?.details,
    "rbac_access_denied_matched_policy[ns[shop]-policy[secret]-rule[0]]",
  );
  client.send(get.replace("/a", "/b"));
  assert.equal(mesh.upstreams.length, 1);
});

test("rbac: a rehearsed policy lets pass", () => {
  const mesh = new HttpHarness({ filters: rbac({ shadowRules: denied.rules }) });
  mesh.connect().send(get);
  assert.equal(mesh.upstreams.length, 1);
});

test("rbac: ALLOW without a policy that matches denies", () => {
  const mesh = new HttpHarness({ filters: rbac({ rules: { action: RBAC_Action.ALLOW } }) });
  const client = mesh.connect();
  client.send(get);
  assert.equal(statusOf(client.take()), "403");
  assert.equal(mesh.log[0]?.details, "rbac_access_denied_matched_policy[none]");
});

test("rbac: a route replaces the rules or switches them off", () => {
  const perRouteUrl = `${prefix}rbac.v3.RBACPerRoute`;
  const off = new HttpHarness({
    filters: rbac(denied),
    routes: overriding(perRouteUrl, RBACPerRoute.encode(RBACPerRoute.fromPartial({})).finish()),
  });
  off.connect().send(get);
  assert.equal(off.upstreams.length, 1);
  const stricter = message(RBACPerRoute, { rbac: { rules: { action: RBAC_Action.ALLOW } } });
  const strict = new HttpHarness({
    filters: rbac({}),
    routes: overriding(perRouteUrl, RBACPerRoute.encode(stricter).finish()),
  });
  const client = strict.connect();
  client.send(get);
  assert.equal(statusOf(client.take()), "403");
});
