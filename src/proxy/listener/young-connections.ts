/**
 * How many of the open connections are young: what they will hold does not show in the memory that is
 * used yet, so it is set aside for them.
 */

const bucketMs = 1000;
const youngBuckets = 5;

export class YoungConnections {
  /** Open ones by the second in which they came. */
  readonly #open = new Map<number, number>();

  /** Returns what `remove` needs. */
  add(nowMs: number): number {
    const bucket = Math.floor(nowMs / bucketMs);
    if (!this.#open.has(bucket)) {
      for (const old of this.#open.keys()) if (old <= bucket - youngBuckets) this.#open.delete(old);
    }
    this.#open.set(bucket, (this.#open.get(bucket) ?? 0) + 1);
    return bucket;
  }

  remove(bucket: number): void {
    const open = this.#open.get(bucket);
    if (open !== undefined) this.#open.set(bucket, open - 1);
  }

  count(nowMs: number): number {
    const bucket = Math.floor(nowMs / bucketMs);
    let count = 0;
    for (let age = 0; age < youngBuckets; age++) count += this.#open.get(bucket - age) ?? 0;
    return count;
  }
}
