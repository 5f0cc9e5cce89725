/**
 * What a process prints, in a file of bounded size: when it is full it becomes `<name>.1` and a new
 * one begins, so at most two times `bytesMax` lie on disk. A full disk loses output, never the mesh.
 */
import { closeSync, openSync, renameSync, statSync, writeSync } from "node:fs";

const bytesMaxDefault = 8 * 1024 * 1024;
const tailBytes = 4096;
const complaintLines = 30;
const complaintCharactersMax = 200;
const complaint = /\b\w*(?:error|exception|panic|fatal|denied|cannot|can't|not found|no such)\b/i;

export class LogFile {
  readonly path: string;
  readonly #bytesMax: number;
  #descriptor: number | undefined;
  #bytes = 0;
  #lostBytes = 0;
  #tail: Buffer = Buffer.alloc(0);

  constructor(path: string, bytesMax: number = bytesMaxDefault) {
    this.path = path;
    this.#bytesMax = bytesMax;
    this.#open();
  }

  /** Bytes that could not be written since the file was opened. */
  get lostBytes(): number {
    return this.#lostBytes;
  }

  /** What a process has printed. */
  write(chunk: Uint8Array): void {
    const tail = chunk.length >= tailBytes ? chunk : Buffer.concat([this.#tail, chunk]);
    this.#tail = Buffer.from(tail.subarray(-tailBytes));
    this.#append(chunk);
  }

  /** The latest line that says why it failed, or else the last one; cut to a readable length. */
  lastComplaint(): string | undefined {
    const lines = this.#tail.toString("utf8").split("\n").map(plainLine);
    const said = lines.filter((line) => line !== "" && !/^(?:at |Node\.js v)/.test(line));
    const last = said.slice(-complaintLines).findLast((line) => complaint.test(line));
    return (last ?? said.at(-1))?.slice(0, complaintCharactersMax);
  }

  #append(chunk: Uint8Array): void {
    if (this.#bytes > 0 && this.#bytes + chunk.length > this.#bytesMax) this.#rotate();
    if (this.#descriptor === undefined) {
      this.#lostBytes += chunk.length;
      return;
    }
    try {
      writeSync(this.#descriptor, chunk);
      this.#bytes += chunk.length;
    } catch {
      this.#lostBytes += chunk.length; // ENOSPC: counted, and tried again with the next chunk
    }
  }

  /** One line of the supervisor's own, between the process's. */
  note(text: string): void {
    this.#append(Buffer.from(`--- ${new Date().toISOString()} ${text}\n`));
  }

  close(): void {
    if (this.#descriptor !== undefined) closeSync(this.#descriptor);
    this.#descriptor = undefined;
  }

  #open(): void {
    try {
      this.#descriptor = openSync(this.path, "a", 0o600);
      this.#bytes = statSync(this.path).size;
    } catch {
      this.#descriptor = undefined;
    }
  }

  #rotate(): void {
    this.close();
    try {
      renameSync(this.path, `${this.path}.1`);
    } catch {
      // The file was taken away: the new one takes its place.
    }
    this.#bytes = 0;
    this.#open();
  }
}

/** Without colours and other control characters, which have no place in a table. */
function plainLine(line: string): string {
  const plain = line.replaceAll(/\p{Cc}\[[0-9;]*[A-Za-z]|\p{Cc}/gu, " ");
  return plain.replace(/^heddle-init: \d+: /, "").trim();
}
