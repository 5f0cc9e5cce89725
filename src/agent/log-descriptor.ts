/**
 * Descriptors of log files. None of them makes a writer wait for whoever reads a pipe or a socket: such a
 * write holds one of libuv's threads, and Node does not end before all of those have.
 */
import { constants, fstatSync, openSync, type Stats, statSync } from "node:fs";

const { O_APPEND, O_CREAT, O_NONBLOCK, O_RDWR, O_WRONLY } = constants;
const forItsOwner = 0o600;

/** `-` and `/dev/stdout` are standard output, `/dev/stderr` standard error. Throws where a file cannot be opened. */
export function openLogDescriptor(path: string): number {
  if (path === "-" || path === "/dev/stdout") return openStream(1);
  if (path === "/dev/stderr") return openStream(2);
  // Opened for writing alone, it would be waited for until somebody reads.
  if (statSync(path, { throwIfNoEntry: false })?.isFIFO() === true) {
    return openSync(path, O_RDWR | O_NONBLOCK);
  }
  return openSync(path, O_WRONLY | O_APPEND | O_CREAT, forItsOwner);
}

function openStream(fd: 1 | 2): number {
  const stream = factsOf(fd);
  if (stream?.isSocket() === true) {
    // Node's stream of a socket does not let it wait; nothing else in Node changes a descriptor's mode.
    void (fd === 1 ? process.stdout : process.stderr);
    return fd;
  }
  if (stream?.isFIFO() !== true) return fd;
  try {
    // The other end is also that of other processes, which may like to wait: this is our own.
    return openSync(`/proc/self/fd/${fd}`, O_WRONLY | O_NONBLOCK);
  } catch {
    return fd; // no /proc, or another's pipe
  }
}

function factsOf(fd: number): Stats | undefined {
  try {
    return fstatSync(fd);
  } catch {
    return undefined; // closed: each write says so
  }
}
