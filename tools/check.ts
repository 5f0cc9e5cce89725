/**
 * The gate of every commit: format, lint, types, imports and sizes, unused code, generated
 * documents, unit tests. Runs what it can side by side and prints one line per step.
 *
 *   npm run check
 */
import { spawn } from "node:child_process";
import { globSync } from "node:fs";
import { availableParallelism } from "node:os";

import { assertProjectNode } from "./project-node.ts";
import { runInPlaces, type Work } from "./test-pool.ts";

interface Step {
  readonly name: string;
  readonly command: readonly string[];
}

const sources = ["src", "tools", "test", "bench", "samples"].filter(
  (folder) => globSync(`${folder}/**/*.ts`).length > 0,
);

const steps: readonly Step[] = [
  { name: "format", command: ["oxfmt", "--check", ...sources] },
  { name: "lint", command: ["oxlint", "--type-aware", ...sources] },
  { name: "types", command: ["tsc", "-p", "."] },
  { name: "imports and sizes", command: [process.execPath, "tools/tidy.ts"] },
  {
    name: "types of the console's pages",
    command: ["npm", "run", "--silent", "--workspace", "ui", "check"],
  },
  {
    name: "docs/cli.md",
    command: [process.execPath, "tools/gen-cli-docs.ts", "--check"],
  },
  {
    name: "docs/errors.md",
    command: [process.execPath, "tools/gen-errors.ts", "--check"],
  },
  {
    name: "docs/fields.md",
    command: [process.execPath, "tools/gen-fields.ts", "--check"],
  },
  { name: "unused code", command: ["knip", "--no-progress"] },
  { name: "unit tests", command: [process.execPath, "tools/test.ts", "unit"] },
];

// The test runner runs the unit tests itself, with the others, so that all are counted once.
const wanted = process.argv.includes("--without-tests") ? steps.slice(0, -1) : steps;

assertProjectNode();
let failed = false;
// Most steps use one core.
const places = Math.max(2, availableParallelism());
await runInPlaces(wanted.map(workOf), { places });
process.exitCode = failed ? 1 : 0;

function workOf({ name, command }: Step): Work {
  const runStep = async (): Promise<boolean> => {
    const startMs = performance.now();
    const { code, output } = await run(command);
    const seconds = ((performance.now() - startMs) / 1000).toFixed(1);
    console.log(`${code === 0 ? "ok  " : "FAIL"} ${name} (${seconds} s)`);
    if (code !== 0) {
      failed = true;
      console.log(output);
    }
    return code === 0;
  };
  return { name, kind: "step", kindMax: places, run: runStep };
}

function run([command = "", ...args]: readonly string[]): Promise<{
  code: number;
  output: string;
}> {
  return new Promise((resolve, reject) => {
    const child = spawn(command, args, { stdio: ["ignore", "pipe", "pipe"] });
    const chunks: Buffer[] = [];
    child.stdout.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.stderr.on("data", (chunk: Buffer) => chunks.push(chunk));
    child.on("error", reject);
    child.on("close", (code) =>
      resolve({ code: code ?? 1, output: Buffer.concat(chunks).toString() }),
    );
  });
}
