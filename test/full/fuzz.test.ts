/** Each codec is searched for half an hour. */
import assert from "node:assert/strict";
import { test } from "node:test";

import { codecs, expectedOf, search } from "../fuzz/search.ts";

const seconds = "1800";

test("codecs keep their promises for half an hour", { concurrency: true }, async (t) => {
  const runs = codecs.map((codec) =>
    t.test(codec, async (context) => {
      const report = await search(codec, { seconds, inputs: "1000000" });
      const { seed, inputs, branches, taken, missed } = report;
      context.diagnostic(
        `${inputs} inputs in ${report.seconds} s, seed ${seed}, ${taken}/${branches}`,
      );
      assert.equal(report.failure, undefined);
      assert.ok(taken >= expectedOf[codec].taken * branches, `not taken: ${missed.join(", ")}`);
    }),
  );
  await Promise.all(runs);
});
