import assert from "node:assert/strict";
import { test } from "node:test";

import { type Ended, linesOfSummary, totalOf } from "./test-summary.ts";
import { noCounts } from "./test-totals.ts";

const limits = { concurrency: 1, timeoutMs: 1, totalMs: 1 };
const phase = { name: "e2e", files: "", isolation: "process", ...limits } as const;

/** A file with one good test, or one that was ended when one of its tests had failed. */
function ended(name: string, isGood: boolean): Ended {
  const counts = { ...noCounts(), tests: 1, passed: 1 };
  const suites = {
    "series, *": { heddle: name === "heddle" ? 1 : 0, envoy: name === "envoy" ? 1 : 0 },
  };
  const failures = isGood ? [] : [{ place: `${name}:3`, title: "waits", why: "too long" }];
  const record = { failures, slow: [], end: isGood ? { counts, suites } : undefined };
  const job = { phase, name, files: [name], isBeside: false, givesWay: false, isDemanding: false };
  return { job, isGood, record, output: "", cut: "", ms: 1000 };
}

const all = [ended("heddle", true), ended("envoy", true), ended("cut", false)];

test("totalOf() adds up summaries, and what a file that was cut off has told", () => {
  const cut = { failed: 1, cancelled: 1 };
  assert.deepEqual(totalOf(all), { ...noCounts(), tests: 4, passed: 2, ...cut });
});

test("linesOfSummary() tells times, failures, planes and complaints, and ends as node:test does", () => {
  const run = { ended: all, complaints: ["cut has no summary"], processor: "processor: 50 %" };
  const lines = linesOfSummary(run);
  const starts = lines.flatMap((line, at) => (line === "" ? [lines[at + 1]] : []));
  assert.deepEqual(starts, [
    "time of all files, side by side: e2e 3.0 s",
    "what failed:",
    "data planes: 1 tests on heddle, 1 on envoy, 0 of what one of them alone has",
    "heddle: cut has no summary",
    "ℹ tests 4",
  ]);
  assert.match(lines.at(-1) ?? "", /^ℹ duration_ms \d+$/);
});
