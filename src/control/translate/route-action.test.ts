/** What a route does with a request, beside what istiod makes of the same fields (route.go, retry.go). */
import assert from "node:assert/strict";
import { test } from "node:test";

import { fromBinary } from "@bufbuild/protobuf";

import { HTTPFaultSchema } from "../../wire/gen/es/envoy/extensions/filters/http/fault/v3/fault_pb.ts";
import { faultConfig } from "./route-action.ts";

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
