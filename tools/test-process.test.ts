import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type TestContext, test } from "node:test";

import type { Failure } from "./test-failures.ts";
import type { TestJob } from "./test-phases.ts";
import { type Outcome, runTests } from "./test-process.ts";

const { NODE_TEST_CONTEXT: _, ...environment } = process.env;

interface Ran {
  readonly outcome: Outcome;
  readonly failures: readonly Failure[];
}

/** A file with these tests; the run is stopped at the first that fails, if `stops`. */
async function ran(t: TestContext, text: string, stops = false): Promise<Ran> {
  const folder = mkdtempSync(join(tmpdir(), "heddle-runner-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "some.test.mjs");
  writeFileSync(file, `import { test } from "node:test";\n${text}`);
  const phase = { name: "p", files: "", isolation: "process", concurrency: 1 } as const;
  const limits = { timeoutMs: 60_000, totalMs: 60_000 };
  const job: TestJob = {
    phase: { ...phase, ...limits },
    name: file,
    files: [file],
    isBeside: false,
    givesWay: false,
    isDemanding: false,
  };
  const failures: Failure[] = [];
  const stop = new AbortController();
  const onFailure = (failure: Failure): void => {
    failures.push(failure);
    if (stops) stop.abort("ended by somebody");
  };
  const options = { isAlone: false, stop: stop.signal, environment, onFailure };
  return { outcome: await runTests(job, options), failures };
}

test("runTests() gives what was printed without its summary, and how many tests ran", async (t) => {
  const { outcome, failures } = await ran(t, `test("one", () => {}); test("two", () => {});`);
  assert.equal(outcome.isGood, true, outcome.output);
  assert.match(outcome.output, /✔ one .*\n✔ two /);
  assert.doesNotMatch(outcome.output, /ℹ/);
  assert.deepEqual([outcome.record.end?.counts.tests, failures], [2, []]);
});

test("runTests() tells of a failure while others still run, and what was found when it is ended", async (t) => {
  const text = `
test("fails", () => { throw new Error("so it is"); });
test("goes on", () => new Promise(() => setInterval(() => {}, 1000)));`;
  const { outcome, failures } = await ran(t, text, true);
  assert.deepEqual(
    failures.map(({ title, why }) => [title, why]),
    [["fails", "so it is"]],
  );
  assert.deepEqual([outcome.isGood, outcome.cut], [false, "ended by somebody"]);
  assert.deepEqual(outcome.record.failures, failures);
  assert.equal(outcome.record.end, undefined);
});
