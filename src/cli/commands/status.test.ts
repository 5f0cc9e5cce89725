import assert from "node:assert/strict";
import { test } from "node:test";

import { formatUnhealthy } from "./status.ts";

test("formatUnhealthy() names each service with what is wrong with it", () => {
  const traffic = {
    requestsPerSecond: 8,
    errorFraction: 0.125,
    p50Ms: 1,
    p95Ms: 2,
    p99Ms: 3,
    tcpSentBytesPerSecond: 0,
    tcpReceivedBytesPerSecond: 0,
    requestMessagesPerSecond: 0,
    responseMessagesPerSecond: 0,
  };
  const cart = {
    name: "cart",
    namespace: "default",
    health: "failing",
    traffic,
    instances: { total: 1, ready: 0 },
  } as const;
  assert.equal(formatUnhealthy([]), "");
  assert.equal(
    formatUnhealthy([
      cart,
      { ...cart, name: "shop", health: "degraded", instances: { total: 2, ready: 2 } },
    ]),
    "\n  failing: cart.default, 12.5% errors, 0 of 1 ready" +
      "\n  degraded: shop.default, 12.5% errors",
  );
});
