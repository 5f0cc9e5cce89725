import assert from "node:assert/strict";
import { test } from "node:test";

import { requestRecord } from "../../test/support/request-record.ts";
import { compileCelFilter, compileCelOperator } from "./cel.ts";

const search = (pattern: string) => (text: string) => text.search(pattern) >= 0;
const record = requestRecord(
  {
    responseCode: 503,
    durationMs: 1500,
    path: "/items?q=1",
    upstreamAttempts: 2,
    dynamicMetadata: new Map([["jwt", { payload: { iss: "me", groups: ["a", "b"] } }]]),
    clusterMetadata: { heddle: { service: "catalog", port: 80 } },
  },
  { "user-agent": "curl/8", "x-user": "jason" },
);

function holds(expression: string): boolean {
  const filter = compileCelFilter(expression, search);
  assert.ok(typeof filter === "function", `${expression}: ${String(filter)}`);
  return filter(record);
}

test("compileCelFilter() reads attributes, headers and metadata", () => {
  for (const expression of [
    "response.code >= 500",
    "response.code == 503 && request.method == 'GET'",
    'request.headers["x-user"] == "jason"',
    "request.headers['X-User'] == 'jason'",
    "request.useragent.startsWith('curl')",
    "request.url_path == '/items' && request.query == 'q=1'",
    "request.duration > duration('1s') && request.duration < duration('1m30s')",
    "xds.cluster_metadata.filter_metadata.heddle.service == 'catalog'",
    "xds.cluster_metadata.filter_metadata['heddle'].port in [79, 80]",
    "metadata.filter_metadata['jwt'].payload.iss == 'me'",
    "'b' in metadata.filter_metadata.jwt.payload.groups",
    "'x-user' in request.headers && !('x-none' in request.headers)",
    "has(request.headers.cookie) || upstream.request_attempt_count - 1 == 1",
    "request.path.matches('^/it.ms') && !request.path.matches('^items$')",
    "(response.code < 400 ? 'good' : 'bad') == 'bad'",
    "size(request.method) == 3 && request.path.size() == 10",
    "int(response.headers['x'] == 'y' ? '1' : '2') == 2 || true",
    "request.time > timestamp('2020-01-01T00:00:00Z')",
    "'a' + 'b' == \"ab\" && -1 + 2 * 3 == 5 // and so on",
  ]) {
    assert.equal(holds(expression), true, expression);
  }
});

test("compileCelFilter() takes an expression that fails for one that does not hold", () => {
  for (const expression of [
    "request.headers['none'] == 'x'",
    "request.headers['none'] != 'x'",
    "response.code > 'a'",
    "!response.code",
    "response.code",
    "response.grpc_status == 0",
  ]) {
    assert.equal(holds(expression), false, expression);
  }
  assert.equal(holds("request.headers['none'] == 'x' || response.code == 503"), true);
  assert.equal(holds("!(request.headers['none'] == 'x' && response.code == 200)"), true);
});

test("compileCelFilter() refuses by name what it does not know", () => {
  const refusals: readonly (readonly [string, RegExp])[] = [
    ["request.nothing == 1", /names request\.nothing, which is not known/],
    ["unheard == 1", /names 'unheard', which is not known/],
    ["metadata.x == 1", /names metadata\.x, which is not known/],
    ["request.path.split('/')[0] == ''", /calls split\(\) with 2, which is not supported/],
    ["[1].exists(x, x > 0)", /calls exists\(\) with 3/],
    ["response.code / 100 == 5", /uses '\/', which is not supported/],
    ["request.path.matches(request.host)", /pattern that is no literal/],
    ["has(request)", /has\(\) without a field/],
    ["response.code ==", /ends too early/],
    ["response.code == 1 1", /has more after its end/],
    ["response.code == #", /cannot be read from '#'/],
    [`${"(".repeat(200)}1${")".repeat(200)} == 1`, /nested too deeply/],
    [`${"!".repeat(200)}true`, /nested too deeply/],
  ];
  for (const [expression, reason] of refusals) {
    const refused = compileCelFilter(expression, search);
    assert.ok(typeof refused === "string", expression);
    assert.match(refused, reason);
  }
});

test("compileCelOperator() shows values, and nothing for what fails", () => {
  const shown = (expression: string): unknown => {
    const operator = compileCelOperator(expression, search);
    return typeof operator === "string" ? operator : operator(record);
  };
  assert.equal(shown("request.method"), "GET");
  assert.equal(shown("response.code == 503"), "true");
  assert.equal(shown("request.duration"), "1.5s");
  assert.equal(shown("request.headers['none']"), undefined);
  assert.equal(shown("response.code"), "503");
});
