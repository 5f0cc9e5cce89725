/**
 * Decides by token buckets whether a request may pass: one for all requests, and one for each
 * descriptor that the configuration names. An entry without a value stands for any value, and each
 * value then has a bucket of its own.
 */
import type { Descriptor, Usage } from "./rate-limits.ts";
import { type BucketMemory, type BucketPlan, TokenBucket } from "./token-bucket.ts";

export interface DescriptorPlan {
  /** An empty value stands for any. */
  readonly entries: Descriptor;
  readonly bucket: BucketPlan;
  /** Counted, but nothing is refused for it. */
  readonly isShadow: boolean;
}

export interface RateLimiterPlan {
  readonly bucket: BucketPlan | undefined;
  readonly descriptors: readonly DescriptorPlan[];
  /** Also where a descriptor matches. */
  readonly alwaysTakesDefault: boolean;
  /** Buckets of entries without a value, kept at once. */
  readonly dynamicMax: number;
}

export interface RateLimitVerdict {
  readonly isAllowed: boolean;
  /** The bucket that decided, for whoever tells the client. */
  readonly bucket: TokenBucket | undefined;
  /** Of what the request is counted as there; undefined: as the filter says. */
  readonly isTold: boolean | undefined;
  /** A descriptor that only counts had no token. */
  readonly isShadow: boolean;
}

interface Match {
  readonly bucket: TokenBucket;
  readonly isShadow: boolean;
}

export class RateLimiter {
  readonly #plan: RateLimiterPlan;
  readonly #memory: BucketMemory;
  readonly #key: string;
  #default: TokenBucket | undefined;
  /** By their entries. */
  readonly #fixed = new Map<string, Match>();
  /** By their entries; the one not used for longest is first. */
  readonly #dynamic = new Map<string, Match>();
  readonly #open: readonly DescriptorPlan[];

  /** `key` names the configuration, so that who shares the memory shares the buckets. */
  constructor(
    plan: RateLimiterPlan,
    memory: BucketMemory,
    place: { readonly key: string; readonly nowMs: number },
  ) {
    this.#plan = plan;
    this.#memory = memory;
    this.#key = place.key;
    this.#open = plan.descriptors.filter((one) => one.entries.some(({ value }) => value === ""));
    if (plan.bucket !== undefined) this.#default = this.#make(plan.bucket, "", place.nowMs);
    for (const descriptor of plan.descriptors) {
      if (this.#open.includes(descriptor)) continue;
      const key = keyOf(descriptor.entries);
      this.#fixed.set(key, this.#match(descriptor, key, place.nowMs));
    }
  }

  decide(usages: readonly Usage[], nowMs: number): RateLimitVerdict {
    const matches = usages.flatMap(({ descriptor, hits, isTold }) => {
      const match = this.#find(descriptor, nowMs);
      return match === undefined ? [] : [{ ...match, hits, isTold }];
    });
    // The strictest first: where it refuses, the others keep their tokens.
    matches.sort((a, b) => a.bucket.tokensPerSecond - b.bucket.tokensPerSecond);
    let isShadow = false;
    for (const match of matches) {
      if (match.bucket.tryTake(nowMs, match.hits)) continue;
      const { bucket, isTold } = match;
      if (!match.isShadow) return { isAllowed: false, bucket, isTold, isShadow };
      isShadow = true;
    }
    const { bucket: first, isTold } = matches[0] ?? {};
    const wholesale = this.#default;
    if (wholesale === undefined || (first !== undefined && !this.#plan.alwaysTakesDefault)) {
      return { isAllowed: true, bucket: first, isTold, isShadow };
    }
    if (wholesale.tryTake(nowMs)) {
      return { isAllowed: true, bucket: first ?? wholesale, isTold, isShadow };
    }
    return { isAllowed: false, bucket: wholesale, isTold: undefined, isShadow };
  }

  #find(descriptor: Descriptor, nowMs: number): Match | undefined {
    const key = keyOf(descriptor);
    const fixed = this.#fixed.get(key);
    if (fixed !== undefined || this.#open.length === 0) return fixed;
    const known = this.#dynamic.get(key);
    if (known !== undefined) this.#dynamic.delete(key);
    const plan =
      known === undefined ? this.#open.find((one) => covers(one, descriptor)) : undefined;
    const match = known ?? (plan === undefined ? undefined : this.#match(plan, key, nowMs));
    if (match === undefined) return undefined;
    this.#dynamic.set(key, match);
    if (this.#dynamic.size > this.#plan.dynamicMax) {
      const [oldest] = this.#dynamic.keys();
      if (oldest !== undefined) this.#dynamic.delete(oldest);
    }
    return match;
  }

  #match({ bucket, isShadow }: DescriptorPlan, key: string, nowMs: number): Match {
    return { bucket: this.#make(bucket, key, nowMs), isShadow };
  }

  #make(plan: BucketPlan, key: string, nowMs: number): TokenBucket {
    return new TokenBucket(plan, this.#memory, { key: `${this.#key}\n${key}`, nowMs });
  }
}

function covers({ entries }: DescriptorPlan, descriptor: Descriptor): boolean {
  return (
    entries.length === descriptor.length &&
    entries.every(({ key, value }, i) => {
      const given = descriptor[i];
      return given?.key === key && (value === "" || value === given.value);
    })
  );
}

function keyOf(descriptor: Descriptor): string {
  return JSON.stringify(descriptor.map(({ key, value }) => [key, value]));
}
