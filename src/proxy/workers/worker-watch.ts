/**
 * Watches over data workers: each counts beats in shared memory while its loop turns. One that has not
 * for a while is counted and told of, is given no new connections, and at last ended, so that another
 * takes its place. Should it not end, within C code, then the process does, and whoever supervises it
 * starts another. Envoy's watchdog with its names; by default Envoy ends nothing.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Logger } from "../../telemetry/logger.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";

export interface WatchLimits {
  readonly missMs: number;
  readonly megaMissMs: number;
  /** After that the thread is ended; 0: never. */
  readonly endMs: number;
  /** After that the process is; 0: never. */
  readonly killMs: number;
}

/** Envoy's first two. Nothing of a request, nor of a configuration, takes ten seconds of a loop. */
export const defaultWatchLimits: WatchLimits = {
  missMs: 200,
  megaMissMs: 1000,
  endMs: 10_000,
  killMs: 15_000,
};

/** Between two beats of a worker, and between two looks at it. */
export const beatMs = 100;

/** What was logged has this long to be written. */
const lastWordsMs = 100;

/** A thread that hangs may hold up the process's own end. */
export function endByForce(clock: Clock): void {
  clock.schedule(lastWordsMs, () => process.kill(process.pid, "SIGKILL"));
}

export interface WatchedWorker {
  readonly number: number;
  /** So far; any number that changes. */
  readonly beats: () => number;
  /** It does not answer, or it answers again. */
  readonly onSilent: (isSilent: boolean) => void;
  /** Wherever it is in its code. */
  readonly end: () => void;
}

export interface WorkerWatchOptions {
  readonly clock: Clock;
  readonly log: Logger;
  readonly metrics: MetricRegistry;
  readonly limits: WatchLimits;
  /** To end the process. */
  readonly onHang: () => void;
}

interface Seen {
  beats: number;
  silentMs: number;
}

export class WorkerWatch {
  readonly #options: WorkerWatchOptions;
  readonly #seen = new Map<WatchedWorker, Seen>();
  readonly #onMiss: () => void;
  readonly #onMegaMiss: () => void;
  #timer: Timer | undefined;
  #lookedMs = 0;

  constructor(options: WorkerWatchOptions) {
    this.#options = options;
    const counter = (name: string, help: string) => options.metrics.counter(name, help);
    const misses = counter("envoy_workers_watchdog_miss", "As Envoy counts it.");
    const megaMisses = counter("envoy_workers_watchdog_mega_miss", "As Envoy counts it.");
    this.#onMiss = () => misses.add(1);
    this.#onMegaMiss = () => megaMisses.add(1);
  }

  /** From now on, until it is forgotten: one that starts has much to compile before its first beat. */
  watch(worker: WatchedWorker): void {
    this.#seen.set(worker, { beats: worker.beats(), silentMs: 0 });
    if (this.#timer !== undefined) return;
    this.#lookedMs = this.#options.clock.monotonicMs();
    this.#lookLater();
  }

  forget(worker: WatchedWorker): void {
    this.#seen.delete(worker);
  }

  close(): void {
    this.#timer?.cancel();
    this.#seen.clear();
  }

  #lookLater(): void {
    this.#timer = this.#options.clock.schedule(beatMs, () => {
      const nowMs = this.#options.clock.monotonicMs();
      // A process that was stopped, or had no processor, has lost the time for all of its threads.
      const passedMs = Math.min(nowMs - this.#lookedMs, 2 * beatMs);
      this.#lookedMs = nowMs;
      for (const [worker, seen] of this.#seen) this.#look(worker, seen, passedMs);
      this.#lookLater();
    });
  }

  #look(worker: WatchedWorker, seen: Seen, passedMs: number): void {
    const { limits, log, onHang } = this.#options;
    const { number } = worker;
    const beats = worker.beats();
    const beforeMs = seen.silentMs;
    if (beats !== seen.beats) {
      seen.beats = beats;
      seen.silentMs = 0;
      if (beforeMs < limits.megaMissMs) return;
      log.warn("a data worker answers again", { worker: number, silentMs: Math.round(beforeMs) });
      worker.onSilent(false);
      return;
    }
    seen.silentMs += passedMs;
    const passes = (limitMs: number): boolean =>
      limitMs > 0 && beforeMs < limitMs && seen.silentMs >= limitMs;
    if (passes(limits.missMs)) this.#onMiss();
    if (passes(limits.megaMissMs)) {
      this.#onMegaMiss();
      log.warn("a data worker does not answer", {
        worker: number,
        silentMs: Math.round(seen.silentMs),
      });
      worker.onSilent(true);
    }
    if (passes(limits.endMs)) {
      log.error("a data worker hangs; another takes its place", { worker: number });
      worker.end();
    }
    if (!passes(limits.killMs)) return;
    log.error("a data worker hangs; the process ends", { worker: number });
    onHang();
  }
}
