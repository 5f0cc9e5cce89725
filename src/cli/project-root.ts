import { existsSync, readFileSync } from "node:fs";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";

/** Beside a bundle: names the clone that it was made of, which may lie elsewhere. */
export const rootFileName = "project-root";

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
