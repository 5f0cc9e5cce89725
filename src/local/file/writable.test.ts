import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, realpathSync, rmSync, symlinkSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { test } from "node:test";

import { parseHeddleFile } from "../heddle-file.ts";

test("readWritable() refuses links that lead out of the folder, or to configuration", (t) => {
  const parent = mkdtempSync(join(tmpdir(), "heddle-writable-"));
  t.after(() => rmSync(parent, { recursive: true }));
  const directory = join(parent, "linked");
  for (const folder of ["outside", "mesh/policies", "mesh/.data"]) {
    mkdirSync(join(parent, folder), { recursive: true });
  }
  symlinkSync("mesh", directory);
  symlinkSync("../../outside", join(directory, ".data/out"));
  symlinkSync("../policies", join(directory, ".data/policies"));
  symlinkSync(".data", join(directory, ".cache"));
  const check = (path: string, taken: readonly string[], messages: readonly string[]): void => {
    const text = `workloads: [{ name: a, command: a, writable: [${path}] }]`;
    const { value, problems } = parseHeddleFile(text, "heddle.yaml", directory);
    assert.deepEqual(
      problems.map(({ message }) => message),
      messages,
    );
    if (messages.length === 0) assert.deepEqual(value?.workloads[0]?.writable, taken);
  };
  const data = join(realpathSync(parent), "mesh/.data");
  check(".data", [data], []);
  check(".cache", [data], []);
  check(".data/new/x", [join(data, "new/x")], []);
  const no = (path: string, target: string): readonly string[] => [
    `${path} is a link that leads to ${target}, which applications must not write`,
  ];
  check(".data/out", [], no(".data/out", "../outside"));
  check(".data/out/x", [], no(".data/out/x", "../outside/x"));
  check(".data/policies", [], no(".data/policies", "policies"));
});
