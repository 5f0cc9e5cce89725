import assert from "node:assert/strict";
import { mkdtempSync, readdirSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { leaseHolder, takeLease } from "./lease.ts";

function inTemporaryDirectory(body: (directory: string) => void): void {
  const directory = mkdtempSync(join(tmpdir(), "heddle-lease-"));
  try {
    body(directory);
  } finally {
    rmSync(directory, { recursive: true });
  }
}

test("takeLease() refuses while the holder runs, naming it, and leaves only the lease", () => {
  inTemporaryDirectory((directory) => {
    const lease = takeLease(directory, "/home/ann/shop");
    assert.throws(() => takeLease(directory, "/elsewhere"), {
      code: "local.running",
      message: new RegExp(`process ${process.pid} from /home/ann/shop`),
    });
    assert.deepEqual(readdirSync(directory), ["lease.json"]);
    assert.equal(leaseHolder(directory)?.pid, process.pid);
    lease[Symbol.dispose]();
    assert.equal(leaseHolder(directory), undefined);
    assert.deepEqual(readdirSync(directory), []);
  });
});

test("takeLease() takes over from a process that is gone, another of its number, or a torn file", () => {
  const stale = [
    JSON.stringify({ pid: 2 ** 30, startTime: "1", directory: "/x" }),
    JSON.stringify({ pid: process.pid, startTime: "not ours", directory: "/x" }),
    '{"pid":',
  ];
  for (const text of stale) {
    inTemporaryDirectory((directory) => {
      writeFileSync(join(directory, "lease.json"), text);
      using _lease = takeLease(directory, "/home/ann/shop");
      assert.equal(leaseHolder(directory)?.directory, "/home/ann/shop");
    });
  }
});
