/**
 * The operator's folder as a source of configuration: every *.yaml, *.yml and *.json below it but the
 * files that say what runs. Changes are seen by inotify, and by looking again every few seconds where
 * an event was lost.
 *
 * What a file says wrong does not take away what it said right before: the last good version of a
 * resource stays while its document is broken (`source/last-good.ts`), also over a restart.
 */
import { statSync, watch } from "node:fs";
import type { FSWatcher } from "node:fs";

import type { Clock, Timer } from "../base/clock.ts";
import { messageOf } from "../base/error.ts";
import type { Problem } from "../base/problem.ts";
import type { BrokenResource, ConfigResource } from "../model/config-resource.ts";
import type { Logger } from "../telemetry/logger.ts";
import { ConfigFiles } from "./source/config-files.ts";
import { LastGood } from "./source/last-good.ts";
import type { LastGoodStore } from "./source/last-good-store.ts";
import { lastGoodStore } from "./source/last-good-store.ts";

export interface DirectoryContent {
  readonly resources: readonly ConfigResource[];
  readonly broken: readonly BrokenResource[];
  readonly problems: readonly Problem[];
}

export interface ConfigDirectoryOptions {
  readonly directory: string;
  /** Where the last good versions are kept over a restart; without it they are not. */
  readonly lastGoodFile?: string;
  /** Called with everything, once after the first look (`ready`) and after each change. */
  readonly onChange: (content: DirectoryContent) => void;
  readonly clock: Clock;
  readonly log: Logger;
}

export interface ConfigDirectory {
  /** Resolves when the folder has been read once: before that nobody knows which policies there are. */
  readonly ready: Promise<void>;
  /** Looks now; resolves when what it found has been told. */
  rescan(): Promise<void>;
  close(): void;
}

/** An editor writes in several steps; this long after the last event a file counts as written. */
const quietMs = 20;
const rescanMs = 3000;

export function watchConfigDirectory(options: ConfigDirectoryOptions): ConfigDirectory {
  return new WatchedDirectory(options);
}

class WatchedDirectory implements ConfigDirectory {
  readonly ready: Promise<void>;
  readonly #options: ConfigDirectoryOptions;
  readonly #files: ConfigFiles;
  readonly #store: LastGoodStore | undefined;
  readonly #lastGood: LastGood;
  #stored: readonly ConfigResource[];
  #watcher: FSWatcher | undefined;
  #watched = "";
  #timer: Timer | undefined;
  #scanning: Promise<void> | undefined;
  #isDirty = false;
  #isClosed = false;
  #hasTold = false;

  constructor(options: ConfigDirectoryOptions) {
    this.#options = options;
    this.#files = new ConfigFiles(options.directory);
    const { lastGoodFile } = options;
    this.#store = lastGoodFile === undefined ? undefined : lastGoodStore(lastGoodFile);
    this.#stored = this.#store?.load() ?? [];
    this.#lastGood = new LastGood(this.#stored);
    this.#watch();
    this.ready = this.rescan();
  }

  async rescan(): Promise<void> {
    this.#isDirty = true;
    this.#scanning ??= this.#scan().finally(() => (this.#scanning = undefined));
    await this.#scanning;
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
    this.#watcher?.close();
  }

  #watch(): void {
    const { directory, log } = this.#options;
    this.#watcher?.close();
    this.#watched = identityOf(directory);
    try {
      this.#watcher = watch(directory, { recursive: true, persistent: false });
    } catch (error) {
      this.#watcher = undefined;
      log.warn("folder is not watched; looking again from time to time", {
        directory,
        reason: messageOf(error),
      });
      return;
    }
    this.#watcher.on("change", () => this.#schedule(quietMs));
    this.#watcher.on("error", (error) => {
      log.warn("watching the folder failed; looking again from time to time", {
        directory,
        reason: messageOf(error),
      });
      this.#watcher?.close();
      this.#watcher = undefined;
    });
  }

  #schedule(delayMs: number): void {
    if (this.#isClosed) return;
    this.#timer?.cancel();
    this.#timer = this.#options.clock.schedule(delayMs, () => void this.rescan());
  }

  async #scan(): Promise<void> {
    while (this.#isDirty && !this.#isClosed) {
      this.#isDirty = false;
      const found = await this.#files.scan();
      if (this.#isClosed) return;
      if (!found.hasChanged && this.#hasTold) continue;
      this.#hasTold = true;
      const merged = this.#lastGood.merge(found);
      this.#options.onChange(merged);
      this.#remember(merged.resources);
    }
    // A watch stays with the folder that was there when it began.
    const folder = identityOf(this.#options.directory);
    if (this.#watcher === undefined || folder !== this.#watched) this.#watch();
    this.#schedule(rescanMs);
  }

  /** After it was told: what serves does not wait for the disk. */
  #remember(resources: readonly ConfigResource[]): void {
    const isStored =
      resources.length === this.#stored.length &&
      resources.every((resource, index) => resource === this.#stored[index]);
    if (this.#store === undefined || isStored) return;
    try {
      this.#store.save(resources);
      this.#stored = resources;
    } catch (error) {
      this.#options.log.warn("the last good configuration cannot be kept for a restart", {
        reason: messageOf(error),
      });
    }
  }
}

/** Another folder of the same name is another one. */
function identityOf(folder: string): string {
  const stat = statSync(folder, { throwIfNoEntry: false });
  return stat === undefined ? "" : `${stat.dev} ${stat.ino}`;
}
