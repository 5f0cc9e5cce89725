/**
 * Where Node keeps what V8 has compiled, 40 ms of each process's start: beside the code, so that it goes
 * when the code does, and not in a folder of the machine where anybody may have put something. Whoever
 * may not write there has it among their own caches, of one version at a time.
 */
import { existsSync, rmSync } from "node:fs";
import { constants, enableCompileCache, flushCompileCache } from "node:module";
import { basename, dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { projectRoot } from "./project-root.ts";

const folderName = "compile-cache";

/** First of all: what was loaded before is compiled each time. NODE_COMPILE_CACHE goes before it. */
export function useCompileCache(): void {
  const file = fileURLToPath(import.meta.url);
  const isBundle = file.endsWith(".js");
  const beside = isBundle ? join(dirname(file), folderName) : ofSources(projectRoot());
  const { status } = enableCompileCache(beside);
  if (status !== constants.compileCacheStatus.FAILED) return;
  const all = usersOwn();
  if (all === undefined) return;
  const own = join(all, isBundle ? basename(dirname(file)) : "sources");
  try {
    if (!existsSync(own)) rmSync(all, { recursive: true, force: true });
    enableCompileCache(own);
  } catch {
    // It costs a few milliseconds to do without.
  }
}

/** What this process has compiled, for those that start before it ends, or when it has not ended well: Node writes it at a good end alone. */
export function keepCompiled(): void {
  flushCompileCache();
}

/** What was compiled of the sources before they changed; bundles take theirs along. */
export function removeCompiledSources(root: string): void {
  const all = usersOwn();
  const folders = [ofSources(root), ...(all === undefined ? [] : [join(all, "sources")])];
  for (const folder of folders) {
    try {
      rmSync(folder, { recursive: true, force: true });
    } catch {
      // Another user's: it costs space alone.
    }
  }
}

function ofSources(root: string): string {
  return join(root, ".cache", folderName);
}

function usersOwn(): string | undefined {
  const { XDG_CACHE_HOME, HOME } = process.env;
  const caches = XDG_CACHE_HOME ?? (HOME === undefined ? undefined : join(HOME, ".cache"));
  return caches === undefined || caches === "" ? undefined : join(caches, "heddle", folderName);
}
