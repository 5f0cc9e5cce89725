/**
 * Which thread has which descriptor. A thread that ends closes nothing by itself, so whoever started
 * it closes what the table says was its own. One word for each descriptor of the process, in shared
 * memory: the number of the life of the thread that has it, which is never given twice, or 0.
 */
import { assert } from "../../base/assert.ts";

/** Keeps the table for one thread; without one, nothing is written down. */
export interface DescriptorLedger {
  /** After the descriptor was opened. */
  own(fd: number): void;
  /** Before it is closed: its number may belong to another thread at once. */
  disown(fd: number): void;
}

/** More than any thread of ours opens; pages that nobody touches cost nothing. */
const descriptorsMax = 1 << 20;

export class DescriptorTable {
  readonly memory: SharedArrayBuffer;
  readonly #words: Int32Array;

  constructor(memory: SharedArrayBuffer = new SharedArrayBuffer(descriptorsMax * 4)) {
    this.memory = memory;
    this.#words = new Int32Array(memory);
  }

  /** False where the table has no room for such a number. */
  give(fd: number, life: number): boolean {
    if (fd < 0 || fd >= this.#words.length) return false;
    Atomics.store(this.#words, fd, life);
    return true;
  }

  ledgerOf(life: number): DescriptorLedger {
    assert(life > 0, "a life of a thread has a number above 0");
    return {
      own: (fd) => void this.give(fd, life),
      // Only what is ours: a number that was closed elsewhere may have another owner by now.
      disown: (fd) => {
        if (fd < this.#words.length) Atomics.compareExchange(this.#words, fd, life, 0);
      },
    };
  }

  /** Descriptors of a thread that has ended, which are nobody's from now on. */
  takeOf(life: number): readonly number[] {
    const found: number[] = [];
    for (let fd = 0; fd < this.#words.length; fd++) {
      if (this.#words[fd] !== life) continue;
      if (Atomics.compareExchange(this.#words, fd, life, 0) === life) found.push(fd);
    }
    return found;
  }
}
