import assert from "node:assert/strict";
import { mkdtempSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { consoleUrl, openConsoleToken, readConsoleToken } from "./console-token.ts";

test("openConsoleToken() makes a private token once, and replaces what is none", () => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-token-"));
  try {
    assert.equal(readConsoleToken(folder), undefined);
    const token = openConsoleToken(folder);
    assert.equal(openConsoleToken(folder), token);
    assert.equal(statSync(join(folder, "console-token")).mode & 0o777, 0o600);
    writeFileSync(join(folder, "console-token"), "");
    assert.notEqual(openConsoleToken(folder), token);
    assert.match(openConsoleToken(folder), /^[\w-]{43}$/);
  } finally {
    rmSync(folder, { recursive: true });
  }
});

test("consoleUrl() is one that a browser on this machine can open", () => {
  assert.equal(consoleUrl({ address: "127.0.0.1", port: 1 }, "t"), "http://127.0.0.1:1/#token=t");
  assert.equal(consoleUrl({ address: "0.0.0.0", port: 1 }, "t"), "http://127.0.0.1:1/#token=t");
  assert.equal(consoleUrl({ address: "::1", port: 1 }, "t"), "http://[::1]:1/#token=t");
});
