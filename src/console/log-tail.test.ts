import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { readLogTail } from "./log-tail.ts";

async function check(text: string, lines: number, expected: string): Promise<void> {
  const folder = mkdtempSync(join(tmpdir(), "heddle-log-"));
  try {
    writeFileSync(join(folder, "x.log"), text);
    assert.equal(await readLogTail(join(folder, "x.log"), lines), expected);
  } finally {
    rmSync(folder, { recursive: true });
  }
}

test("readLogTail() gives the last whole lines", async () => {
  await check("a\nb\nc\n", 2, "b\nc\n");
  await check("a\nb\nc", 2, "b\nc");
  await check("a\n", 10, "a\n");
  await check("", 10, "");
  await check("a\nb\n", 0, "");
  const long = `${"x".repeat(100_000)}\n`;
  await check(`${long}${long}end\n`, 1, "end\n");
  await check(`${long}${long}end\n`, 2, `${long}end\n`);
});

test("readLogTail() is empty for a file that is not there yet", async () => {
  assert.equal(await readLogTail(join(tmpdir(), "heddle-no-such.log"), 5), "");
});
