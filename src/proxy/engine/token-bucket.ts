/**
 * Token buckets that fill at a constant rate. A bucket is one number, the moment at which it would
 * have been empty: what has flowed in since is what it holds. So threads share a bucket by sharing a
 * number, and one that nobody has used until it was full again need not be remembered.
 */

export interface BucketPlan {
  readonly tokensMax: number;
  readonly tokensPerFill: number;
  readonly fillIntervalMs: number;
}

/** Where the number of a bucket lies: nanoseconds of its thread's monotonic clock. */
export interface BucketCell {
  /** `now`: of that clock, in nanoseconds. */
  load(now: number): bigint;
  /** False when somebody else was faster; look again. */
  exchange(expected: bigint, next: bigint): boolean;
}

export interface BucketMemory {
  /** The bucket of a key, made if it is not there. */
  cell(key: string, beginning: BucketBeginning): BucketCell;
}

/** Nanoseconds: the number of a new bucket, which is full, and how long an empty one takes to fill. */
export interface BucketBeginning {
  readonly emptyAt: bigint;
  readonly span: bigint;
}

const nanosPerMs = 1e6;

/** Above it somebody else always wins: a bucket that cannot be had is taken for empty. */
const triesMax = 100;
/** Of a token. */
const slack = 1e-6;

export class TokenBucket {
  readonly plan: BucketPlan;
  readonly #nanosPerToken: number;
  readonly #cell: BucketCell;

  /** Full, unless it is there already. */
  constructor(plan: BucketPlan, memory: BucketMemory, place: { key: string; nowMs: number }) {
    this.plan = plan;
    this.#nanosPerToken = (plan.fillIntervalMs * nanosPerMs) / plan.tokensPerFill;
    const now = place.nowMs * nanosPerMs;
    const span = plan.tokensMax * this.#nanosPerToken;
    this.#cell = memory.cell(place.key, { emptyAt: nanos(now - span), span: nanos(span) });
  }

  get tokensPerSecond(): number {
    return 1e9 / this.#nanosPerToken;
  }

  /** Takes so many tokens; false when there are fewer, and for none, as Envoy. */
  tryTake(nowMs: number, tokens = 1): boolean {
    if (tokens === 0) return false;
    const now = nowMs * nanosPerMs;
    for (let tries = 0; tries < triesMax; tries++) {
      const before = this.#cell.load(now);
      const next = this.#emptyAt(before, now) + this.#nanosPerToken * tokens;
      // What was added up from fractions is a whole token all the same.
      if (next > now + this.#nanosPerToken * slack) return false;
      if (this.#cell.exchange(before, nanos(next))) return true;
    }
    return false;
  }

  /** Whole tokens. */
  remaining(nowMs: number): number {
    const now = nowMs * nanosPerMs;
    const held = (now - this.#emptyAt(this.#cell.load(now), now)) / this.#nanosPerToken;
    return Math.max(0, Math.floor(held + slack));
  }

  /** Until there is a token; 0 when there is one. */
  nextTokenMs(nowMs: number): number {
    const now = nowMs * nanosPerMs;
    const next = this.#emptyAt(this.#cell.load(now), now) + this.#nanosPerToken;
    return Math.max(0, (next - now) / nanosPerMs);
  }

  /** No more than the most flows in. */
  #emptyAt(cell: bigint, now: number): number {
    return Math.max(Number(cell), now - this.plan.tokensMax * this.#nanosPerToken);
  }
}

function nanos(time: number): bigint {
  return BigInt(Math.round(time));
}

/** Of one thread. */
export const ownBuckets: BucketMemory = {
  cell(_key, { emptyAt }) {
    let value = emptyAt;
    return {
      load: () => value,
      exchange(expected, next) {
        if (value !== expected) return false;
        value = next;
        return true;
      },
    };
  },
};
