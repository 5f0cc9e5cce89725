/**
 * Each codec is searched for inputs that break its promises: for a minute and a million inputs, from
 * the inputs that are kept. And bugs put into the codecs are found.
 */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { test } from "node:test";

import type { Codec } from "../fuzz/codecs.ts";
import { seededBugs } from "../fuzz/seeded-bugs.ts";

interface Report {
  readonly seed: number;
  readonly inputs: number;
  readonly seconds: number;
  readonly branches: number;
  readonly taken: number;
  readonly missed: readonly string[];
  readonly failure?: { readonly why: string; readonly input: string };
}

const codecs: readonly Codec[] = ["http1", "tls-hello", "proxy-protocol"];
/** Of the branches that the search can see. */
const takenMin = 0.95;

async function search(codec: Codec, options: Readonly<Record<string, string>>): Promise<Report> {
  const args = Object.entries(options).flatMap(([name, value]) => [`--${name}`, value]);
  const child = spawn(
    process.execPath,
    ["--disable-warning=ExperimentalWarning", "test/fuzz/main.ts", "--codec", codec, ...args],
    { stdio: ["ignore", "pipe", "inherit"] },
  );
  let output = "";
  child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
  const code = await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  assert.equal(code, 0, `the search of ${codec} ended with code ${String(code)}`);
  return JSON.parse(output);
}

for (const codec of codecs) {
  test(`${codec} keeps its promises on a million inputs and more`, async (t) => {
    const seconds = process.env["HEDDLE_FUZZ_SECONDS"] ?? "60";
    const report = await search(codec, { seconds, inputs: "1000000" });
    const { seed, inputs, branches, taken, missed } = report;
    t.diagnostic(`${inputs} inputs in ${report.seconds} s, seed ${seed}, ${taken}/${branches}`);
    assert.equal(report.failure, undefined);
    assert.ok(inputs >= 1_000_000);
    assert.ok(taken >= takenMin * branches, `not taken: ${missed.join(", ")}`);
  });

  test(`a search finds every bug put into ${codec}`, async (t) => {
    const bugs = seededBugs[codec];
    assert.ok(bugs.length >= 10);
    for (const { name } of bugs) {
      const report = await search(codec, {
        bug: name,
        seed: "1",
        "seconds-max": "120",
        seconds: "120",
      });
      t.diagnostic(`${name}: after ${report.inputs} inputs`);
      assert.ok(report.failure !== undefined, `not found in ${report.inputs} inputs: ${name}`);
    }
  });
}
