/**
 * An application that works in a folder below one that only its owner may enter, as a checkout in
 * root's home is. Under root it runs as nobody, and must be able to work there all the same; without
 * root it is the owner.
 */
import assert from "node:assert/strict";
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { startMesh } from "./support/mesh.ts";

// Without root there is nobody to close a folder against.
const isRoot = process.getuid?.() === 0;

if (isRoot) {
  test("an application works below a closed folder, and sees nothing else of it", async (t) => {
    const closed = mkdtempSync(join(tmpdir(), "heddle-closed-"));
    t.after(() => rmSync(closed, { recursive: true }));
    const project = join(closed, "my project");
    mkdirSync(project);
    writeFileSync(join(project, "page.txt"), "page");
    writeFileSync(join(project, "private.txt"), "private");
    chmodSync(join(project, "private.txt"), 0o600);
    writeFileSync(join(closed, "other.txt"), "other");
    chmodSync(closed, 0o700);
    await using mesh = await startMesh({
      mode: "root",
      processes: "heddle",
      files: {
        "heddle.yaml": `workloads: [{ name: w, workingDirectory: '${project}', command: [{exec}] }]`,
      },
    });
    const run = async (script: string) => await mesh.workload("w-0").exec(script);
    assert.equal((await run("cat page.txt")).stdout, "page");
    assert.equal((await run(`cd '${closed}' && ls -A`)).stdout, "my project\n");
    for (const refused of ["cat private.txt", "echo >new.txt", `echo >'${closed}/new.txt'`]) {
      assert.notEqual((await run(refused)).code, 0, refused);
    }
  });
}
