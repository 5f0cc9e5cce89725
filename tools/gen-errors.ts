/**
 * Writes docs/errors.md from the tables of codes; with `--check`, only says whether it is so. Either
 * way it fails when the source has a code that no table explains, or a table one that is gone.
 */
import { globSync, readFileSync, writeFileSync } from "node:fs";

import { problemCodes } from "../src/model/problem-codes.ts";
import { failureCodes } from "./error-codes.ts";

const root = new URL("..", import.meta.url).pathname;
const file = `${root}docs/errors.md`;
const generatedOrTable = ["src/wire/gen/**", "src/model/problem-codes/**"];
const tables = [
  ["tools/error-codes.ts", failureCodes],
  ["src/model/problem-codes/", problemCodes],
] as const;

const table = (codes: Readonly<Record<string, string>>): string[] => [
  "| code | meaning |",
  "|---|---|",
  ...Object.entries(codes).map(([code, meaning]) => `| \`${code}\` | ${meaning} |`),
];
const lines = [
  "# Codes of problems and failures",
  "",
  "Every problem that `heddle validate`, `heddle status` and the console show, and every failure that ends a",
  "command, has a code that stays the same. This page is written by `tools/gen-errors.ts`.",
  "",
  "## Problems of configuration",
  "",
  ...table(problemCodes),
  "",
  "## Failures, and problems of what runs",
  "",
  ...table(failureCodes),
];
const text = `${lines.join("\n")}\n`;

const complaints = complaintsAboutCodes();
for (const complaint of complaints) console.error(complaint);
if (complaints.length > 0) process.exitCode = 1;
if (!process.argv.includes("--check")) {
  writeFileSync(file, text);
} else if (readFileSync(file, "utf8") !== text) {
  console.error("docs/errors.md is not what tools/gen-errors.ts writes; run it");
  process.exitCode = 1;
}

/** Codes stand after `code:`, in `new HeddleError(` and, known by their area, elsewhere but as names of fields. */
function complaintsAboutCodes(): string[] {
  const certain = /(?:\bcode:\s*|HeddleError\(\s*)"([a-z][a-z0-9-]*\.[a-z0-9-]+)"/g;
  const likely = /"([a-z][a-z0-9-]*)\.([a-z][a-z0-9-]+)"(?!:)/g;
  const noCode = /\.(?:json|log|sock|address|ip|port|principal|namespace)$/;
  const explained = new Set(tables.flatMap(([, codes]) => Object.keys(codes)));
  const areas = new Set([...explained].map((code) => code.split(".")[0]));
  const used = new Map<string, string>();
  const sources = globSync("src/**/*.ts", { cwd: root, exclude: generatedOrTable });
  for (const source of sources) {
    if (source.endsWith(".test.ts")) continue;
    const code = readFileSync(`${root}${source}`, "utf8");
    for (const [, name = ""] of code.matchAll(certain)) used.set(name, source);
    for (const [, area = "", rest = ""] of code.matchAll(likely)) {
      const name = `${area}.${rest}`;
      if (areas.has(area) && !noCode.test(name)) used.set(name, source);
    }
  }
  const unexplained = [...used].filter(([code]) => !explained.has(code));
  const gone = tables.flatMap(([place, codes]) =>
    Object.keys(codes)
      .filter((code) => !used.has(code))
      .map((code) => `${place}: nothing in src gives ${code} any more; take it out`),
  );
  return [
    ...unexplained.map(
      ([code, source]) =>
        `${source}: ${code} is explained neither in ${tables[0][0]} nor ${tables[1][0]}`,
    ),
    ...gone,
  ];
}
