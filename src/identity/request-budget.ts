import type { Clock } from "../base/clock.ts";

/**
 * How often each holder of an identity may ask: a bucket of `burst` requests that fills up again by
 * `perSecond`. So nobody spends the authority's time by asking, however fast; others are not slowed.
 */
export interface RequestBudgetOptions {
  readonly burst: number;
  readonly perSecond: number;
  readonly clock: Clock;
}

/** An agent asks at most once a second; the rest is for restarts. */
export const certificateRequestBudget = { burst: 10, perSecond: 1 } as const;

interface Bucket {
  left: number;
  atMs: number;
  isRefusing: boolean;
}

/** Full buckets are no news: they are dropped whenever more than this many are kept. */
const bucketsKept = 1024;

export class RequestBudget {
  readonly #options: RequestBudgetOptions;
  readonly #buckets = new Map<string, Bucket>();

  constructor(options: RequestBudgetOptions) {
    this.#options = options;
  }

  /** Undefined when `holder` may ask now; otherwise when again, and whether this is the first refusal. */
  take(holder: string): { readonly retryMs: number; readonly isFirst: boolean } | undefined {
    const { perSecond, clock } = this.#options;
    const bucket = this.#bucketOf(holder, clock.monotonicMs());
    if (bucket.left >= 1) {
      bucket.left -= 1;
      bucket.isRefusing = false;
      return undefined;
    }
    const isFirst = !bucket.isRefusing;
    bucket.isRefusing = true;
    return { retryMs: Math.ceil(((1 - bucket.left) / perSecond) * 1000), isFirst };
  }

  #bucketOf(holder: string, nowMs: number): Bucket {
    if (this.#buckets.size > bucketsKept) {
      for (const [key, one] of this.#buckets) {
        if (this.#fill(one, nowMs).left >= this.#options.burst) this.#buckets.delete(key);
      }
    }
    const known = this.#buckets.get(holder);
    if (known !== undefined) return this.#fill(known, nowMs);
    const made: Bucket = { left: this.#options.burst, atMs: nowMs, isRefusing: false };
    this.#buckets.set(holder, made);
    return made;
  }

  #fill(bucket: Bucket, nowMs: number): Bucket {
    const { burst, perSecond } = this.#options;
    bucket.left = Math.min(burst, bucket.left + ((nowMs - bucket.atMs) / 1000) * perSecond);
    bucket.atMs = nowMs;
    return bucket;
  }
}
