import assert from "node:assert/strict";
import { join } from "node:path";
import { test } from "node:test";

import { failureOf, linesOfFailures } from "./test-failures.ts";

test("failureOf() tells where a test stands and how its message begins", () => {
  const cause = new Error("1 !== 0\n\n  1\n");
  const details = { error: { failureType: "testCodeFailure", cause } };
  const file = join(process.cwd(), "test/e2e/cli.test.ts");
  assert.deepEqual(failureOf({ file, line: 7, name: "get", details }), {
    place: "test/e2e/cli.test.ts:7",
    title: "get",
    why: "1 !== 0\n  1",
  });
});

test("failureOf() leaves out a suite whose tests have failed", () => {
  const details = { error: { failureType: "subtestsFailed" } };
  assert.equal(failureOf({ name: "suite", details }), undefined);
});

test("linesOfFailures() says how many it leaves out", () => {
  assert.deepEqual(linesOfFailures([]), []);
  const failures = Array.from({ length: 62 }, () => ({ place: "a:1", title: "t", why: "w" }));
  const lines = linesOfFailures(failures);
  assert.deepEqual(lines.slice(0, 3), ["what failed:", "✖ t (a:1)", "    w"]);
  assert.equal(lines.at(-1), "… and 2 more");
});
