/**
 * Listening Unix sockets. One is a file, which stays when its process ends and is taken away by the next
 * that listens there; or, on Linux, a name in a space of names of its own (`@name`), of which nothing stays.
 */
import {
  chmodSync,
  closeSync,
  constants,
  fstatSync,
  lstatSync,
  openSync,
  unlinkSync,
} from "node:fs";

/** What tells this file from another that has taken its place. */
export interface PipeFile {
  readonly path: string;
  /** Device and inode. */
  readonly identity: string;
}

/** Of the files that this process listens on: none of them is anybody's to take, under whatever path. */
const listening = new Set<string>();

/** `O_PATH` of Linux: a file that is to be named, not opened. */
const pathOnly = 0o10000000;

/**
 * Before it is bound. Anything but a socket is somebody's, and stays: binding fails then. Throws where
 * another listener of this process is there.
 */
export function clearPipe(address: string): void {
  if (address.startsWith("@")) return;
  const found = lstatSync(address, { throwIfNoEntry: false });
  if (found?.isSocket() !== true) return;
  if (listening.has(identityOf(found)))
    throw new Error("another listener of this process is there");
  unlinkSync(address);
}

/**
 * Once it is bound, and before it listens: who may connect (0: whoever the process's mask leaves). Undefined
 * for a name that is no file. Throws where the file cannot be had.
 */
export function pipeFileOf(address: string, mode: number): PipeFile | undefined {
  if (address.startsWith("@")) return undefined;
  // Whoever may write in its folder may have put something else in its place: a link to what is ours alone.
  const fd = openSync(address, pathOnly | constants.O_NOFOLLOW);
  try {
    const found = fstatSync(fd);
    if (!found.isSocket()) throw new Error("something else has taken the socket's place");
    // By this name, as `fchmod` takes no such descriptor.
    if (mode !== 0) chmodSync(`/proc/self/fd/${fd}`, mode);
    const identity = identityOf(found);
    listening.add(identity);
    return { path: address, identity };
  } finally {
    closeSync(fd);
  }
}

/** Before it is closed. Not where another process listens there by now, with a file of its own. */
export function removePipe({ path, identity }: PipeFile): void {
  listening.delete(identity);
  const found = lstatSync(path, { throwIfNoEntry: false });
  if (found === undefined || identityOf(found) !== identity) return;
  try {
    unlinkSync(path);
  } catch {
    // Its folder is no longer ours to write: whoever listens there next takes it away.
  }
}

function identityOf({ dev, ino }: { readonly dev: number; readonly ino: number }): string {
  return `${dev} ${ino}`;
}
