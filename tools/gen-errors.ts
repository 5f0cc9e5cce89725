/** Writes docs/errors.md from the table of problem codes; with `--check`, only says whether it is so. */
import { readFileSync, writeFileSync } from "node:fs";

import { problemCodes } from "../src/model/problem-codes.ts";

const file = new URL("../docs/errors.md", import.meta.url);

const lines = [
  "# Codes of problems",
  "",
  "Every problem that `heddle validate`, `heddle status` and the console show has a code that stays the same.",
  "This page is written by `tools/gen-errors.ts`.",
  "",
  "| code | meaning |",
  "|---|---|",
  ...Object.entries(problemCodes).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`),
];
const text = `${lines.join("\n")}\n`;

if (process.argv.includes("--check")) {
  if (readFileSync(file, "utf8") !== text) {
    console.error("docs/errors.md is not what tools/gen-errors.ts writes; run it");
    process.exitCode = 1;
  }
} else {
  writeFileSync(file, text);
}
