import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { openStateFiles } from "./state-files.ts";

test("openStateFiles() keeps folder and files for us alone, and leaves no draft", (t) => {
  const parent = mkdtempSync(join(tmpdir(), "heddle-state-files-"));
  t.after(() => rmSync(parent, { recursive: true }));
  const files = openStateFiles(join(parent, "a", "b"));
  assert.equal(files.read("key.json"), undefined);
  files.write("key.json", "one");
  files.write("key.json", "two");
  assert.equal(files.read("key.json")?.toString(), "two");
  const modes = [files.directory, files.path("key.json")].map((path) => statSync(path).mode & 0o77);
  assert.deepEqual(modes, [0, 0]);
  assert.deepEqual(readdirSync(files.directory), ["key.json"]);
});
