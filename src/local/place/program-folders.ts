/**
 * What a mesh's own processes are started from: an application that could write there would decide what
 * its sidecar runs after the next restart, also without root, where both have the same user.
 */
import { existsSync } from "node:fs";
import { dirname, join } from "node:path";

const parts = [".cache", "node_modules", "src", "tools", "ui", "package.json", "heddle"];

/** Files and folders of the installation that the words of `heddle` (program, options, file) lie in. */
export function programFolders(heddle: readonly string[]): readonly string[] {
  const main = heddle.at(-1) ?? "";
  const root = installationOf(main);
  const inside = root === undefined ? [dirname(main)] : parts.map((part) => join(root, part));
  return [...new Set([...inside, heddle[0] ?? ""])].filter((path) => existsSync(path));
}

/** The folder that the words of `heddle` are installed in. */
export function installationFolder(heddle: readonly string[]): string {
  const main = heddle.at(-1) ?? "";
  return installationOf(main) ?? dirname(main);
}

function installationOf(file: string): string | undefined {
  for (let folder = dirname(file); ; folder = dirname(folder)) {
    if (existsSync(join(folder, "package.json"))) return folder;
    if (folder === dirname(folder)) return undefined;
  }
}
