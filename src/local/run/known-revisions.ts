/**
 * Which of the things that the control plane was told the proxies work by, in revisions of what runs. An
 * instance on its way out goes on serving until nobody sends it requests any more: on a busy machine that
 * takes longer than any fixed time.
 */
import type { Clock } from "../../base/clock.ts";
import type { ControlAppliedMessage } from "../../control/options.ts";

export class KnownRevisions {
  #applied = 0;
  #everywhere = 0;
  readonly #waiting = new Set<() => void>();

  /** Proxies that answer work by this revision, or a later one. */
  get applied(): number {
    return this.#applied;
  }

  take({ revision, isEverywhere }: ControlAppliedMessage): void {
    this.#applied = Math.max(this.#applied, revision);
    if (isEverywhere) this.#everywhere = Math.max(this.#everywhere, revision);
    for (const check of this.#waiting) check();
  }

  /** Resolves when every proxy without exception works by `revision` or later, or after `maxMs`. */
  async everywhere(revision: number, clock: Clock, maxMs: number): Promise<void> {
    if (this.#everywhere >= revision) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const timer = clock.schedule(maxMs, resolve);
    const check = (): void => {
      if (this.#everywhere >= revision) resolve();
    };
    this.#waiting.add(check);
    await promise;
    this.#waiting.delete(check);
    timer.cancel();
  }

  /** Nobody waits any more. */
  close(): void {
    this.#everywhere = Infinity;
    for (const check of this.#waiting) check();
  }
}
