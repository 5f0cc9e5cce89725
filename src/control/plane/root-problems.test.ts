import assert from "node:assert/strict";
import { test } from "node:test";

import { rootProblems } from "./root-problems.ts";

test("rootProblems() warns of a root that has less than a year left, and of no other", () => {
  const nowMs = Date.UTC(2035, 0, 1);
  const at = (rootNotAfterMs: number) => rootProblems({ rootNotAfterMs }, nowMs);
  assert.deepEqual(at(Date.UTC(2036, 0, 1)), []);
  const [problem, ...others] = at(Date.UTC(2035, 11, 31));
  assert.deepEqual([problem?.code, problem?.severity, others], ["ca.root-expires", "warning", []]);
  assert.match(problem?.message ?? "", /expires on 2035-12-31, in 364 days; no certificate/);
  assert.match(at(nowMs - 1)[0]?.message ?? "", /in 0 days/);
});
