/** Each codec is searched for half an hour. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { codecs, inputsMin, search, takenMin } from "../fuzz/search.ts";

const seconds = "1800";

test("codecs keep their promises for half an hour", { concurrency: true }, async (t) => {
  const runs = codecs.map((codec) =>
    t.test(codec, async (context) => {
      const report = await search(codec, { seconds, inputs: String(inputsMin) });
      const { seed, inputs, branches, taken, missed } = report;
      context.diagnostic(
        `${inputs} inputs in ${report.seconds} s, seed ${seed}, ${taken}/${branches}`,
      );
      assert.equal(report.failure, undefined);
      assert.ok(taken >= takenMin * branches, `not taken: ${missed.join(", ")}`);
    }),
  );
  await Promise.all(runs);
});
