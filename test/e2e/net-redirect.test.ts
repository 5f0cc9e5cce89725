import assert from "node:assert/strict";
import { execFile } from "node:child_process";
import { test } from "node:test";
import { promisify } from "node:util";

const program = new URL("./support/redirected-listener.ts", import.meta.url).pathname;
const run = promisify(execFile);

/** As root a network namespace is enough; otherwise a user namespace gives the right to make one. */
const flags = process.getuid?.() === 0 ? [["-n"], ["-U", "-r", "-n"]] : [["-U", "-r", "-n"]];

for (const namespaces of flags) {
  test(`capture keeps the original destination and lets marked sockets pass (${namespaces.join(" ")})`, async () => {
    const { stdout } = await run(
      "unshare",
      [...namespaces, process.execPath, "--disable-warning=ExperimentalWarning", program],
      { timeout: 20_000 },
    );
    assert.deepEqual(JSON.parse(stdout), {
      captured: ["connected", "connected"],
      // Around the capture there is nobody on port 9000.
      marked: ["ECONNREFUSED", "ECONNREFUSED"],
      accepted: [
        { address: "198.19.0.5", port: 9000 },
        { address: "fd48:6564:646c::5", port: 9000 },
      ],
    });
  });
}
