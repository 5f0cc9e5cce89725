import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { bundleName } from "./bundle.ts";

test("bundleName() differs where sources or the clone's place do", (t) => {
  const base = mkdtempSync(join(tmpdir(), "heddle-bundle-name-"));
  t.after(() => rmSync(base, { recursive: true }));
  const clone = (name: string, source: string): string => {
    mkdirSync(join(base, name, "src"), { recursive: true });
    writeFileSync(join(base, name, "src", "main.ts"), source);
    return join(base, name);
  };
  const one = clone("one", "export const a = 1;");
  const name = bundleName(one);
  assert.equal(bundleName(one), name);
  assert.notEqual(bundleName(clone("two", "export const a = 1;")), name);
  clone("one", "export const a = 2;");
  assert.notEqual(bundleName(one), name);
});
