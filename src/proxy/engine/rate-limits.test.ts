import assert from "node:assert/strict";
import { test } from "node:test";

import { message, type Fields } from "../../../test/support/message.ts";
import { requestView } from "../../../test/support/request-view.ts";
import {
  RateLimit,
  RateLimit_Action,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { RateLimiter } from "./rate-limiter.ts";
import { compileRateLimits } from "./rate-limits.ts";
import { Refusal } from "./refusal.ts";
import type { RequestView } from "./request.ts";
import { ownBuckets } from "./token-bucket.ts";

function described(
  actions: readonly Fields<RateLimit_Action>[],
  request: RequestView,
): string | undefined {
  const limit = message(RateLimit, { actions: actions as never });
  const [compiled] = compileRateLimits([limit], "rate_limits");
  const entries = compiled?.descriptor(request, "app");
  return entries?.map(({ key, value }) => `${key}=${value}`).join(" ");
}

test("descriptor() masks addresses of both families", () => {
  const at = (remoteAddress: string): RequestView => ({ ...requestView({}), remoteAddress });
  const mask = (v4PrefixMaskLen: number, v6PrefixMaskLen: number): Fields<RateLimit_Action> => ({
    maskedRemoteAddress: { v4PrefixMaskLen, v6PrefixMaskLen },
  });
  for (const [v4, v6, address, expected] of [
    [24, 64, "192.0.2.77", "192.0.2.0/24"],
    [32, 128, "192.0.2.77", "192.0.2.77/32"],
    [9, 128, "10.255.1.1", "10.128.0.0/9"],
    [0, 0, "10.255.1.1", "0.0.0.0/0"],
    [32, 64, "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"],
    [32, 0, "2001:db8::1", "::/0"],
    [32, 128, "2001:db8:0:0:1:0:0:1", "2001:db8::1:0:0:1/128"],
    [32, 17, "2001:ffff::1", "2001:8000::/17"],
    [24, 64, "::ffff:192.0.2.77", "192.0.2.0/24"],
  ] as const) {
    assert.equal(described([mask(v4, v6)], at(address)), `masked_remote_address=${expected}`);
  }
});

test("descriptor() is none when one of its actions finds nothing, unless that may be left out", () => {
  const request = requestView({ headers: { "x-user": "ann" } });
  const user = { requestHeaders: { headerName: "X-User", descriptorKey: "user" } };
  const team = { headerName: "x-team", descriptorKey: "team" };
  const key = { genericKey: { descriptorValue: "v", descriptorKey: "k" } };
  assert.equal(described([key, user], request), "k=v user=ann");
  assert.equal(described([key, { requestHeaders: team }], request), undefined);
  const optional = { requestHeaders: { ...team, skipIfAbsent: true } };
  assert.equal(described([key, optional, user], request), "k=v user=ann");
  assert.equal(described([optional], request), undefined);
});

test("compileRateLimits() refuses what it would not count", () => {
  for (const fields of [
    { actions: [{ dynamicMetadata: {} }] },
    { actions: [{ sourceCluster: {} }] },
    { disableKey: "k" },
    { applyOnStreamDone: true },
    { hitsAddend: {} },
    { limit: {} },
  ]) {
    const limit = message(RateLimit, fields as never);
    assert.throws(() => compileRateLimits([limit], "rate_limits"), Refusal);
  }
});

test("decide() asks the strictest bucket first and leaves the others their tokens", () => {
  const bucket = (tokensPerFill: number) => ({ tokensMax: 2, tokensPerFill, fillIntervalMs: 1e6 });
  const limiter = new RateLimiter(
    {
      bucket: bucket(9),
      descriptors: [
        { entries: [{ key: "a", value: "1" }], bucket: bucket(5), isShadow: false },
        { entries: [{ key: "b", value: "" }], bucket: bucket(1), isShadow: false },
      ],
      alwaysTakesDefault: false,
      dynamicMax: 1,
    },
    ownBuckets,
    { key: "", nowMs: 0 },
  );
  const a = [{ key: "a", value: "1" }];
  const b = [{ key: "b", value: "x" }];
  assert.equal(limiter.decide([a, b], 0).isAllowed, true);
  assert.equal(limiter.decide([a, b], 0).isAllowed, true);
  assert.equal(limiter.decide([a, b], 0).isAllowed, false);
  // Another value pushes the first out, which then begins anew.
  assert.equal(limiter.decide([[{ key: "b", value: "y" }]], 0).isAllowed, true);
  assert.equal(limiter.decide([b], 0).isAllowed, true);
  // Nothing matches: the bucket for all.
  const verdicts = [0, 0, 0].map(() => limiter.decide([], 0).isAllowed);
  assert.deepEqual(verdicts, [true, true, false]);
});
