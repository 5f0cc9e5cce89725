/** Latencies in buckets at most 1.6 % wide, in constant memory, so that those of several runs can be added. */

/** Steps for each doubling. */
const stepsPerDoubling = 64;
const lowestUs = 1;
const bucketCount = stepsPerDoubling * 27; // up to 134 s

export class LatencyHistogram {
  readonly counts: Float64Array = new Float64Array(bucketCount);
  total = 0;
  maxMs = 0;

  record(ms: number): void {
    this.total++;
    this.maxMs = Math.max(this.maxMs, ms);
    const bucket = Math.floor(Math.log2(Math.max(ms * 1000, lowestUs)) * stepsPerDoubling);
    const at = Math.min(bucketCount - 1, bucket);
    this.counts[at] = (this.counts[at] ?? 0) + 1;
  }

  add(other: LatencyHistogram): void {
    for (const [at, count] of other.counts.entries())
      this.counts[at] = (this.counts[at] ?? 0) + count;
    this.total += other.total;
    this.maxMs = Math.max(this.maxMs, other.maxMs);
  }

  /** `share` from 0 to 1; milliseconds, 0 where nothing was recorded. */
  quantile(share: number): number {
    const rank = Math.max(1, Math.ceil(share * this.total));
    let seen = 0;
    for (const [at, count] of this.counts.entries()) {
      seen += count;
      if (seen >= rank) return Math.min(this.maxMs, 2 ** ((at + 0.5) / stepsPerDoubling) / 1000);
    }
    return this.maxMs;
  }

  toJSON(): HistogramJson {
    const buckets = [...this.counts.entries()].filter(([, count]) => count > 0);
    return { maxMs: this.maxMs, buckets };
  }

  static fromJson({ maxMs, buckets }: HistogramJson): LatencyHistogram {
    const histogram = new LatencyHistogram();
    histogram.maxMs = maxMs;
    for (const [at, count] of buckets) {
      histogram.counts[at] = count;
      histogram.total += count;
    }
    return histogram;
  }
}

export interface HistogramJson {
  readonly maxMs: number;
  /** Number of the bucket, and how often. */
  readonly buckets: readonly (readonly [number, number])[];
}
