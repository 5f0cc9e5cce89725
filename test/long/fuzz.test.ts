/**
 * Each codec is searched for inputs that break its promises: for a minute and a million inputs, from
 * the inputs that are kept. And bugs put into the codecs are found.
 */
import assert from "node:assert/strict";
import { availableParallelism } from "node:os";
import { describe, test } from "node:test";

import { codecs, inputsMin, search, takenMin } from "../fuzz/search.ts";
import { seededBugs } from "../fuzz/seeded-bugs.ts";

/** Processes of the lowest priority: so many that they take all that others leave. */
const atOnce = 2 * availableParallelism();

describe("codecs", { concurrency: atOnce }, () => {
  for (const codec of codecs) {
    test(`${codec} keeps its promises on each of very many inputs`, async (t) => {
      // The same inputs each time: what is new is looked for in `npm run test:full`.
      const report = await search(codec, {
        seconds: "60",
        inputs: String(inputsMin),
        seed: "1",
      });
      const { seed, inputs, branches, taken, missed } = report;
      t.diagnostic(`${inputs} inputs in ${report.seconds} s, seed ${seed}, ${taken}/${branches}`);
      assert.equal(report.failure, undefined);
      assert.ok(inputs >= inputsMin);
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
});
