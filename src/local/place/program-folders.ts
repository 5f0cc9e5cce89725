/**
 * What a mesh's own processes are started from: an application that could write there would decide what
 * its sidecar runs after the next restart, also without root, where both have the same user.
 */
import { existsSync, readFileSync } from "node:fs";
import { dirname, join, sep } from "node:path";

import { rootFileName } from "../../base/project-root-file.ts";

const parts = [".cache", "node_modules", "src", "tools", "ui", "package.json", "heddle"];

/** Files and folders of the installation that the words of `heddle` (program, options, file) lie in. */
export function programFolders(heddle: readonly string[]): readonly string[] {
  const main = heddle.at(-1) ?? "";
  const root = installationOf(main);
  const inside = root === undefined ? [] : parts.map((part) => join(root, part));
  // A bundle may lie elsewhere than what it was made of.
  const beside = root !== undefined && main.startsWith(root + sep) ? [] : [dirname(main)];
  const all = [...inside, ...beside, heddle[0] ?? ""];
  return [...new Set(all)].filter((path) => existsSync(path));
}

/** The folder that the words of `heddle` are installed in. */
export function installationFolder(heddle: readonly string[]): string {
  const main = heddle.at(-1) ?? "";
  return installationOf(main) ?? dirname(main);
}

function installationOf(main: string): string | undefined {
  const rootFile = join(dirname(main), rootFileName);
  if (existsSync(rootFile)) return readFileSync(rootFile, "utf8");
  for (let folder = dirname(main); ; folder = dirname(folder)) {
    if (existsSync(join(folder, "package.json"))) return folder;
    if (folder === dirname(folder)) return undefined;
  }
}
