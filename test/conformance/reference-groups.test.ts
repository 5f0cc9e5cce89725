/** Each test that the table names is there. */
import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { probes } from "./http1/probes.ts";
import { responseProbes } from "./http1/responses.ts";
import { referenceGroups } from "./reference-groups.ts";

test("no group is without its tests", () => {
  const ids = new Set([...probes, ...responseProbes].map(({ id }) => id));
  const missing: string[] = [];
  for (const { group, probes: wanted, tests } of referenceGroups) {
    assert.ok(wanted.length + tests.length > 0, group);
    missing.push(...wanted.filter((id) => !ids.has(id)));
    for (const one of tests) {
      const [file = "", ...title] = one.split(": ");
      if (!readFileSync(file, "utf8").includes(title.join(": "))) missing.push(one);
    }
  }
  assert.deepEqual(missing, []);
  assert.equal(referenceGroups.length, 16);
});
