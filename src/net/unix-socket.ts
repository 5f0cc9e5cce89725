/** Unix sockets as files: whose they are, and what is left of them. */
import { chmod, lstat, unlink } from "node:fs/promises";
import type { Socket } from "node:net";

import { descriptorOf } from "./socket-handle.ts";
import { readPeerProcess } from "./sysio/socket-options.ts";

/** Removes what a killed process left; anything but a socket is somebody's and stays. */
export async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isSocket() === true) await unlink(path);
}

/** From now on only its owner connects; until then whoever `withPrivateMask()` or its folder lets. */
export async function makePrivateSocket(path: string): Promise<void> {
  await chmod(path, 0o600);
}

/** What is made within the call, at once, is its owner's alone. */
export function withPrivateMask<T>(make: () => T): T {
  const before = process.umask(0o177);
  try {
    return make();
  } finally {
    process.umask(before);
  }
}

/** Whether this very process has connected. False where the kernel cannot be asked. */
export function isOwnProcess(socket: Socket): boolean {
  return readPeerProcess(descriptorOf(socket)) === process.pid;
}
