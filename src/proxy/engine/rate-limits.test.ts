import assert from "node:assert/strict";
import { test } from "node:test";

import { message, type Fields } from "../../../test/support/message.ts";
import { requestView } from "../../../test/support/request-view.ts";
import {
  RateLimit,
  RateLimit_Action,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { RateLimiter } from "./rate-limiter.ts";
import { compileOwnRateLimits, compileRateLimits, type Usage } from "./rate-limits.ts";
import { Refusal } from "./refusal.ts";
import type { RequestView } from "./request.ts";
import { ownBuckets } from "./token-bucket.ts";

function described(
  actions: readonly Fields<RateLimit_Action>[],
  request: RequestView,
): string | undefined {
  const limit = message(RateLimit, { actions: actions as never });
  const [compiled] = compileRateLimits([limit], "rate_limits");
  const usage = compiled?.usage(request, { own: "web", target: "app" });
  return usage?.descriptor.map(({ key, value }) => `${key}=${value}`).join(" ");
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

test("descriptor() is none of the address of who comes from a Unix socket", () => {
  const at = (remoteAddress: string): RequestView => ({ ...requestView({}), remoteAddress });
  const actions = [{ remoteAddress: {} }];
  assert.equal(described(actions, at("192.0.2.7")), "remote_address=192.0.2.7");
  for (const pipe of ["/run/app.sock", "@app"]) {
    assert.equal(described(actions, at(pipe)), undefined);
    assert.equal(described([{ maskedRemoteAddress: {} }], at(pipe)), undefined);
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

test("descriptor() tells clusters, metadata and addresses", () => {
  const fields = { who: { name: "ann", level: 3, none: "" } };
  const request: RequestView = {
    ...requestView({ metadata: new Map([["own", fields]]) }),
    remoteAddress: "192.0.2.7",
  };
  const at = (...names: readonly string[]): Fields<RateLimit_Action> => ({
    metadata: {
      descriptorKey: "user",
      metadataKey: { key: "own", path: names.map((key) => ({ key })) },
    },
  });
  const within = (addressPrefix: string, invertMatch: boolean): Fields<RateLimit_Action> => ({
    remoteAddressMatch: {
      descriptorValue: "near",
      addressMatcher: { ranges: [{ addressPrefix, prefixLen: 24 }], invertMatch },
    },
  });
  for (const [action, expected] of [
    [{ sourceCluster: {} }, "source_cluster=web"],
    [{ destinationCluster: {} }, "destination_cluster=app"],
    [at("who", "name"), "user=ann"],
    [at("who", "level"), undefined],
    [at("who", "none"), undefined],
    [at("whose"), undefined],
    [within("192.0.2.0", false), "remote_address_match=near"],
    [within("192.0.3.0", false), undefined],
    [within("192.0.3.0", true), "remote_address_match=near"],
    [within("192.0.2.0", true), undefined],
  ] as const) {
    assert.equal(described([action as Fields<RateLimit_Action>], request), expected);
  }
});

test("usage() tells how many hits a request is, or that nobody can say", () => {
  const hits = (hitsAddend: object, value: string): number | undefined => {
    const actions = [{ genericKey: { descriptorValue: "v" } }];
    const limit = message(RateLimit, { actions, hitsAddend } as never);
    const request = requestView({ headers: { "x-cost": value } });
    assert.throws(() => compileRateLimits([limit], "rate_limits"), Refusal);
    const [compiled] = compileOwnRateLimits([limit], "rate_limits");
    return compiled?.usage(request, { own: "", target: "" })?.hits;
  };
  assert.equal(hits({ number: 7n }, ""), 7);
  for (const [text, expected] of [
    ["3", 3],
    ["0", 0],
    ["2.9", 2],
    ["1e3", 1000],
    ["1000000001", undefined],
    ["-1", undefined],
    ["", undefined],
    ["three", undefined],
    ["0x10", undefined],
  ] as const) {
    assert.equal(hits({ format: "%REQ(x-cost)%" }, text), expected, text);
  }
});

test("compileRateLimits() refuses what it would not count", () => {
  for (const fields of [
    { actions: [{ dynamicMetadata: {} }] },
    { actions: [{ metadata: { descriptorKey: "k", metadataKey: { key: "f" }, source: 2 } }] },
    { actions: [{ remoteAddressMatch: { descriptorValue: "v" } }] },
    { disableKey: "k" },
    { applyOnStreamDone: true },
    { hitsAddend: {} },
    { hitsAddend: { number: 1n, format: "1" } },
    { hitsAddend: { number: 1_000_000_001n } },
    { hitsAddend: { number: 1n, isNegativeHits: true } },
    { limit: {} },
  ]) {
    const limit = message(RateLimit, fields as never);
    assert.throws(() => compileRateLimits([limit], "rate_limits"), Refusal);
    assert.throws(() => compileOwnRateLimits([limit], "rate_limits"), Refusal);
  }
  const staged = message(RateLimit, { stage: 0 });
  assert.throws(() => compileOwnRateLimits([staged], "rate_limits"), Refusal);
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
  const once = (key: string, value: string): Usage => ({ descriptor: [{ key, value }], hits: 1 });
  const a = once("a", "1");
  const b = once("b", "x");
  assert.equal(limiter.decide([a, b], 0).isAllowed, true);
  assert.equal(limiter.decide([a, b], 0).isAllowed, true);
  assert.equal(limiter.decide([a, b], 0).isAllowed, false);
  // Another value pushes the first out, which then begins anew.
  assert.equal(limiter.decide([once("b", "y")], 0).isAllowed, true);
  assert.equal(limiter.decide([b], 0).isAllowed, true);
  // Nothing matches: the bucket for all.
  const verdicts = [0, 0, 0].map(() => limiter.decide([], 0).isAllowed);
  assert.deepEqual(verdicts, [true, true, false]);
});
