import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import net from "node:net";
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

function jobOf(t: TestContext, text: string): TestJob {
  const folder = mkdtempSync(join(tmpdir(), "heddle-runner-"));
  t.after(() => rmSync(folder, { recursive: true }));
  const file = join(folder, "some.test.mjs");
  writeFileSync(file, `import { test } from "node:test";\n${text}`);
  const phase = { name: "p", files: "", isolation: "process", concurrency: 1 } as const;
  const limits = { timeoutMs: 60_000, totalMs: 60_000 };
  const job = { phase: { ...phase, ...limits }, name: file, files: [file] };
  return { ...job, isBeside: false, givesWay: false, isDemanding: false };
}

/** A file with these tests; the run is stopped at the first that fails, if `stops`. */
async function ran(t: TestContext, text: string, stops = false): Promise<Ran> {
  const job = jobOf(t, text);
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

test("runTests() fails a file that has no tests, and one whose process ends before they do", async (t) => {
  for (const text of ["", `test("ends", () => process.exit(0)); test("is not begun", () => {});`]) {
    const { outcome, failures } = await ran(t, text);
    assert.deepEqual(
      failures.map(({ title }) => title),
      ["no test of this file has ended"],
    );
    assert.equal(outcome.isGood, false);
  }
});

test("runTests() leaves nothing behind where no process could be started", async (t) => {
  const job = jobOf(t, "");
  const timers = (): number =>
    process.getActiveResourcesInfo().filter((kind) => kind === "Timeout").length;
  const before = timers();
  const options = { isAlone: false, stop: new AbortController().signal, onFailure: () => {} };
  await assert.rejects(runTests(job, { ...options, environment: { NAME: "a\0b" } }), {
    code: "ERR_INVALID_ARG_VALUE",
  });
  assert.equal(timers(), before);
});

test("what runTests() has started ends with its process", async (t) => {
  const { promise: isGone, resolve } = Promise.withResolvers<void>();
  const server = net.createServer((socket) => socket.on("error", () => {}).on("close", resolve));
  t.after(() => void server.close());
  await new Promise<void>((listens) => void server.listen(0, "127.0.0.1", listens));
  const address = server.address();
  assert.ok(typeof address === "object" && address !== null);
  const job = jobOf(
    t,
    `import net from "node:net";
test("fails", () => new Promise((_, no) => net.connect(${address.port}, "127.0.0.1", () => no(new Error("so"))).resume()));
test("goes on", () => new Promise(() => setInterval(() => {}, 1000)));`,
  );
  const script = `import { runTests } from ${JSON.stringify(new URL("test-process.ts", import.meta.url).href)};
const options = { isAlone: false, stop: new AbortController().signal, environment: process.env, onFailure: () => process.exit(7) };
await runTests(${JSON.stringify(job)}, options);`;
  const words = ["--disable-warning=ExperimentalWarning", "--input-type=module", "-e", script];
  const runner = spawn(process.execPath, words, { env: environment, stdio: "inherit" });
  assert.equal(await new Promise((ended) => runner.once("exit", ended)), 7);
  await isGone;
});
