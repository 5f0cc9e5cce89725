import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

import { rootFileName } from "../base/project-root-file.ts";

/** The folder of package.json: above the sources, or of the clone that the bundle was made of. */
export function projectRoot(): string {
  let folder = dirname(fileURLToPath(import.meta.url));
  if (existsSync(join(folder, rootFileName))) {
    return readFileSync(join(folder, rootFileName), "utf8");
  }
  while (!existsSync(join(folder, "package.json"))) {
    const parent = dirname(folder);
    if (parent === folder) throw new Error(`no package.json above ${import.meta.url}`);
    folder = parent;
  }
  return folder;
}
