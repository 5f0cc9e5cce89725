/**
 * One mesh, one supervisor: a file in the state directory names the process that runs it. A lease
 * whose process is gone (also by `kill -9`) is taken over; a process id that was given to another
 * process since is recognised by its start time.
 */
import { execFileSync } from "node:child_process";
import { linkSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";

import { HeddleError } from "../base/error.ts";
import { makePrivateDirectory } from "./run/replace-file.ts";

export interface LeaseHolder {
  readonly pid: number;
  /** Of the process, as the system writes it. */
  readonly startTime: string;
  readonly directory: string;
}

export interface Lease extends Disposable {
  readonly path: string;
}

/** Takes the lease of a state directory; refuses with a sentence when a running mesh holds it. */
export function takeLease(stateDir: string, directory: string): Lease {
  makePrivateDirectory(stateDir);
  const path = leasePath(stateDir);
  const own: LeaseHolder = {
    pid: process.pid,
    startTime: startTimeOf(process.pid) ?? "",
    directory,
  };
  const draft = `${path}.${process.pid}`;
  writeFileSync(draft, JSON.stringify(own), { mode: 0o600 });
  try {
    claim(draft, path);
  } finally {
    rmSync(draft, { force: true });
  }
  return {
    path,
    [Symbol.dispose]() {
      if (readHolder(path)?.pid === process.pid) rmSync(path, { force: true });
    },
  };
}

/** Who runs the mesh of this state directory; undefined when nobody does. */
export function leaseHolder(stateDir: string): LeaseHolder | undefined {
  const holder = readHolder(leasePath(stateDir));
  return holder !== undefined && isAlive(holder) ? holder : undefined;
}

/** Whether the process that took a lease still runs. */
export function isAlive(holder: LeaseHolder): boolean {
  return startTimeOf(holder.pid) === holder.startTime;
}

function leasePath(stateDir: string): string {
  return join(stateDir, "lease.json");
}

// A hard link appears with its whole content or not at all, so no reader sees half a lease.
function claim(draft: string, path: string): void {
  for (let attempt = 0; attempt < 5; attempt += 1) {
    try {
      linkSync(draft, path);
      return;
    } catch (thrown) {
      if (!(thrown instanceof Error) || !("code" in thrown) || thrown.code !== "EEXIST")
        throw thrown;
    }
    const holder = readHolder(path);
    if (holder !== undefined && isAlive(holder)) {
      throw new HeddleError(
        "local.running",
        `this mesh already runs, as process ${holder.pid} from ${holder.directory}; end it with 'heddle down'`,
      );
    }
    rmSync(path, { force: true });
  }
  throw new HeddleError("local.lease", `could not take ${path}: others took it again and again`);
}

function readHolder(path: string): LeaseHolder | undefined {
  try {
    const value: unknown = JSON.parse(readFileSync(path, "utf8"));
    if (typeof value !== "object" || value === null) return undefined;
    const { pid, startTime, directory } = { pid: 0, startTime: "", directory: "", ...value };
    if (typeof pid !== "number" || !Number.isInteger(pid) || pid <= 0) return undefined;
    return { pid, startTime: String(startTime), directory: String(directory) };
  } catch {
    return undefined; // absent, or torn by a full disk: nobody can be shown to hold it
  }
}

/** The start time of a process; undefined when there is none of this id. */
function startTimeOf(pid: number): string | undefined {
  if (process.platform === "linux") {
    try {
      const stat = readFileSync(`/proc/${pid}/stat`, "utf8");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      // proc(5): fields 3 (state) and 22 (start time in clock ticks); a zombie no longer runs.
      return fields[0] === "Z" ? undefined : fields[19];
    } catch {
      return undefined;
    }
  }
  try {
    return execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }).trim();
  } catch {
    return undefined;
  }
}
