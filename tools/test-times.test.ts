import assert from "node:assert/strict";
import { test } from "node:test";

import { clockOf, linesOfTimes, slowTestOf } from "./test-times.ts";

test("clockOf() tells minutes and seconds, also beyond an hour", () => {
  assert.deepEqual([0, 61_900, 4_801_000].map(clockOf), ["[00:00]", "[01:01]", "[80:01]"]);
});

test("slowTestOf() leaves out what is fast, and suites", () => {
  const details = { duration_ms: 60_000, type: "test" };
  const found = slowTestOf({ file: `${process.cwd()}/a.test.ts`, line: 3, name: "t", details });
  assert.deepEqual(found, { place: "a.test.ts:3", title: "t", ms: 60_000 });
  assert.equal(slowTestOf({ name: "t", details: { ...details, type: "suite" } }), undefined);
  assert.equal(slowTestOf({ name: "t", details: { ...details, duration_ms: 900 } }), undefined);
});

test("linesOfTimes() adds up phases and begins with what took longest", () => {
  const jobs = [
    { phase: "e2e", name: "a", ms: 1500 },
    { phase: "e2e", name: "b", ms: 62_000 },
    { phase: "unit", name: "all", ms: 3000 },
  ];
  assert.deepEqual(linesOfTimes(jobs, [{ place: "b:1", title: "waits", ms: 61_000 }]), [
    "time of all files, side by side: e2e 64 s, unit 3.0 s",
    "files that took longest:",
    "  62 s  b",
    "  3.0 s  all",
    "  1.5 s  a",
    "tests that took longest:",
    "  61 s  b:1 waits",
  ]);
  const many = Array.from({ length: 30 }, (_, ms) => ({ phase: "e2e", name: `${ms}`, ms }));
  assert.equal(linesOfTimes(many, []).length, 14);
});
