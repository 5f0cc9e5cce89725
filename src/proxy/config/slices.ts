/**
 * Long work in slices: between two, whoever waits for the thread has its turn. Work is a generator
 * that gives way after every small piece; one piece of work runs at a time, in order.
 */
import type { Clock } from "../../base/clock.ts";

export type Work<T> = Generator<void, T>;

export interface SlicesOptions {
  readonly clock: Pick<Clock, "monotonicMs">;
  /** Resolves when others have had their turn. */
  readonly pause?: () => Promise<void>;
  readonly sliceMs?: number;
  /** Nobody waits for the thread yet: what begins while it is so is done in one go. */
  readonly isAtOnce?: () => boolean;
}

/** With the piece that begins last and a collection of garbage, a turn stays below 2 ms. */
const sliceMsDefault = 0.5;

interface Waiting {
  readonly work: Work<Promise<void> | undefined>;
  readonly done: PromiseWithResolvers<void>;
}

export class Slices {
  readonly #clock: SlicesOptions["clock"];
  readonly #pause: () => Promise<void>;
  readonly #sliceMs: number;
  readonly #isAtOnce: () => boolean;
  readonly #waiting: Waiting[] = [];
  /** When the slice of this turn ends; undefined before it has begun. */
  #endMs: number | undefined;
  #isBusy = false;
  #isClosed = false;

  constructor(options: SlicesOptions) {
    this.#clock = options.clock;
    this.#pause = options.pause ?? nextTurn;
    this.#sliceMs = options.sliceMs ?? sliceMsDefault;
    this.#isAtOnce = options.isAtOnce ?? (() => false);
  }

  /**
   * Undefined when all was done at once, which is so where it is short and nothing is under way.
   * What the work returns is waited for, but does not hold up other work. Throws, or rejects with,
   * what the work throws.
   */
  run(work: Work<Promise<void> | undefined>): Promise<void> | undefined {
    const done = Promise.withResolvers<void>();
    if (this.#isBusy) {
      this.#waiting.push({ work, done });
      return done.promise;
    }
    // What it does may ask for more work: that waits until this is done.
    this.#isBusy = true;
    let isUnderWay = false;
    try {
      const step = this.#slice(work, this.#endOfTurn());
      if (step.done === true) return step.value;
      isUnderWay = true;
    } finally {
      const next = isUnderWay ? { work, done } : this.#waiting.shift();
      if (next === undefined) this.#isBusy = false;
      else void this.#work(next);
    }
    return done.promise;
  }

  /** What has not been done never will be. */
  close(): void {
    this.#isClosed = true;
    this.#waiting.length = 0;
  }

  /** Several short pieces of work in one turn share its slice. */
  #endOfTurn(): number {
    if (this.#isAtOnce()) return Infinity;
    if (this.#endMs === undefined) {
      this.#endMs = this.#clock.monotonicMs() + this.#sliceMs;
      void this.#pause().then(() => {
        this.#endMs = undefined;
      });
    }
    return this.#endMs;
  }

  async #work(first: Waiting): Promise<void> {
    for (let current: Waiting | undefined = first; current !== undefined;) {
      await this.#pause();
      if (this.#isClosed) return;
      const endMs = this.#clock.monotonicMs() + this.#sliceMs;
      do {
        if (!this.#isDone(current, endMs)) break;
        current = this.#waiting.shift();
      } while (current !== undefined && this.#clock.monotonicMs() < endMs);
    }
    this.#isBusy = false;
  }

  #isDone({ work, done }: Waiting, endMs: number): boolean {
    try {
      const step = this.#slice(work, endMs);
      if (step.done !== true) return false;
      done.resolve(step.value);
    } catch (thrown) {
      done.reject(thrown);
    }
    return true;
  }

  /** Always a piece, however late it is. */
  #slice(work: Waiting["work"], endMs: number): Step {
    let step = work.next();
    while (step.done !== true && this.#clock.monotonicMs() < endMs) step = work.next();
    return step;
  }
}

type Step = IteratorResult<void, Promise<void> | undefined>;

/** The same work; `onDone` hears how long this thread was busy with it, refused or not. */
export function* timed<T>(
  work: Work<T>,
  clock: Pick<Clock, "monotonicMs">,
  onDone: (spentMs: number) => void,
): Work<T> {
  let spentMs = 0;
  try {
    for (;;) {
      const startMs = clock.monotonicMs();
      let step: IteratorResult<void, T>;
      try {
        step = work.next();
      } finally {
        spentMs += clock.monotonicMs() - startMs;
      }
      if (step.done === true) return step.value;
      yield;
    }
  } finally {
    onDone(spentMs);
  }
}

/** After what has arrived by now was handled. */
function nextTurn(): Promise<void> {
  return new Promise((resolve) => void setImmediate(resolve));
}
