import assert from "node:assert/strict";
import { globSync, readFileSync } from "node:fs";
import { test } from "node:test";

import { problemCodes } from "./problem-codes.ts";

test("problemCodes explains every code that parsing and checking give", () => {
  const root = new URL("../", import.meta.url).pathname;
  const files = globSync(["model/**/*.ts", "control/mesh/**/*.ts", "control/source/*.ts"], {
    cwd: root,
    exclude: ["model/problem-codes/**"],
  });
  const areas = new Set(Object.keys(problemCodes).map((code) => code.split(".")[0]));
  const used = files
    .filter((file) => !file.endsWith(".test.ts"))
    .flatMap((file) => [
      ...readFileSync(`${root}${file}`, "utf8").matchAll(/"([a-z]+)\.([a-z-]+)"/g),
    ])
    .filter(([, area]) => areas.has(area))
    .map(([, area, rest]) => `${area}.${rest}`);
  const unexplained = [...new Set(used)].filter((code) => !Object.hasOwn(problemCodes, code));
  assert.deepEqual(unexplained, []);
});
