import assert from "node:assert/strict";
import { mkdirSync, mkdtempSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join, relative } from "node:path";
import { test } from "node:test";

import { readYamlInputs } from "./yaml-input.ts";

test("readYamlInputs() reads of a folder what a mesh started there would read", () => {
  const folder = mkdtempSync(join(tmpdir(), "heddle-input-"));
  try {
    const policy = "apiVersion: v1\nkind: Policy\n";
    const files = {
      "heddle.yaml": "mesh: a\n",
      "compose.override.yaml": "services: {}\n",
      "package.json": '{ "name": "shop" }',
      "broken.json": '{ "kind": ',
      "policy.json": JSON.stringify({ apiVersion: "v1", kind: "Policy" }),
      "mesh/a.YAML": policy,
      "mesh/b.yml": policy,
      "mesh/notes.txt": "-",
      ".github/ci.yaml": "on: push\n",
      "node_modules/x/openapi.yaml": "openapi: 3.0.0\n",
    };
    for (const [name, text] of Object.entries(files)) {
      mkdirSync(dirname(join(folder, name)), { recursive: true });
      writeFileSync(join(folder, name), text);
    }
    assert.deepEqual(
      readYamlInputs([folder]).map(({ file }) => relative(folder, file)),
      ["broken.json", "mesh/a.YAML", "mesh/b.yml", "policy.json"],
    );
    symlinkSync("mesh", join(folder, "again"));
    symlinkSync("nowhere", join(folder, "lost"));
    symlinkSync("nowhere.yaml", join(folder, "lost.yaml"));
    const problems: string[] = [];
    const inputs = readYamlInputs([folder], ({ code, source }) =>
      problems.push(`${code} ${relative(folder, source?.file ?? "")}`),
    );
    assert.equal(inputs.length, 4);
    assert.deepEqual(problems, ["config.linked-folder again", "config.unreadable-file lost.yaml"]);
    // What is named is meant.
    assert.equal(readYamlInputs([join(folder, "package.json")]).length, 1);
  } finally {
    rmSync(folder, { recursive: true });
  }
});
