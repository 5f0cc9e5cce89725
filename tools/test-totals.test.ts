import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { complaintsOf, noCounts, planesOf, summaryOf } from "./test-totals.ts";

test("complaintsOf() fails a run of fewer tests than are committed, as of another Node that finds none", () => {
  const few = { ...noCounts(), tests: 99, passed: 99 };
  assert.deepEqual(complaintsOf(few, 100), ["99 tests ran, test/count.json expects 100 or more"]);
  assert.deepEqual(complaintsOf(few, 99), []);
  assert.equal(complaintsOf(noCounts(), 1).length, 1);
});

test("complaintsOf() fails a run with tests that were skipped or are still to be written", () => {
  const all = { ...noCounts(), tests: 100, passed: 99 };
  assert.deepEqual(complaintsOf({ ...all, skipped: 1 }, 1), ["skipped tests are not accepted"]);
  assert.deepEqual(complaintsOf({ ...all, todo: 1 }, 1), ["skipped tests are not accepted"]);
});

test("test/count.json says for root and for others how many must run", () => {
  const { root, others } = JSON.parse(readFileSync("test/count.json", "utf8"));
  assert(others > 1000 && root > others, `${root}, ${others}`);
});

test("summaryOf() reads as node:test's summary does", () => {
  assert.equal(
    summaryOf({ ...noCounts(), tests: 3, passed: 2, failed: 1 }, 12.4).join("\n"),
    "ℹ tests 3\nℹ suites 0\nℹ pass 2\nℹ fail 1\nℹ cancelled 0\nℹ skipped 0\nℹ todo 0\nℹ duration_ms 12",
  );
});

test("planesOf() adds up what each data plane was asked, and names suites that differ", () => {
  const runs = [
    { heddle: 3, envoy: 3, alone: 2, unequal: [] },
    { heddle: 5, envoy: 6, alone: 0, unequal: ["faults, *: 5 on heddle, 6 on envoy"] },
  ];
  assert.deepEqual(planesOf([{ heddle: 0, envoy: 0, alone: 0, unequal: [] }]), []);
  assert.deepEqual(planesOf(runs), [
    "data planes: 8 tests on heddle, 9 on envoy, 2 of what one of them alone has",
    "  not as many on both: faults, *: 5 on heddle, 6 on envoy",
  ]);
});
