import assert from "node:assert/strict";
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { calledAs } from "./called-as.ts";

test("calledAs() gives what the shell can run: the name from the PATH, else the path as it was typed", () => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-called-"));
  try {
    const file = join(folder, "heddle");
    writeFileSync(file, "#!/bin/sh\n");
    chmodSync(file, 0o755);
    const path = `/nonexistent:${folder}`;
    assert.equal(calledAs(undefined, path), "heddle");
    assert.equal(calledAs(file, path), "heddle");
    assert.equal(calledAs(file, "/nonexistent"), file);
    assert.equal(calledAs("./heddle", path), "./heddle");
    assert.equal(calledAs("../my mesh's/heddle", path), String.raw`'../my mesh'\''s/heddle'`);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
