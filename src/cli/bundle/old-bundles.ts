/** Takes away bundles of former sources: each holds a few megabytes, and every change makes another. */
import { lstatSync, readdirSync, readFileSync, rmSync, utimesSync } from "node:fs";
import { basename, join } from "node:path";

import type { Clock } from "../../base/clock.ts";

/** These many are kept whatever their age: who goes back and forth between two versions waits for none. */
const keptMin = 3;
/** One that was not opened for so long goes, unless a process runs from it. */
const unusedMinMs = 24 * 3_600_000;
const finished = /^[0-9a-f]{24}$/;
const unfinished = /^\.building-/;

/** Says that a bundle is in use; one that may not be written is its owner's to keep. */
export function touchBundle(folder: string, clock: Clock): void {
  const now = clock.nowMs() / 1000;
  try {
    utimesSync(folder, now, now);
  } catch {
    // Somebody else's: they touch it when they open it.
  }
}

/**
 * Of one place; `current` stays. Running meshes start processes again from the bundle they began with,
 * so what any process names on its command line stays, too, and where processes cannot be listed all stay.
 */
export function removeOldBundles(place: string, current: string, clock: Clock): void {
  const commands = commandLines();
  if (commands === undefined) return;
  const old = bundlesIn(place)
    .filter(({ name }) => name !== basename(current))
    .toSorted((one, other) => other.usedMs - one.usedMs)
    .filter(({ name }, rank) => unfinished.test(name) || rank >= keptMin - 1)
    .filter(({ usedMs }) => clock.nowMs() - usedMs > unusedMinMs)
    .map(({ name }) => join(place, name))
    .filter((folder) => !commands.some((line) => line.includes(folder)));
  for (const folder of old) {
    try {
      rmSync(folder, { recursive: true, force: true });
    } catch {
      // Another user's, or half gone already: it costs space alone.
    }
  }
}

interface Found {
  readonly name: string;
  readonly usedMs: number;
}

function bundlesIn(place: string): readonly Found[] {
  return readdirSync(place).flatMap((name) => {
    if (!finished.test(name) && !unfinished.test(name)) return [];
    const stats = lstatSync(join(place, name), { throwIfNoEntry: false });
    return stats?.isDirectory() === true ? [{ name, usedMs: stats.mtimeMs }] : [];
  });
}

/** Of every process of this machine; undefined where there is no /proc. */
function commandLines(): readonly string[] | undefined {
  let pids: readonly string[];
  try {
    pids = readdirSync("/proc").filter((name) => /^\d+$/.test(name));
  } catch {
    return undefined;
  }
  const lines = pids.flatMap((pid) => {
    try {
      return [readFileSync(`/proc/${pid}/cmdline`, "utf8")];
    } catch {
      return []; // it has just ended
    }
  });
  return lines.length === 0 ? undefined : lines;
}
