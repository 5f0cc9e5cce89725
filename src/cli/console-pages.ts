/**
 * Builds the console's browser application into `ui/dist` when its sources have changed since. A
 * mesh does not wait for it: the console serves the pages as soon as they are there.
 */
import { spawn } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { messageOf } from "../base/error.ts";
import { projectRoot } from "./project-root.ts";
import { sourceHash } from "./source-hash.ts";

const sources = [
  "ui/src/**/*",
  "ui/public/**/*",
  "ui/index.html",
  "ui/vite.config.ts",
  "src/console/api.ts",
  "package-lock.json",
].map((pattern) => pattern.replace("/**/*", "/**/*.*"));

/** What happened, in a sentence; undefined when the pages were current. Never rejects. */
export async function openConsolePages(): Promise<string | undefined> {
  const root = projectRoot();
  const folder = join(root, "ui/dist");
  const stamp = join(folder, ".sources");
  try {
    const hash = sourceHash(root, sources);
    if (existsSync(stamp) && readFileSync(stamp, "utf8") === hash) return undefined;
    const unfinished = mkdtempSync(join(root, "ui/.building-"));
    try {
      await build(root, unfinished);
      writeFileSync(join(unfinished, ".sources"), hash);
      rmSync(folder, { recursive: true, force: true });
      renameSync(unfinished, folder);
    } finally {
      rmSync(unfinished, { recursive: true, force: true });
    }
    return "the console's pages are built";
  } catch (error) {
    return `the console has no pages: they could not be built: ${messageOf(error)}`;
  }
}

function build(root: string, outDir: string): Promise<void> {
  const vite = join(root, "node_modules/vite/bin/vite.js");
  const child = spawn(
    process.execPath,
    [vite, "build", "--outDir", outDir, "--emptyOutDir", "--logLevel", "error"],
    { cwd: join(root, "ui"), stdio: ["ignore", "ignore", "pipe"] },
  );
  const errors: Buffer[] = [];
  child.stderr.on("data", (chunk: Buffer) => errors.push(chunk));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code) => {
      if (code === 0) resolve();
      else reject(new Error(Buffer.concat(errors).toString("utf8").slice(0, 2000)));
    });
  });
}
