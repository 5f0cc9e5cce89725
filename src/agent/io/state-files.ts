/** Files of one sidecar in its state folder: written whole or not at all, readable by us alone. */
import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { HeddleError, messageOf } from "../../base/error.ts";

export interface StateFiles {
  readonly directory: string;
  path(name: string): string;
  /** Undefined when there is no such file. */
  read(name: string): Buffer | undefined;
  /** Throws `agent.state` with the reason (disk full, permissions). */
  write(name: string, content: string | Uint8Array): void;
  remove(name: string): void;
}

export function openStateFiles(directory: string): StateFiles {
  const path = (name: string): string => join(directory, name);
  try {
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  } catch (thrown) {
    throw new HeddleError("agent.state", `cannot make ${directory}: ${messageOf(thrown)}`);
  }
  return {
    directory,
    path,
    read(name) {
      try {
        return readFileSync(path(name));
      } catch (thrown) {
        if (thrown instanceof Error && "code" in thrown && thrown.code === "ENOENT")
          return undefined;
        throw new HeddleError("agent.state", `cannot read ${path(name)}: ${messageOf(thrown)}`);
      }
    },
    write(name, content) {
      const temporary = `${path(name)}.${process.pid}.new`;
      try {
        writeFileSync(temporary, content, { mode: 0o600, flush: true });
        renameSync(temporary, path(name));
      } catch (thrown) {
        rmSync(temporary, { force: true });
        throw new HeddleError("agent.state", `cannot write ${path(name)}: ${messageOf(thrown)}`, {
          cause: thrown,
        });
      }
    },
    remove: (name) => rmSync(path(name), { force: true }),
  };
}
