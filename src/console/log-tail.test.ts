import assert from "node:assert/strict";
import { appendFileSync, mkdtempSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";
import { continueLog, readLogTail, startOfLog } from "./log-tail.ts";

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

test("readLogTail() and startOfLog() begin in the file that became full", async () => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-log-"));
  const file = join(folder, "x.log");
  try {
    writeFileSync(`${file}.1`, "a\nb\n");
    writeFileSync(file, "c\n");
    assert.equal(await readLogTail(file, 1), "c\n");
    assert.equal(await readLogTail(file, 2), "b\nc\n");
    assert.equal(await readLogTail(file, 9), "a\nb\nc\n");
    assert.equal((await startOfLog(file, 2)).text, "b\nc\n");
    assert.equal((await startOfLog(file, 0)).text, "");
    writeFileSync(file, "");
    assert.equal(await readLogTail(file, 1), "b\n");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("continueLog() gives each line once: equal lines, half lines, a file that became full", async () => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-log-"));
  const file = join(folder, "x.log");
  try {
    let { text, position } = await startOfLog(file, 2);
    const next = async (): Promise<string> => {
      ({ text, position } = await continueLog(file, position));
      return text;
    };
    assert.equal(text, "");
    assert.equal(await next(), "");
    writeFileSync(file, "tick\ntick\n");
    assert.equal(await next(), "tick\ntick\n");
    assert.equal(await next(), "");
    appendFileSync(file, "tick\nti");
    assert.equal(await next(), "tick\n");
    appendFileSync(file, "ck\n");
    assert.equal(await next(), "tick\n");
    appendFileSync(file, "last\n");
    renameSync(file, `${file}.1`);
    writeFileSync(file, "first\n");
    assert.equal(await next(), "last\nfirst\n");
    assert.equal(await next(), "");
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("startOfLog() begins after the lines it gives, also after none and before a half one", async () => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-log-"));
  const file = join(folder, "x.log");
  try {
    writeFileSync(file, "a\nb\nha");
    const start = await startOfLog(file, 0);
    assert.equal(start.text, "");
    assert.equal((await startOfLog(file, 2)).position, start.position);
    appendFileSync(file, "lf\n");
    assert.equal((await continueLog(file, start.position)).text, "half\n");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
