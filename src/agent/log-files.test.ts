import assert from "node:assert/strict";
import { mkdtempSync, readFileSync, renameSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { systemClock } from "../base/clock.ts";
import { createMetricRegistry } from "../telemetry/metric-registry.ts";
import { openLogFiles } from "./log-files.ts";

test("reopen() writes to a new file of the same name, and loses no line", async () => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-logs-"));
  const path = join(folder, "access.log");
  try {
    const files = openLogFiles(systemClock, createMetricRegistry());
    const append = files.open(path);
    const say = (line: string): void => append(Buffer.from(`${line}\n`), line.length + 1);
    say("one");
    while (readFileSync(path, "utf8") === "") await new Promise((done) => setTimeout(done, 5));
    renameSync(path, `${path}.1`);
    files.reopen();
    say("two");
    await files.close();
    assert.equal(readFileSync(`${path}.1`, "utf8"), "one\n");
    assert.equal(readFileSync(path, "utf8"), "two\n");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
