import assert from "node:assert/strict";
import { test } from "node:test";

import { FakeClock } from "../../../test/support/fake-clock.ts";
import { HeddleError } from "../../base/error.ts";
import { RootWatch } from "./root-watch.ts";

test("RootWatch says what is wrong with the root, once, and when it is well again", () => {
  const clock = new FakeClock();
  let fault: string | undefined;
  let changes = 0;
  const watch = new RootWatch({
    clock,
    onChange: () => (changes += 1),
    check: () => {
      if (fault !== undefined) throw new HeddleError("ca.root-missing", fault);
    },
  });
  const seen = (): readonly [string[], number] => {
    clock.advance(5000);
    return [watch.problems.map(({ severity, message }) => `${severity} ${message}`), changes];
  };
  assert.deepEqual(seen(), [[], 0]);
  fault = "it is gone";
  assert.deepEqual(seen(), [["error it is gone"], 1]);
  assert.deepEqual(seen(), [["error it is gone"], 1]);
  fault = undefined;
  assert.deepEqual(seen(), [[], 2]);
  watch.close();
  fault = "nobody looks any more";
  assert.deepEqual(seen(), [[], 2]);
});
