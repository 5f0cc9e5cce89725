/**
 * Plain JavaScript for the processes of a mesh: one file and a few lazily loaded chunks, made from the
 * sources on first start and kept by content in `.cache/bundle`, or in the state directory where the
 * clone is not to be written. Stripping types at run time would cost each of a dozen processes 18 MB
 * and a good part of a second.
 */
import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import {
  chmodSync,
  existsSync,
  mkdirSync,
  mkdtempSync,
  renameSync,
  rmSync,
  writeFileSync,
} from "node:fs";
import { join } from "node:path";

import { systemClock } from "../base/clock.ts";
import { messageOf } from "../base/error.ts";
import { rootFileName } from "../base/project-root-file.ts";
import { removeOldBundles, touchBundle } from "./bundle/old-bundles.ts";
import { removeCompiledSources } from "./compile-cache.ts";
import { projectRoot } from "./project-root.ts";
import { sourceHash } from "./source-hash.ts";

export interface Bundle {
  /** What to run: the bundle's main file, or the sources' when no bundle could be made. */
  readonly main: string;
  /** Why it is not the bundle. */
  readonly problem?: string;
}

/** `otherwise` is a folder of the user's own, for a clone that may not be written. */
export async function openBundle(otherwise?: string): Promise<Bundle> {
  const root = projectRoot();
  const name = bundleName(root);
  const places = [join(root, ".cache/bundle")];
  if (otherwise !== undefined) places.push(otherwise);
  let problem = "";
  for (const place of places) {
    const folder = join(place, name);
    const main = join(folder, "main.js");
    if (existsSync(main)) {
      touchBundle(folder, systemClock);
      return { main };
    }
    try {
      await build(root, folder, place);
      removeOldBundles(place, folder, systemClock);
      removeCompiledSources(root);
      return { main };
    } catch (error) {
      problem ||= messageOf(error);
    }
  }
  return {
    main: join(root, "src/cli/main.ts"),
    problem: `running from source: no bundle could be made: ${problem}`,
  };
}

/** Of content and place: a clone that was moved, or a second one, is not led to the first by its bundle. */
export function bundleName(root: string): string {
  const content = sourceHash(root, ["src/**/*.ts", "package-lock.json"]);
  return createHash("sha256").update(`${root}\0${content}`).digest("hex").slice(0, 24);
}

/** Builds beside and renames: a start at the same time finds a whole bundle or none. */
async function build(root: string, folder: string, place: string): Promise<void> {
  mkdirSync(place, { recursive: true });
  const unfinished = mkdtempSync(join(place, ".building-"));
  try {
    await runBuild(root, unfinished);
    writeFileSync(join(unfinished, rootFileName), root);
    // In a folder of its own Node would have to look at each file for what it is.
    writeFileSync(join(unfinished, "package.json"), '{ "type": "module" }\n');
    // Others who may read the sources may read what is made of them.
    chmodSync(unfinished, 0o755);
    renameSync(unfinished, folder);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    if (!existsSync(join(folder, "main.js"))) throw error;
  }
}

function runBuild(root: string, folder: string): Promise<void> {
  const child = spawn(
    process.execPath,
    [...process.execArgv, join(root, "src/cli/bundle/build.ts"), root, folder],
    { stdio: ["ignore", "ignore", "pipe"] },
  );
  const errors: Buffer[] = [];
  child.stderr.on("data", (chunk: Buffer) => errors.push(chunk));
  return new Promise((resolve, reject) => {
    child.on("error", reject);
    child.on("close", (code, signal) => {
      if (code === 0) return resolve();
      const said = Buffer.concat(errors).toString("utf8").trim().slice(0, 500);
      reject(new Error(said === "" ? `the bundler ended with ${code ?? signal}` : said));
    });
  });
}
