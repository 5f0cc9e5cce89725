import assert from "node:assert/strict";
import test from "node:test";

import { type Fields, message } from "../../../test/support/message.ts";
import { RetryPolicy as RetryConfig } from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { compileRetryPolicy, retryPolicyFor } from "./retry-policy.ts";
import type { AttemptOutcome } from "./route-table.ts";

function policy(fields: Fields<RetryConfig>) {
  return compileRetryPolicy(message(RetryConfig, fields), "retry_policy");
}

function response(
  status: number,
  headers: Readonly<Record<string, string>> = {},
  grpcStatus?: number,
): AttemptOutcome {
  return { kind: "response", status, grpcStatus, header: (name) => headers[name] };
}

const connectFailure: AttemptOutcome = { kind: "connect-failure" };
const perTryTimeout: AttemptOutcome = { kind: "per-try-timeout" };
const reset = (isBeforeRequest: boolean): AttemptOutcome => ({
  kind: "reset",
  isBeforeRequest,
  isReusedConnection: false,
  isIdempotent: false,
});

test("isRetriable() follows each condition", () => {
  const check = (retryOn: string, outcome: AttemptOutcome, expected: boolean): void => {
    const made = policy({ retryOn, retriableStatusCodes: [418] });
    assert.equal(made.isRetriable(outcome), expected, `${retryOn} ${outcome.kind}`);
  };
  check("5xx", response(500), true);
  check("5xx", response(499), false);
  check("5xx", connectFailure, true);
  check("5xx", perTryTimeout, true);
  check("gateway-error", response(503), true);
  check("gateway-error", response(500), false);
  check("reset", reset(false), true);
  check("reset-before-request", reset(false), false);
  check("reset-before-request", reset(true), true);
  check("reset-before-request", connectFailure, true);
  check("connect-failure", connectFailure, true);
  check("connect-failure", reset(true), false);
  check("connect-failure,refused-stream", response(503), false);
  check("retriable-4xx", response(409), true);
  check("retriable-4xx", response(404), false);
  check("retriable-status-codes", response(418), true);
  check("unavailable", response(200, {}, 14), true);
  check("unavailable", response(200, {}, 13), false);
  check("cancelled, deadline-exceeded,no-such-token", response(200, {}, 4), true);
  check("", response(503), false);
});

test("isRetriable() spares upstreams that limit their rate", () => {
  const made = policy({ retryOn: "5xx" });
  assert.equal(made.isRetriable(response(503, { "x-envoy-ratelimited": "true" })), false);
  const limited = policy({ retryOn: "envoy-ratelimited" });
  assert.equal(limited.isRetriable(response(429, { "x-envoy-ratelimited": "true" })), true);
});

test("backoffMs() draws from a doubling range with an end", () => {
  const made = policy({});
  const most = (n: number): number => made.backoffMs(n, () => 1);
  assert.deepEqual([1, 2, 3, 4, 5].map(most), [25, 75, 175, 250, 250]);
  assert.equal(
    made.backoffMs(3, () => 0),
    0,
  );
  const slow = policy({ retryBackOff: { baseInterval: { seconds: 1n, nanos: 0 } } });
  assert.equal(
    slow.backoffMs(10, () => 1),
    10_000,
  );
});

test("retryPolicyFor() adds what trusted request headers ask for", () => {
  const from = (headers: Readonly<Record<string, string>>) => (name: string) => headers[name];
  const base = policy({ retryOn: "connect-failure", numRetries: 2 });
  assert.equal(retryPolicyFor(base, from({})), base);
  assert.equal(retryPolicyFor(undefined, from({})), undefined);
  const more = retryPolicyFor(
    base,
    from({ "x-envoy-retry-on": "5xx", "x-envoy-max-retries": "7" }),
  );
  assert.equal(more?.maxRetries, 7);
  assert.equal(more?.isRetriable(response(500)), true);
  assert.equal(more?.isRetriable(connectFailure), true);
  const none = retryPolicyFor(undefined, from({ "x-envoy-retry-grpc-on": "unavailable" }));
  assert.equal(none?.isRetriable(response(200, {}, 14)), true);
  assert.equal(none?.maxRetries, 1);
  const huge = retryPolicyFor(base, from({ "x-envoy-max-retries": "999999999" }));
  assert.equal(huge?.maxRetries, 100);
});

test("compileRetryPolicy() refuses what it would not do", () => {
  const refused = (fields: Fields<RetryConfig>, message: RegExp): void =>
    assert.throws(() => policy(fields), { code: "xds.refused", message });
  refused(
    { retryHostPredicate: [{ name: "envoy.retry_host_predicates.omit_canary" }] },
    /omit_canary/,
  );
  refused({ retryPriority: { name: "a" } }, /retry_priority/);
  refused({ retryBackOff: { baseInterval: { seconds: 0n, nanos: 0 } } }, /base_interval/);
});

test("backoffMs() waits as long as the answer asks, if that can be believed", () => {
  const made = policy({
    retryOn: "5xx",
    rateLimitedRetryBackOff: {
      resetHeaders: [{ name: "Retry-After" }, { name: "x-reset", format: 1 }],
      maxInterval: { seconds: 20n, nanos: 0 },
    },
  });
  const after = (headers: Readonly<Record<string, string>>): number =>
    made.backoffMs(1, () => 0.5, { outcome: response(503, headers), nowMs: 1_000_000 });
  assert.equal(after({ "retry-after": "4" }), 5000);
  assert.equal(after({ "x-reset": "1010" }), 12_500);
  assert.equal(after({ "retry-after": "21", "x-reset": "1002" }), 2500);
  for (const none of [
    { "retry-after": "soon" },
    { "retry-after": "21" },
    { "x-reset": "999" },
    {},
  ]) {
    assert.equal(after(none), 12.5);
  }
});

test("appliesTo() asks for one of the request's headers", () => {
  const made = policy({
    retryOn: "5xx",
    retriableRequestHeaders: [
      { name: "x-a", presentMatch: true },
      { name: "x-b", presentMatch: true },
    ],
  });
  assert.equal(
    made.appliesTo?.((name) => (name === "x-b" ? "1" : undefined)),
    true,
  );
  assert.equal(
    made.appliesTo?.(() => undefined),
    false,
  );
  assert.equal(policy({ retryOn: "5xx" }).appliesTo, undefined);
});
