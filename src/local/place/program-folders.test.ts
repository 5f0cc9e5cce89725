import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { installationFolder, programFolders } from "./program-folders.ts";

test("programFolders() protects a bundle that lies elsewhere, and the clone that it was made of", (t) => {
  const base = mkdtempSync(join(tmpdir(), "heddle-programs-"));
  t.after(() => rmSync(base, { recursive: true }));
  const clone = join(base, "clone");
  const bundle = join(base, "state", "bundle");
  for (const folder of [join(clone, "src"), bundle]) mkdirSync(folder, { recursive: true });
  writeFileSync(join(clone, "package.json"), "{}");
  writeFileSync(join(bundle, "project-root"), clone);
  const elsewhere = [process.execPath, join(bundle, "main.js")];
  assert.equal(installationFolder(elsewhere), clone);
  const clonesOwn = [join(clone, "src"), join(clone, "package.json")];
  assert.deepEqual(programFolders(elsewhere), [...clonesOwn, bundle, process.execPath]);
  const inside = [process.execPath, join(clone, "src", "main.ts")];
  assert.equal(installationFolder(inside), clone);
  assert.deepEqual(programFolders(inside), [...clonesOwn, process.execPath]);
});
