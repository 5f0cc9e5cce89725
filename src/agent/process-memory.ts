/**
 * How much memory this process uses, and may use: from /proc and from the cgroup it is in, of version
 * 1 or 2. Where there are none (another system, a masked /proc) there is no limit to keep.
 */
import { readFileSync } from "node:fs";

import type { ProcessMemory } from "../base/process-memory.ts";

/** More is no limit: version 1 says so with the largest number of pages. */
const unlimitedBytes = 2 ** 50;
const rootOfTwo = "/sys/fs/cgroup";
const rootOfOne = "/sys/fs/cgroup/memory";

export interface MemoryFiles {
  /** Undefined where there is none, or it may not be read. */
  readonly read: (path: string) => string | undefined;
}

export function openProcessMemory({ read }: MemoryFiles = { read: readQuietly }): ProcessMemory {
  const anonymousBytes = (): number => {
    const status = read("/proc/self/status") ?? "";
    return Number(/^RssAnon:\s+(\d+)/m.exec(status)?.[1] ?? 0) * 1024;
  };
  const group = findLimit(read);
  if (group === undefined) return { anonymousBytes };
  const { limitBytes, usageFile, statFile, procsFile } = group;
  const usedBytes = (): number => {
    // Others' memory is no reason to refuse our requests.
    const pids = (read(procsFile) ?? "").trim().split("\n");
    if (pids.length !== 1 || pids[0] === "") return anonymousBytes();
    const usage = Number(read(usageFile) ?? 0);
    return Math.max(0, usage - droppable(read(statFile) ?? ""));
  };
  return { anonymousBytes, limited: { limitBytes, usedBytes } };
}

interface LimitedGroup {
  readonly limitBytes: number;
  readonly usageFile: string;
  readonly statFile: string;
  readonly procsFile: string;
}

/** The group nearest to the process that has a limit; what counts is the smallest above it. */
function findLimit(read: MemoryFiles["read"]): LimitedGroup | undefined {
  const lines = (read("/proc/self/cgroup") ?? "").split("\n");
  const pathOf = (pattern: RegExp): string | undefined =>
    lines.map((line) => pattern.exec(line)?.[1]).find((path) => path !== undefined);
  const one = pathOf(/^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/);
  const two = pathOf(/^0::(.*)$/);
  const found =
    one === undefined
      ? findUpwards(read, { root: rootOfTwo, path: two ?? "/", isOne: false })
      : findUpwards(read, { root: rootOfOne, path: one, isOne: true });
  return found;
}

interface GroupPlace {
  readonly root: string;
  readonly path: string;
  readonly isOne: boolean;
}

function findUpwards(read: MemoryFiles["read"], place: GroupPlace): LimitedGroup | undefined {
  const { root, isOne } = place;
  const names = place.path.split("/").filter((name) => name !== "" && name !== "..");
  let smallest: LimitedGroup | undefined;
  // In a container the path may be the host's, and its files lie at the root.
  for (let depth = names.length; depth >= 0; depth--) {
    const folder = [root, ...names.slice(0, depth)].join("/");
    const text = read(`${folder}/${isOne ? "memory.limit_in_bytes" : "memory.max"}`)?.trim();
    const limitBytes = Number(text ?? Number.NaN); // `max` is no number
    if (!(limitBytes > 0 && limitBytes < unlimitedBytes)) continue;
    if (smallest !== undefined && smallest.limitBytes <= limitBytes) continue;
    smallest = {
      limitBytes,
      usageFile: `${folder}/${isOne ? "memory.usage_in_bytes" : "memory.current"}`,
      statFile: `${folder}/memory.stat`,
      procsFile: `${folder}/cgroup.procs`,
    };
  }
  return smallest;
}

/** Pages of files: the kernel drops them before it ends anybody. */
function droppable(stat: string): number {
  const of = (name: string): number =>
    Number(new RegExp(`^(?:total_)?${name} (\\d+)`, "m").exec(stat)?.[1] ?? 0);
  return of("inactive_file") + of("active_file");
}

function readQuietly(path: string): string | undefined {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined; // not there, or not ours to read: no limit is known
  }
}
