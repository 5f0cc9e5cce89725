/** Deadlines of gRPC as they go on. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { formatGrpcTimeout } from "./stream-duration.ts";

test("formatGrpcTimeout() takes the finest unit that eight digits hold", () => {
  const cases: readonly (readonly [ms: number, text: string])[] = [
    [-5, "1m"],
    [0, "1m"],
    [0.2, "1m"],
    [10_000, "10000m"],
    [99_999_999, "99999999m"],
    [100_000_000, "100000S"],
    [100_000_000_000, "1666666M"],
    [9_000_000_000_000, "2500000H"],
    [Number.MAX_SAFE_INTEGER, "99999999H"],
  ];
  for (const [ms, text] of cases) assert.equal(formatGrpcTimeout(ms), text);
});
