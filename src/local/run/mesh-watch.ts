/**
 * Watches the mesh file. A change is told once it has been quiet for a moment; whoever writes by
 * renaming and whoever writes in place are both seen. Looking at the file every second as well finds
 * what notifications cannot tell: the folder was replaced, the file is a link to one elsewhere, or the
 * system had no more notifications to give.
 */
import { statSync, watch, type FSWatcher } from "node:fs";
import { basename, dirname } from "node:path";

import type { Clock, Timer } from "../../base/clock.ts";

const quietMs = 40;
const lookMs = 1000;

/** Calls `onChange` after each change of the file, and once at first; the return value ends it. */
export function watchMeshFile(path: string, clock: Clock, onChange: () => void): () => void {
  const watching = new MeshWatch(path, clock, onChange);
  return () => watching.close();
}

class MeshWatch {
  readonly #path: string;
  readonly #clock: Clock;
  readonly #onChange: () => void;
  #seen: string;
  #folder = "";
  #watcher: FSWatcher | undefined;
  #quiet: Timer | undefined;
  #look: Timer | undefined;

  constructor(path: string, clock: Clock, onChange: () => void) {
    this.#path = path;
    this.#clock = clock;
    this.#onChange = onChange;
    this.#seen = signatureOf(path);
    // It may have changed since it was read.
    this.#schedule();
    this.#lookAgain();
  }

  close(): void {
    this.#quiet?.cancel();
    this.#look?.cancel();
    this.#watcher?.close();
  }

  #schedule(): void {
    this.#quiet?.cancel();
    this.#quiet = this.#clock.schedule(quietMs, () => {
      this.#seen = signatureOf(this.#path);
      this.#onChange();
    });
  }

  #lookAgain(): void {
    const folder = identityOf(dirname(this.#path));
    if (folder !== this.#folder || this.#watcher === undefined) this.#watch(folder);
    const now = signatureOf(this.#path);
    if (now !== this.#seen) {
      this.#seen = now;
      this.#schedule();
    }
    this.#look = this.#clock.schedule(lookMs, () => this.#lookAgain());
  }

  #watch(folder: string): void {
    this.#watcher?.close();
    this.#folder = folder;
    try {
      // The folder, because a file that is replaced takes its watch with it.
      const watcher = watch(dirname(this.#path), (_, name) => {
        if (name === null || name === basename(this.#path)) this.#schedule();
      });
      watcher.on("error", () => {
        watcher.close();
        if (this.#watcher === watcher) this.#watcher = undefined;
      });
      this.#watcher = watcher;
    } catch {
      this.#watcher = undefined; // not there, or no notifications left: looking goes on
    }
  }
}

/** Differs when the file, or what a link leads to, has changed. */
function signatureOf(path: string): string {
  try {
    const { dev, ino, size, mtimeMs, ctimeMs } = statSync(path);
    return [dev, ino, size, mtimeMs, ctimeMs].join(" ");
  } catch (thrown) {
    return thrown instanceof Error && "code" in thrown ? String(thrown.code) : "unreadable";
  }
}

function identityOf(folder: string): string {
  const stat = statSync(folder, { throwIfNoEntry: false });
  return stat === undefined ? "" : `${stat.dev} ${stat.ino}`;
}
