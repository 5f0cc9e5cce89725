/** Why the control plane ended, in its own words, from the end of its log. */
import { closeSync, fstatSync, openSync, readSync } from "node:fs";
import { join } from "node:path";

const tailBytes = 16 * 1024;

/** Undefined when it runs, or ended without a word. */
export function lastWordsOfControl(stateDir: string): string | undefined {
  const lines = tailOf(join(stateDir, "logs", "control.log"))
    .trimEnd()
    .split("\n");
  // Its supervisor's note comes last until a start that gets further.
  const [said, note] = lines.slice(-2);
  if (note === undefined || !/^--- \S+ ended /.test(note)) return undefined;
  return /^heddle: (.+)$/.exec(said ?? "")?.[1];
}

function tailOf(file: string): string {
  let descriptor: number;
  try {
    descriptor = openSync(file, "r");
  } catch {
    return ""; // it was never started
  }
  try {
    const { size } = fstatSync(descriptor);
    const bytes = Buffer.alloc(Math.min(size, tailBytes));
    return bytes.toString(
      "utf8",
      0,
      readSync(descriptor, bytes, 0, bytes.length, size - bytes.length),
    );
  } finally {
    closeSync(descriptor);
  }
}
