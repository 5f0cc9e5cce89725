/** Leads the places of a stack trace from a bundle's chunks back to the sources, by the maps beside them. */
import { existsSync, readFileSync } from "node:fs";
import { SourceMap } from "node:module";
import { fileURLToPath } from "node:url";

const place = /(file:\/\/\S+?\.js|\/\S+?\.js):(\d+):(\d+)/g;

/** Unchanged where it leads to no chunk with a map. */
export function withSourcePositions(stack: string): string {
  const maps = new Map<string, SourceMap | undefined>();
  return stack.replaceAll(place, (whole, chunk: string, line: string, column: string) => {
    if (!maps.has(chunk)) maps.set(chunk, mapOf(chunk));
    const entry = maps.get(chunk)?.findEntry(Number(line) - 1, Number(column) - 1);
    if (entry === undefined || !("originalSource" in entry)) return whole;
    const source = entry.originalSource.replace(/^(?:\.\.\/)+/, "");
    return `${source}:${entry.originalLine + 1}:${entry.originalColumn + 1}`;
  });
}

function mapOf(chunk: string): SourceMap | undefined {
  const path = chunk.startsWith("file:") ? fileURLToPath(chunk) : chunk;
  try {
    if (!existsSync(`${path}.map`)) return undefined;
    return new SourceMap(JSON.parse(readFileSync(`${path}.map`, "utf8")));
  } catch {
    return undefined; // a map that is damaged: the place in the chunk is better than none
  }
}
