import { createHash } from "node:crypto";
import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";

/** Names the content of files below `folder`: equal when nothing that was built from them changed. */
export function sourceHash(folder: string, patterns: readonly string[]): string {
  const hash = createHash("sha256").update(process.version);
  const files = globSync([...patterns], { cwd: folder }).filter(
    (file) => !file.endsWith(".test.ts"),
  );
  for (const file of files.toSorted()) {
    hash.update(`\0${file}\0`).update(readFileSync(join(folder, file)));
  }
  return hash.digest("hex").slice(0, 24);
}
