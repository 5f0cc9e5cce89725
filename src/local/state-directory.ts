/**
 * The folder of one mesh's state: made private, and found fit before anything is started, so that a
 * full disk or a missing permission is one sentence and not a dozen processes that fail.
 */
import { accessSync, constants, statfsSync } from "node:fs";

import { HeddleError, messageOf } from "../base/error.ts";
import { makePrivateDirectory } from "./run/replace-file.ts";

/** Logs, snapshots and certificates of a small mesh; less is as good as full. */
const freeBytesMin = 16 * 1024 * 1024;

/** Makes it and those above it; throws `local.state-dir` with what to do. */
export function openStateDirectory(stateDir: string): void {
  try {
    makePrivateDirectory(stateDir);
    accessSync(stateDir, constants.R_OK | constants.W_OK | constants.X_OK);
  } catch (thrown) {
    throw new HeddleError("local.state-dir", whyNot(stateDir, thrown), { cause: thrown });
  }
  const freeBytes = freeBytesOf(stateDir);
  if (freeBytes === undefined || freeBytes >= freeBytesMin) return;
  const [free, least] = [freeBytes, freeBytesMin].map((bytes) => Math.floor(bytes / 1024));
  throw new HeddleError(
    "local.state-dir",
    `the disk of the state directory ${stateDir} is full: ${free} KB are free, ${least} KB are needed; free some space or choose another directory with --state-dir`,
  );
}

function freeBytesOf(directory: string): number | undefined {
  try {
    const { bavail, bsize } = statfsSync(directory);
    return bavail * bsize;
  } catch {
    return undefined; // a file system that does not say
  }
}

function whyNot(stateDir: string, thrown: unknown): string {
  const code = thrown instanceof Error && "code" in thrown ? thrown.code : undefined;
  const choose = "choose another directory with --state-dir";
  switch (code) {
    case "EACCES":
    case "EPERM":
      return `the state directory ${stateDir} may not be written by this user; change its owner or ${choose}`;
    case "EROFS":
      return `the state directory ${stateDir} is on a read-only file system; ${choose}`;
    case "ENOSPC":
    case "EDQUOT":
      return `the disk of the state directory ${stateDir} is full; free some space or ${choose}`;
    case "ENOTDIR":
    case "EEXIST":
      return `the state directory ${stateDir} cannot be made: a file is in its way; ${choose}`;
    case "ENOENT":
      return `the state directory ${stateDir} cannot be made there: its file system takes no folders; ${choose}`;
    default:
      return `the state directory ${stateDir} cannot be used: ${messageOf(thrown)}`;
  }
}
