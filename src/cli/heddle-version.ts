/** Apart from the command that prints it: whoever only needs the number loads no YAML for it. */
import { readFileSync } from "node:fs";
import { join } from "node:path";

import { projectRoot } from "./project-root.ts";

export function heddleVersion(): string {
  const manifest: { version: string } = JSON.parse(
    readFileSync(join(projectRoot(), "package.json"), "utf8"),
  );
  return manifest.version;
}
