/** What a route does with a request, beside what istiod makes of the same fields (route.go, retry.go). */
import assert from "node:assert/strict";
import { test } from "node:test";

import { fromBinary } from "@bufbuild/protobuf";

import { HTTPFaultSchema } from "../../wire/gen/es/envoy/extensions/filters/http/fault/v3/fault_pb.ts";
import { faultConfig, redirectAction, retryPolicy } from "./route-action.ts";

test("faultConfig() injects a fault without percentage into no request", () => {
  const { value } = faultConfig({ delay: { fixedDelay: 100 }, abort: { httpStatus: 503 } });
  const { delay, abort } = fromBinary(HTTPFaultSchema, value);
  assert.equal(delay?.percentage?.numerator, 0);
  assert.equal(abort?.percentage?.numerator, 0);
});

test("faultConfig() injects a fault as often as is written", () => {
  const { value } = faultConfig({ abort: { httpStatus: 503, percentage: 12.5 } });
  assert.equal(fromBinary(HTTPFaultSchema, value).abort?.percentage?.numerator, 125_000);
});

test("redirectAction() leaves out the port that the scheme means anyway", () => {
  const cases: readonly [Parameters<typeof redirectAction>[0], listenerPort: number, number][] = [
    [{ port: 80 }, 8080, 0],
    [{ port: 443 }, 8080, 443],
    [{ scheme: "https", port: 443 }, 80, 0],
    [{ scheme: "https", port: 80 }, 80, 80],
    [{ scheme: "http", port: 80 }, 80, 0],
    [{ derivePort: "FROM_REQUEST_PORT" }, 80, 0],
    [{ derivePort: "FROM_REQUEST_PORT" }, 8080, 8080],
    [{ scheme: "https", derivePort: "FROM_REQUEST_PORT" }, 443, 0],
    [{ scheme: "https", derivePort: "FROM_REQUEST_PORT" }, 80, 80],
    [{ derivePort: "FROM_PROTOCOL_DEFAULT" }, 8080, 0],
  ];
  for (const [redirect, listenerPort, expected] of cases) {
    const { portRedirect } = redirectAction(redirect, listenerPort);
    assert.equal(portRedirect, expected, JSON.stringify([redirect, listenerPort]));
  }
});

test("retryPolicy() avoids hosts that were tried, unless a hash chose them and nobody says otherwise", () => {
  const cases: readonly [retryIgnorePreviousHosts: boolean | undefined, boolean, boolean][] = [
    [undefined, false, true],
    [undefined, true, false],
    [true, true, true],
    [false, false, false],
    [false, true, false],
  ];
  for (const [written, isHashed, expected] of cases) {
    const asked = written === undefined ? {} : { retryIgnorePreviousHosts: written };
    const retry = retryPolicy({ attempts: 1, ...asked }, undefined, isHashed);
    assert.equal((retry?.retryHostPredicate ?? []).length > 0, expected, `${written} ${isHashed}`);
  }
});
