/** Files of the state directory: private, and replaced whole, so that no reader sees half a file. */
import { mkdirSync, renameSync, writeFileSync } from "node:fs";

/** Writes beside `path` and renames; mode 0600. */
export function replaceFile(path: string, text: string): void {
  const temporary = `${path}.${process.pid}.new`;
  writeFileSync(temporary, text, { mode: 0o600 });
  renameSync(temporary, path);
}

/** Makes a directory, and those above it, of mode 0700. */
export function makePrivateDirectory(path: string): void {
  mkdirSync(path, { recursive: true, mode: 0o700 });
}
