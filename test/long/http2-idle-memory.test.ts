/**
 * What an idle HTTP/2 connection costs a proxy in memory, once it has asked and five seconds have passed:
 * its tables as small as what is in them, no object of a request. Counts memory, not time; so many
 * connections that what the process itself takes meanwhile does not show.
 */
import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { join } from "node:path";
import { test } from "node:test";
import { promisify } from "node:util";

const run = promisify(execFile);
const main = join(import.meta.dirname, "../../bench/idle/main.ts");

for (const [name, budgetKib, ...options] of [
  ["in plaintext", 20],
  ["with mutual TLS", 60, "--tls"],
] as const) {
  test(`an idle HTTP/2 connection ${name} costs at most ${budgetKib} KB`, async (t) => {
    const asked = ["--ask", "--asks", "3", "--connections", "1500"];
    const { stdout } = await run(process.execPath, [main, ...asked, ...options], {
      timeout: 400_000,
    });
    const each = Number(/^([\d.]+) KiB/m.exec(stdout)?.[1]);
    t.diagnostic(stdout.trim());
    assert.ok(each > 0, stdout);
    assert.ok((each * 1024) / 1000 <= budgetKib, stdout);
  });
}
