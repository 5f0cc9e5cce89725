/**
 * What a process prints, in a file of bounded size: when it is full it becomes `<name>.1` and a new
 * one begins, so at most two times `bytesMax` lie on disk. A full disk loses output, never the mesh.
 */
import { closeSync, openSync, renameSync, statSync, writeSync } from "node:fs";

const bytesMaxDefault = 8 * 1024 * 1024;

export class LogFile {
  readonly path: string;
  readonly #bytesMax: number;
  #descriptor: number | undefined;
  #bytes = 0;
  #lostBytes = 0;

  constructor(path: string, bytesMax: number = bytesMaxDefault) {
    this.path = path;
    this.#bytesMax = bytesMax;
    this.#open();
  }

  /** Bytes that could not be written since the file was opened. */
  get lostBytes(): number {
    return this.#lostBytes;
  }

  write(chunk: Uint8Array): void {
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
    this.write(Buffer.from(`--- ${new Date().toISOString()} ${text}\n`));
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
