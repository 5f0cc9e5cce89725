import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { pathToFileURL } from "node:url";

import { withSourcePositions } from "./source-positions.ts";

test("withSourcePositions() leads places in chunks with a map back to the sources", () => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-map-"));
  try {
    // One segment: column 0 of line 1 comes from line 12, column 4 of the source (VLQ: 0, 0, 11, 4).
    const map = { version: 3, sources: ["../../../src/a.ts"], names: [], mappings: "AAWI" };
    writeFileSync(join(folder, "a.js.map"), JSON.stringify(map));
    const url = pathToFileURL(join(folder, "a.js")).href;
    const stack = `Error: no\n    at f (${url}:1:9)\n    at g (${join(folder, "b.js")}:1:9)`;
    const expected = `Error: no\n    at f (src/a.ts:12:5)\n    at g (${join(folder, "b.js")}:1:9)`;
    assert.equal(withSourcePositions(stack), expected);
    writeFileSync(join(folder, "a.js.map"), "{");
    assert.equal(withSourcePositions(stack), stack);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
