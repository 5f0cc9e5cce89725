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

test("LogFile knows the line that says why a process failed, whatever it printed after", () => {
  const directory = mkdtempSync(join(tmpdir(), "heddle-log-"));
  const log = new LogFile(join(directory, "app.log"));
  assert.equal(log.lastComplaint(), undefined);
  log.write(Buffer.from("starting\n"));
  assert.equal(log.lastComplaint(), "starting");
  log.write(
    Buffer.from("\u001b[31mError: no \u001b[0mdatabase\n    at main (x.mjs:1:2)\n\nNode.js v26\n"),
  );
  log.note("ended with code 1");
  assert.equal(log.lastComplaint(), "Error: no  database");
  log.write(Buffer.from(`${"x".repeat(9000)}\nheddle-init: 1: web: not found\n`));
  assert.equal(log.lastComplaint(), "web: not found");
  log.close();
  rmSync(directory, { recursive: true });
});
