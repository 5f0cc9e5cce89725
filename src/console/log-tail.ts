/** The last lines of a log file, and what follows them, read in bounded pieces. */
import { type FileHandle, open } from "node:fs/promises";

import type { LogPiece } from "./api.ts";

const pieceBytes = 64 * 1024;
const tailBytesMax = 4 * 1024 * 1024;

/**
 * Whole lines, oldest first; empty when there is no such file yet. What a file that has just become full
 * leaves to be wished comes from `<file>.1`.
 */
export async function readLogTail(file: string, lines: number): Promise<string> {
  const text = (await withFile(file, (handle) => lastLines(handle, lines)))?.text ?? "";
  return (await linesBefore(file, text, lines)) + text;
}

async function linesBefore(file: string, text: string, lines: number): Promise<string> {
  const missing = lines - text.split("\n").length + (text.endsWith("\n") || text === "" ? 1 : 0);
  if (missing <= 0) return "";
  const before = await withFile(`${file}.1`, (handle) => lastLines(handle, missing));
  return before?.text ?? "";
}

/** The last lines that are ended, and where they end. */
export async function startOfLog(file: string, lines: number): Promise<LogPiece> {
  const found = await withFile(file, async (handle) => {
    const { text, end } = await lastLines(handle, lines);
    const ended = text.slice(0, text.lastIndexOf("\n") + 1);
    const before = await linesBefore(file, ended, lines);
    return { text: before + ended, position: positionOf((await handle.stat()).ino, end) };
  });
  return found ?? { text: "", position: positionOf(0, 0) };
}

/**
 * The ended lines after a position that was given before. A file that became full in between, and is
 * called `<file>.1` now, is read to its end first.
 */
export async function continueLog(file: string, position: string): Promise<LogPiece> {
  const [ino = 0, from = 0] = position.split(":").map(Number);
  const current = await withFile(file, async (handle) => {
    const stats = await handle.stat();
    const start = stats.ino === ino && from <= stats.size ? from : 0;
    return { ino: stats.ino, ...(await linesAfter(handle, start, stats.size)) };
  });
  if (current === undefined) return { text: "", position };
  const next = positionOf(current.ino, current.end);
  if (current.ino === ino || ino === 0) return { text: current.text, position: next };
  const rest = await withFile(`${file}.1`, async (handle) => {
    const stats = await handle.stat();
    return stats.ino === ino ? linesAfter(handle, from, stats.size) : undefined;
  });
  return { text: `${rest?.text ?? ""}${current.text}`, position: next };
}

function positionOf(ino: number, offset: number): string {
  return `${ino}:${offset}`;
}

/** Undefined where there is no such file. */
async function withFile<Answer>(
  file: string,
  read: (handle: FileHandle) => Promise<Answer>,
): Promise<Answer | undefined> {
  const handle = await open(file).catch((error: unknown) => {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return undefined;
    throw error;
  });
  if (handle === undefined) return undefined;
  try {
    return await read(handle);
  } finally {
    await handle.close();
  }
}

interface Read {
  readonly text: string;
  /** Bytes of the file up to the end of the last line that is ended. */
  readonly end: number;
}

async function lastLines(handle: FileHandle, lines: number): Promise<Read> {
  const { size } = await handle.stat();
  let start = size;
  let tail = Buffer.alloc(0);
  while (start > 0 && size - start < tailBytesMax && countLines(tail) <= lines) {
    const from = Math.max(0, start - pieceBytes);
    const piece = await bytesOf(handle, from, start);
    tail = Buffer.concat([piece, tail]);
    start = from;
  }
  const all = tail.toString("utf8").split("\n");
  // A piece may begin within a line.
  if (start > 0) all.shift();
  const isEnded = all.at(-1) === "";
  if (isEnded) all.pop();
  const shown = lines === 0 ? [] : all.slice(-lines);
  const text = shown.join("\n") + (isEnded && shown.length > 0 ? "\n" : "");
  return { text, end: size - (tail.length - tail.lastIndexOf(10) - 1) };
}

/** A line that alone is longer than a piece may be is given in parts. */
async function linesAfter(handle: FileHandle, from: number, size: number): Promise<Read> {
  const piece = await bytesOf(handle, from, Math.min(size, from + tailBytesMax));
  const ended = piece.lastIndexOf(10) + 1;
  const whole = ended === 0 && piece.length === tailBytesMax ? piece.length : ended;
  return { text: piece.toString("utf8", 0, whole), end: from + whole };
}

async function bytesOf(handle: FileHandle, from: number, to: number): Promise<Buffer> {
  const piece = Buffer.alloc(to - from);
  const { bytesRead } = await handle.read(piece, 0, piece.length, from);
  return piece.subarray(0, bytesRead);
}

function countLines(bytes: Buffer): number {
  let count = 0;
  for (let at = bytes.indexOf(10); at !== -1; at = bytes.indexOf(10, at + 1)) count++;
  return count;
}
