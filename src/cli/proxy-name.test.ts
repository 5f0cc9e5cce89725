import assert from "node:assert/strict";
import { test } from "node:test";

import type { ProxyStatus } from "../console/api.ts";
import { proxiesNamed } from "./proxy-name.ts";

const proxies = ["pay-0", "pay-1"].map((instance): ProxyStatus => ({
  proxy: `${instance}.shop`,
  instance,
  workload: "pay",
  namespace: "shop",
  dataPlane: "heddle",
  role: "workload",
  connection: { kind: "never" },
  types: [],
  refusals: [],
}));

const found = (name: string): readonly string[] =>
  proxiesNamed(proxies, name).map(({ instance }) => instance);

test("proxiesNamed() takes workloads and instances alone and with their namespace, either way", () => {
  for (const name of ["pay", "pay.shop", "shop/pay"])
    assert.deepEqual(found(name), ["pay-0", "pay-1"]);
  for (const name of ["pay-1", "pay-1.shop", "shop/pay-1"])
    assert.deepEqual(found(name), ["pay-1"]);
});

test("proxiesNamed() names what there is when there is no such proxy", () => {
  for (const name of ["nope", "pay.other", "other/pay", "shop/pay/x"]) {
    assert.throws(() => found(name), /there is no proxy .*; there are pay-0\.shop, pay-1\.shop/);
  }
});
