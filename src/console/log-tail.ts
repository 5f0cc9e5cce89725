/** The last lines of a log file, read from its end in bounded pieces. */
import { open } from "node:fs/promises";

const pieceBytes = 64 * 1024;
const tailBytesMax = 4 * 1024 * 1024;

/** Whole lines, oldest first; empty when there is no such file yet. */
export async function readLogTail(file: string, lines: number): Promise<string> {
  const handle = await open(file).catch((error: unknown) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  });
  if (handle === undefined || lines === 0) {
    await handle?.close();
    return "";
  }
  try {
    let start = (await handle.stat()).size;
    const end = start;
    let tail = Buffer.alloc(0);
    while (start > 0 && end - start < tailBytesMax && countLines(tail) <= lines) {
      const from = Math.max(0, start - pieceBytes);
      const piece = Buffer.alloc(start - from);
      await handle.read(piece, 0, piece.length, from);
      tail = Buffer.concat([piece, tail]);
      start = from;
    }
    const all = tail.toString("utf8").split("\n");
    // A piece may begin within a line.
    if (start > 0) all.shift();
    const isEnded = all.at(-1) === "";
    if (isEnded) all.pop();
    return all.slice(-lines).join("\n") + (isEnded && all.length > 0 ? "\n" : "");
  } finally {
    await handle.close();
  }
}

function countLines(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(10); at !== -1; at = bytes.indexOf(10, at + 1)) count++;
  return count;
}
