/** Quantiles of classic histograms by Prometheus's rules: linear within a bucket. */
export interface Bucket {
  /** Inclusive; Infinity for the last. */
  readonly upper: number;
  /** Observations up to `upper`. */
  readonly count: number;
}

/** `buckets` by rising `upper`, counts not falling; NaN where a quantile has no meaning. */
export function bucketQuantile(quantile: number, buckets: readonly Bucket[]): number {
  if (Number.isNaN(quantile)) return Number.NaN;
  if (quantile < 0) return -Infinity;
  if (quantile > 1) return Infinity;
  const top = buckets.at(-1);
  if (top === undefined || top.upper !== Infinity || buckets.length < 2) return Number.NaN;
  if (top.count === 0 || Number.isNaN(top.count)) return Number.NaN;
  let rank = quantile * top.count;
  const found = buckets.findIndex(({ count }) => count >= rank);
  const bucket = buckets[found];
  const below = buckets[found - 1];
  if (bucket === undefined || bucket === top) {
    return buckets[buckets.length - 2]?.upper ?? Number.NaN;
  }
  if (below === undefined && bucket.upper <= 0) return bucket.upper;
  const start = below?.upper ?? 0;
  rank -= below?.count ?? 0;
  return start + (bucket.upper - start) * (rank / (bucket.count - (below?.count ?? 0)));
}

/** The bound in a `le` label; undefined when it is none. */
export function parseBucketBound(text: string | undefined): number | undefined {
  if (text === undefined || text === "") return undefined;
  if (text === "+Inf" || text === "Inf") return Infinity;
  const upper = Number(text);
  return Number.isNaN(upper) ? undefined : upper;
}
