/**
 * When each scrape of one target was: all series of a scrape share its time. Scrapes are numbered
 * from 0 and only the newest are kept.
 */
export class ScrapeTimes {
  #timesMs: number[] = [];
  #first = 0;

  /** The number the next scrape gets. */
  get next(): number {
    return this.#first + this.#timesMs.length;
  }

  get first(): number {
    return this.#first;
  }

  /** Times only grow; one that does not is moved a millisecond after the last. */
  push(timeMs: number): number {
    const last = this.#timesMs.at(-1) ?? -Infinity;
    this.#timesMs.push(Math.max(timeMs, last + 1));
    return this.next - 1;
  }

  /** Infinity for a scrape that has not been; -Infinity for one forgotten. */
  at(scrape: number): number {
    if (scrape < this.#first) return -Infinity;
    return this.#timesMs[scrape - this.#first] ?? Infinity;
  }

  /** The first scrape later than `timeMs`; `next` when there is none. */
  firstAfter(timeMs: number): number {
    let low = 0;
    let high = this.#timesMs.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if ((this.#timesMs[middle] ?? Infinity) > timeMs) high = middle;
      else low = middle + 1;
    }
    return this.#first + low;
  }

  copy(from: number, length: number, target: Float64Array, at: number): void {
    for (let i = 0; i < length; i++) target[at + i] = this.at(from + i);
  }

  dropBefore(timeMs: number): void {
    const keep = this.firstAfter(timeMs);
    // In blocks, so that the array is not moved at every scrape.
    if (keep - this.#first < 64) return;
    this.#timesMs = this.#timesMs.slice(keep - this.#first);
    this.#first = keep;
  }
}
