/** Kept inputs: one per line, a JSON string with one UTF-16 unit per byte. All of them were generated. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";

export function readCorpus(file: string): readonly Buffer[] {
  if (!existsSync(file)) return [];
  const lines = readFileSync(file, "utf8").split("\n");
  return lines.filter((line) => line !== "").map((line) => Buffer.from(JSON.parse(line), "latin1"));
}

export function writeCorpus(file: string, inputs: readonly Buffer[]): void {
  const lines = inputs.map(formatInput).toSorted((a, b) => a.length - b.length || (a < b ? -1 : 1));
  writeFileSync(file, `${lines.join("\n")}\n`);
}

/** Pure ASCII, so that a diff shows every byte. */
export function formatInput(input: Buffer): string {
  return JSON.stringify(input.toString("latin1")).replaceAll(
    /[\u007f-\u00ff]/g,
    (unit) => `\\u00${unit.charCodeAt(0).toString(16)}`,
  );
}
