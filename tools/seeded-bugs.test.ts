import assert from "node:assert/strict";
import { readFileSync } from "node:fs";
import { test } from "node:test";

import { seededBugs } from "../test/fuzz/seeded-bugs.ts";

// The search that needs them runs for minutes, long after a line was changed.
test("every bug that is put into a codec replaces what its file holds exactly once", () => {
  for (const [codec, bugs] of Object.entries(seededBugs)) {
    for (const { name, edit } of bugs) {
      const parts = readFileSync(edit.file, "utf8").split(edit.from).length;
      assert.equal(parts - 1, 1, `${codec}, ${name}: how often ${edit.file} holds ${edit.from}`);
    }
  }
});
