/** Unix sockets as files: whose they are, and what is left of them. */
import { chmod, lstat, unlink } from "node:fs/promises";

/** Removes what a killed process left; anything but a socket is somebody's and stays. */
export async function removeStaleSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (found?.isSocket() === true) await unlink(path);
}

/** From now on only its owner connects; its folder must keep others away until then. */
export async function makePrivateSocket(path: string): Promise<void> {
  await chmod(path, 0o600);
}
