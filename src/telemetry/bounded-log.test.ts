import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../test/support/fake-clock.ts";
import { BoundedLog } from "./bounded-log.ts";
import { createLog } from "./log.ts";

test("BoundedLog passes so many lines each second, and tells how many it held back", () => {
  const clock = new FakeClock();
  const lines: string[] = [];
  const log = createLog({
    level: "warn",
    format: "json",
    clock,
    sink: (line) => {
      const { message, heldBack } = JSON.parse(line);
      lines.push(heldBack === undefined ? message : `${message}: ${heldBack}`);
    },
  });
  const bounded = new BoundedLog({ clock, log, linesPerSecond: 2 });
  for (let i = 0; i < 5; i++) bounded.warn("refused");
  assert.deepEqual(lines.splice(0), ["refused", "refused"]);
  // Also when nothing comes any more.
  clock.advance(1_000);
  assert.deepEqual(lines.splice(0), ["more lines like these were held back: 3"]);
  bounded.warn("again");
  clock.advance(5_000);
  assert.deepEqual(lines, ["again"]);
});
