import assert from "node:assert/strict";
import { test } from "node:test";

import { parseDurationMs } from "./duration.ts";

test("parseDurationMs() reads one number and one unit", () => {
  assert.deepEqual(
    ["500ms", "30s", "1.5m", "1h"].map((text) => parseDurationMs(text, "--timeout")),
    [500, 30_000, 90_000, 3_600_000],
  );
});

test("parseDurationMs() refuses what has no unit, a sign or two numbers", () => {
  for (const text of ["", "5", "-5s", "1h30m", "5 s", "s"]) {
    assert.throws(() => parseDurationMs(text, "--timeout"), /--timeout .* is not a duration/);
  }
});
