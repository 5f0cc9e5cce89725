/**
 * When `heddle up` may say that the mesh runs: everything is ready, or what is not will not become so
 * by waiting (its process ends again and again, or it waits for one that does), or nothing has moved
 * for a while. Told once, and once more when everything is ready after all.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { InstanceState } from "../../model/workload.ts";

export interface Progress {
  readonly state: InstanceState;
  /** It is ready, and every proxy knows. */
  readonly isKnownReady: boolean;
  /** A process of it has ended several times in a row. */
  readonly isFailing: boolean;
  /** Keys of the instances it waits for, and for nothing else. */
  readonly waitsFor: readonly string[];
  /** A sentence for people: its name, what it lacks, where to look. */
  readonly why: () => string;
}

export interface FirstReadyOptions {
  readonly clock: Clock;
  /** By key. */
  readonly progress: () => ReadonlyMap<string, Progress>;
  /** What is not ready, a sentence each. */
  readonly onReady: (notReady: readonly string[]) => void;
  /** While all wait: how many are ready by now, told when it has changed and a while has passed. */
  readonly onProgress: (readyCount: number, count: number) => void;
}

/** The longest wait, whatever moves. */
const firstReadyMaxMs = 60_000;
/** How long nothing may become ready before that is news. */
const stallMs = 10_000;
const lastWordsMs = 150;
/** Who waits at the terminal sees that something moves. */
const progressMs = 1000;

export class FirstReady {
  readonly #options: FirstReadyOptions;
  #longest: Timer | undefined;
  #stall: Timer | undefined;
  #soon: Timer | undefined;
  #progress: Timer | undefined;
  #readyCount = 0;
  #toldCount = 0;
  #controlFailure: string | undefined;
  #isTold = false;
  #isAllTold = false;

  constructor(options: FirstReadyOptions) {
    this.#options = options;
  }

  get isTold(): boolean {
    return this.#isTold;
  }

  start(): void {
    this.#longest = this.#options.clock.schedule(firstReadyMaxMs, () => this.#tell());
  }

  close(): void {
    this.#isTold = true;
    this.#isAllTold = true;
    this.#longest?.cancel();
    this.#stall?.cancel();
    this.#soon?.cancel();
    this.#progress?.cancel();
  }

  /** From now on things can become ready. */
  onControlReady(): void {
    this.#controlFailure = undefined;
    this.#restartStall();
    if (this.#progress === undefined) this.#scheduleProgress();
  }

  /** The control plane ends again and again: nothing becomes ready without it. */
  onControlFailing(why: string): void {
    this.#controlFailure = why;
    this.#tell();
  }

  /** After each change of what `progress` tells. */
  follow(): void {
    if (this.#isAllTold) return;
    const all = this.#options.progress();
    const readyCount = [...all.values()].filter(({ isKnownReady }) => isKnownReady).length;
    if (readyCount === all.size) this.#tell();
    else if (isSettled(all)) this.#tellSoon();
    else if (readyCount > this.#readyCount) this.#restartStall();
    this.#readyCount = readyCount;
  }

  #scheduleProgress(): void {
    if (this.#isTold) return;
    this.#progress = this.#options.clock.schedule(progressMs, () => {
      const count = this.#options.progress().size;
      if (this.#readyCount !== this.#toldCount) {
        this.#toldCount = this.#readyCount;
        this.#options.onProgress(this.#readyCount, count);
      }
      this.#scheduleProgress();
    });
  }

  #restartStall(): void {
    this.#stall?.cancel();
    if (this.#isTold) return;
    this.#stall = this.#options.clock.schedule(stallMs, () => this.#tell());
  }

  // Who has just ended still says why.
  #tellSoon(): void {
    if (this.#isTold) return;
    this.#soon ??= this.#options.clock.schedule(lastWordsMs, () => {
      this.#soon = undefined;
      if (isSettled(this.#options.progress())) this.#tell();
    });
  }

  #tell(): void {
    const all = [...this.#options.progress().values()];
    const late = all.filter(({ state }) => state !== "ready");
    const isAll = late.length === 0 && this.#controlFailure === undefined;
    if (this.#isTold && (!isAll || this.#isAllTold)) return;
    this.#isTold = true;
    this.#isAllTold = isAll;
    this.#longest?.cancel();
    this.#stall?.cancel();
    this.#progress?.cancel();
    const control = this.#controlFailure === undefined ? [] : [this.#controlFailure];
    this.#options.onReady([...control, ...late.map(({ why }) => why())]);
  }
}

/** Whether whatever is not ready is beyond waiting for. */
export function isSettled(all: ReadonlyMap<string, Progress>): boolean {
  const stuck = new Set<string>();
  for (const [key, { state, isFailing }] of all) {
    if (state === "stopped" || isFailing) stuck.add(key);
  }
  for (let before = -1; before !== stuck.size;) {
    before = stuck.size;
    for (const [key, { isKnownReady, waitsFor }] of all) {
      if (!isKnownReady && waitsFor.some((one) => stuck.has(one))) stuck.add(key);
    }
  }
  return [...all].every(([key, { isKnownReady }]) => isKnownReady || stuck.has(key));
}
