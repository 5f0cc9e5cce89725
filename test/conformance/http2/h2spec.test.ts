/** h2spec (generic, RFC 9113, RFC 7541) against Heddle on either backend: nothing fails, nothing is left out. */
import assert from "node:assert/strict";
import { spawn } from "node:child_process";
import { after, before, test } from "node:test";
import { stripVTControlCharacters } from "node:util";

import { type Application, type Plane, runHeddle, startApplication } from "./planes.ts";

/** What this version of h2spec asks. */
const questions = 146;
const planes: Plane[] = [];
let application: Application | undefined;

before(async () => {
  application = await startApplication();
  for (const io of ["portable", "epoll"] as const) {
    planes.push(await runHeddle(io, application.port));
  }
});

after(async () => {
  for (const plane of planes) await plane.close();
  application?.close();
});

for (const [index, io] of ["portable", "epoll"].entries()) {
  test(`h2spec finds nothing wrong (${io})`, async (t) => {
    const program = process.env["HEDDLE_H2SPEC"] ?? ".cache/h2spec/h2spec";
    const child = spawn(program, [String(planes[index]?.ports.strict)]);
    let output = "";
    child.stdout.on("data", (chunk: Buffer) => (output += chunk.toString()));
    child.stderr.on("data", (chunk: Buffer) => (output += chunk.toString()));
    const code = await new Promise((resolve, reject) => {
      child.once("error", reject);
      child.once("close", resolve);
    });
    const text = stripVTControlCharacters(output);
    const last = text.trimEnd().split("\n").at(-1);
    const failures = text.includes("Failures:") ? text.slice(text.indexOf("Failures:")) : "";
    assert.equal(failures, "");
    assert.equal(last, `${questions} tests, ${questions} passed, 0 skipped, 0 failed`);
    assert.equal(code, 0);
    t.diagnostic(`${questions} questions answered`);
  });
}
