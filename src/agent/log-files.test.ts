import assert from "node:assert/strict";
import { execFileSync, spawn } from "node:child_process";
import { once } from "node:events";
import {
  closeSync,
  constants,
  mkdtempSync,
  openSync,
  readFileSync,
  renameSync,
  rmSync,
} from "node:fs";
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

const source = (path: string): string => JSON.stringify(new URL(path, import.meta.url).href);
/** Logs far more than a pipe holds, closes its logs and ends. Says what was dropped. */
const program = (path: string): string => `
  import { systemClock } from ${source("../base/clock.ts")};
  import { createMetricRegistry } from ${source("../telemetry/metric-registry.ts")};
  import { openLogFiles } from ${source("log-files.ts")};
  const metrics = createMetricRegistry();
  const files = openLogFiles(systemClock, metrics);
  const append = files.open(${JSON.stringify(path)});
  const line = Buffer.alloc(65536, "x");
  for (let i = 0; i < 200; i++) append(line, line.length);
  await files.close();
  const [, dropped] = /^heddle_log_lines_dropped_total.* (\\d+)$/m.exec(metrics.expose()) ?? [];
  process.send(Number(dropped) > 0, () => process.exit(0));`;

for (const [what, stdout] of [
  ["a pipe that is standard output", "pipe"],
  ["a socket that is standard output", "socket"],
  ["a pipe that has a name", "named"],
  ["a pipe that has a name, and nobody who reads", "unread"],
] as const) {
  test(`a log that nobody reads costs lines, not the end of the process: ${what}`, async (t) => {
    const folder = mkdtempSync(join(tmpdir(), "heddle-logs-"));
    t.after(() => rmSync(folder, { recursive: true }));
    const path = join(folder, "pipe");
    execFileSync("mkfifo", [path]);
    const reader =
      stdout === "unread" ? undefined : openSync(path, constants.O_RDWR | constants.O_NONBLOCK);
    const isStream = stdout === "pipe" || stdout === "socket";
    const writer = stdout === "pipe" ? openSync(path, "w") : undefined;
    const code = program(isStream ? "/dev/stdout" : path);
    const args = ["--disable-warning=ExperimentalWarning", "--input-type=module", "-e", code];
    // A pipe of Node's to a child is a pair of sockets.
    const stdio = ["ignore", writer ?? "pipe", "inherit", "ipc"] as const;
    const child = spawn(process.execPath, args, { stdio: [...stdio] });
    const watch = setTimeout(() => child.kill("SIGKILL"), 60_000);
    let hasDropped: unknown;
    child.once("message", (told) => (hasDropped = told));
    const [status, signal]: unknown[] = await once(child, "exit");
    clearTimeout(watch);
    for (const fd of [reader, writer]) if (fd !== undefined) closeSync(fd);
    assert.deepEqual([status, signal, hasDropped], [0, null, true]);
  });
}
