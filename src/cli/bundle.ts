/**
 * One file (and a few lazily loaded chunks) of plain JavaScript for the processes of a mesh, made
 * from the sources on first start and kept by content in `.cache/bundle`. Stripping types at run
 * time would cost each of a dozen processes 18 MB and a good part of a second.
 */
import { existsSync, mkdirSync, mkdtempSync, renameSync, rmSync } from "node:fs";
import { join } from "node:path";
import { stripVTControlCharacters } from "node:util";

import { messageOf } from "../base/error.ts";
import { projectRoot } from "./project-root.ts";
import { sourceHash } from "./source-hash.ts";

export interface Bundle {
  /** What to run: the bundle's main file, or the sources' when no bundle could be made. */
  readonly main: string;
  /** Why it is not the bundle. */
  readonly problem?: string;
}

export async function openBundle(): Promise<Bundle> {
  const root = projectRoot();
  const source = join(root, "src/cli/main.ts");
  try {
    const folder = join(
      root,
      ".cache/bundle",
      sourceHash(root, ["src/**/*.ts", "package-lock.json"]),
    );
    const main = join(folder, "main.js");
    if (!existsSync(main)) await build(root, source, folder);
    return { main };
  } catch (error) {
    return {
      main: source,
      problem: `running from source: no bundle could be made: ${firstSentence(messageOf(error))}`,
    };
  }
}

/** The bundler paints its messages, over many lines. */
function firstSentence(message: string): string {
  const lines = stripVTControlCharacters(message)
    .split("\n")
    .filter((line) => line.trim() !== "");
  return lines.slice(0, 2).join(" ").trim();
}

/**
 * One character beyond Latin 1, in a comment even, and V8 keeps a whole chunk at two bytes for each
 * character: 1.5 MB more in every sidecar. The escape means the same in strings, templates, regular
 * expressions and names.
 */
function inAscii(code: string): string {
  return code.replaceAll(
    /[\u0080-\uffff]/g,
    (unit) => `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );
}

/** Builds beside and renames: a start at the same time finds a whole bundle or none. */
async function build(root: string, source: string, folder: string): Promise<void> {
  const { rolldown } = await import("rolldown");
  const bundles = join(root, ".cache/bundle");
  mkdirSync(bundles, { recursive: true });
  const unfinished = mkdtempSync(join(bundles, ".building-"));
  const build = await rolldown({
    input: { main: source, "data-worker": join(root, "src/proxy/workers/worker-main.ts") },
    platform: "node",
    external: [/^node:/, "rolldown"],
    logLevel: "silent",
    plugins: [{ name: "ascii", renderChunk: inAscii }],
  });
  try {
    await build.write({
      dir: unfinished,
      format: "esm",
      entryFileNames: "[name].js",
      chunkFileNames: "[name]-[hash].js",
      minify: false,
    });
    renameSync(unfinished, folder);
  } catch (error) {
    rmSync(unfinished, { recursive: true, force: true });
    if (!existsSync(join(folder, "main.js"))) throw error;
  } finally {
    await build.close();
  }
}
