import assert from "node:assert/strict";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { rolldown } from "rolldown";

import { takeBuiltins } from "./builtin-modules.ts";

const root = join(import.meta.dirname, "../../..");

test("takeBuiltins() takes what our sources import, and leaves alone what others do", () => {
  const { resolveId } = takeBuiltins(root);
  const ours = join(root, "src/a.ts");
  assert.equal(resolveId("node:crypto", ours)?.id, "\0taken:node:crypto");
  assert.equal(resolveId("node:crypto", join(root, "node_modules/a/index.js")), undefined);
  assert.equal(resolveId("node:crypto", undefined), undefined);
  assert.equal(resolveId("node:no-such-module", ours), undefined);
  assert.equal(resolveId("commander", ours), undefined);
});

test("takeBuiltins() reads no name that nobody asks for", async () => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-builtins-"));
  const entry = join(folder, "entry.ts");
  writeFileSync(
    entry,
    'import { createHash } from "node:crypto";\nimport os from "node:os";\nimport * as v8 from "node:v8";\n' +
      "export const made = [createHash('sha256').update('').digest('hex'), os.EOL, v8.getHeapStatistics];\n",
  );
  try {
    // As if the folder's files were our sources.
    const { load, resolveId, name } = takeBuiltins(root);
    const plugin = { name, load, resolveId: (id: string) => resolveId(id, join(root, "src/a.ts")) };
    await using bundle = await rolldown({ input: entry, platform: "node", plugins: [plugin] });
    const { output } = await bundle.generate({ format: "esm" });
    const { code } = output[0];
    assert.doesNotMatch(code, /\bimport\b/);
    assert.doesNotMatch(code, /webcrypto|subtle|randomBytes|cpus/);
    writeFileSync(join(folder, "bundle.mjs"), code);
    const { made }: { made: readonly unknown[] } = await import(join(folder, "bundle.mjs"));
    assert.match(String(made[0]), /^e3b0c44298fc1c14/);
    assert.equal(made[1], "\n");
    assert.equal(typeof made[2], "function");
  } finally {
    rmSync(folder, { recursive: true });
  }
});
