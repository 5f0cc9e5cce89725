/**
 * What the threads of a process have in flight together (or had of late), by cluster and kind: each thread counts in a
 * cell of its own, and all of them are read. So what a thread that ended had counted is forgotten by
 * clearing its cells.
 */
import type { CountedKind } from "./circuit-breakers.ts";

/** Of one kind, in one cluster. */
export interface SharedCount {
  /** Of this thread alone; never below 0. */
  add(amount: number): void;
  /** Of all threads. */
  total(): number;
  /** Of those that count. */
  readonly threads: number;
}

const kinds: { readonly [Kind in CountedKind]: number } = {
  connection: 0,
  pending: 1,
  request: 2,
  retry: 3,
  pool: 4,
  "high-connection": 5,
  "high-pending": 6,
  "high-request": 7,
  "high-retry": 8,
  "high-pool": 9,
  recent: 10,
  "high-recent": 11,
};
const kindsMax = 12;
/** Clusters beyond this many, over the life of a process, are counted by each thread for itself. */
const rowsMax = 8192;

export class SharedCounts {
  readonly memory: SharedArrayBuffer;
  readonly #cells: Int32Array;
  readonly #threads: number;
  readonly #thread: number;

  /** `thread` is from 0; one that only reads may name any. */
  constructor(threads: number, thread: number, memory?: SharedArrayBuffer) {
    this.memory = memory ?? new SharedArrayBuffer(rowsMax * kindsMax * threads * 4);
    this.#cells = new Int32Array(this.memory);
    this.#threads = threads;
    this.#thread = thread;
  }

  static readonly rowsMax: number = rowsMax;

  of(row: number, kind: CountedKind): SharedCount {
    const cells = this.#cells;
    const from = (row * kindsMax + kinds[kind]) * this.#threads;
    const end = from + this.#threads;
    const own = from + this.#thread;
    return {
      threads: this.#threads,
      add(amount) {
        const least = -Atomics.load(cells, own);
        if (amount >= least) Atomics.add(cells, own, amount);
        else Atomics.add(cells, own, least);
      },
      total() {
        let sum = 0;
        for (let cell = from; cell < end; cell++) sum += Atomics.load(cells, cell);
        return sum;
      },
    };
  }

  /** The thread has ended, and nothing of it is in flight any more. */
  forget(thread: number): void {
    for (let cell = thread; cell < this.#cells.length; cell += this.#threads) {
      // Memory that was never written to is never there.
      if (Atomics.load(this.#cells, cell) !== 0) Atomics.store(this.#cells, cell, 0);
    }
  }
}
