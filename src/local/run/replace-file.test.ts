import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { makePrivateDirectory, replaceFile } from "./replace-file.ts";

test("makePrivateDirectory() and replaceFile() make what nobody else may open", (t) => {
  const parent = mkdtempSync(join(tmpdir(), "heddle-replace-file-"));
  t.after(() => rmSync(parent, { recursive: true }));
  const [outer, inner] = [join(parent, "outer"), join(parent, "outer", "inner")];
  makePrivateDirectory(inner);
  const file = join(inner, "token");
  replaceFile(file, "one");
  replaceFile(file, "two");
  assert.equal(readFileSync(file, "utf8"), "two");
  assert.deepEqual(readdirSync(inner), ["token"]);
  assert.deepEqual(
    [outer, inner, file].map((path) => statSync(path).mode & 0o77),
    [0, 0, 0],
  );
  makePrivateDirectory(inner);
});

test("makePrivateDirectory() fails where there can be none", () => {
  assert.throws(() => makePrivateDirectory("/proc/heddle/state"), { code: "ENOENT" });
  assert.throws(() => makePrivateDirectory(import.meta.filename), { code: "EEXIST" });
  assert.throws(() => makePrivateDirectory(`${import.meta.filename}/state`), { code: "ENOTDIR" });
});
