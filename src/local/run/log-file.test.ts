import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { LogFile } from "./log-file.ts";

test("LogFile keeps at most two files of its size", () => {
  const directory = mkdtempSync(join(tmpdir(), "heddle-log-"));
  const path = join(directory, "a.log");
  const log = new LogFile(path, 10);
  for (const text of ["first...", "second..", "third..."]) log.write(Buffer.from(text));
  log.close();
  assert.equal(readFileSync(path, "utf8"), "third...");
  assert.equal(readFileSync(`${path}.1`, "utf8"), "second..");
  rmSync(directory, { recursive: true });
});

test("LogFile counts what it cannot write instead of failing", () => {
  const log = new LogFile("/nonexistent/folder/a.log", 10);
  log.write(Buffer.from("lost"));
  assert.equal(log.lostBytes, 4);
  log.close();
});
