/**
 * Listening Unix sockets. One is a file, which stays when its process ends and is taken away by the next
 * that listens there; or, on Linux, a name in a space of names of its own (`@name`), of which nothing stays.
 */
import { chmodSync, lstatSync, unlinkSync } from "node:fs";

/** What tells this file from another that has taken its place. */
export interface PipeFile {
  readonly path: string;
  readonly device: number;
  readonly inode: number;
}

/** Before it is bound. Anything but a socket is somebody's, and stays: binding fails then. */
export function clearPipe(address: string): void {
  if (address.startsWith("@")) return;
  const found = lstatSync(address, { throwIfNoEntry: false });
  if (found?.isSocket() === true) unlinkSync(address);
}

/**
 * Once it is bound, and before it listens: who may connect (0: whoever the process's mask leaves). Undefined
 * for a name that is no file. Throws where the file cannot be had.
 */
export function pipeFileOf(address: string, mode: number): PipeFile | undefined {
  if (address.startsWith("@")) return undefined;
  if (mode !== 0) chmodSync(address, mode);
  const { dev, ino } = lstatSync(address);
  return { path: address, device: dev, inode: ino };
}

/** Not where another process listens there by now, with a file of its own. */
export function removePipe({ path, device, inode }: PipeFile): void {
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined || found.dev !== device || found.ino !== inode) return;
  try {
    unlinkSync(path);
  } catch {
    // Its folder is no longer ours to write: whoever listens there next takes it away.
  }
}
