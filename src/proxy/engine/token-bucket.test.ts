import assert from "node:assert/strict";
import { test } from "node:test";

import fc from "fast-check";

import { SharedBuckets } from "./shared-buckets.ts";
import { type BucketBeginning, type BucketPlan, ownBuckets, TokenBucket } from "./token-bucket.ts";

const plan: BucketPlan = { tokensMax: 3, tokensPerFill: 2, fillIntervalMs: 1000 };
const key = "k";

test("tryTake() gives what a full bucket holds, then what flows in", () => {
  const bucket = new TokenBucket(plan, ownBuckets, { key, nowMs: 0 });
  assert.equal(bucket.remaining(0), 3);
  assert.deepEqual(
    [0, 0, 0, 0, 499, 500, 500, 999, 1000].map((nowMs) => bucket.tryTake(nowMs)),
    [true, true, true, false, false, true, false, false, true],
  );
  assert.equal(bucket.nextTokenMs(1000), 500);
  assert.equal(bucket.remaining(10_000), 3);
  assert.equal(bucket.nextTokenMs(10_000), 0);
});

test("tryTake() lets through as many as a counter that adds up fractions", () => {
  const steps = fc.array(fc.record({ waitMs: fc.nat(5000), takes: fc.nat(5) }), { maxLength: 30 });
  const plans = fc.record({
    tokensMax: fc.integer({ min: 1, max: 8 }),
    tokensPerFill: fc.integer({ min: 1, max: 8 }),
    fillIntervalMs: fc.integer({ min: 50, max: 4000 }),
  });
  fc.assert(
    fc.property(plans, steps, fc.nat(1e9), (made, moves, startMs) => {
      const bucket = new TokenBucket(made, ownBuckets, { key, nowMs: startMs });
      // In units of 1 / fillIntervalMs of a token, so that all is whole.
      const unit = made.fillIntervalMs;
      let held = made.tokensMax * unit;
      let nowMs = startMs;
      for (const { waitMs, takes } of moves) {
        nowMs += waitMs;
        held = Math.min(made.tokensMax * unit, held + waitMs * made.tokensPerFill);
        for (let i = 0; i < takes; i++) {
          assert.equal(bucket.remaining(nowMs), Math.floor(held / unit));
          const isTaken = held >= unit;
          if (isTaken) held -= unit;
          assert.equal(bucket.tryTake(nowMs), isTaken);
        }
      }
    }),
  );
});

test("SharedBuckets gives threads with clocks of their own the same bucket", () => {
  const first = new SharedBuckets(5000);
  const second = new SharedBuckets(80_000, first.memory);
  const here = new TokenBucket(plan, first, { key, nowMs: 100_000 });
  const there = new TokenBucket(plan, second, { key, nowMs: 25_000 });
  const other = new TokenBucket(plan, second, { key: "other", nowMs: 25_000 });
  assert.equal(here.tryTake(100_000), true);
  assert.equal(there.tryTake(25_000), true);
  assert.equal(here.remaining(100_000), 1);
  assert.equal(there.tryTake(25_000), true);
  assert.equal(here.tryTake(100_000), false);
  assert.equal(here.tryTake(100_500), true);
  assert.equal(there.tryTake(25_500), false);
  assert.equal(other.remaining(25_000), 3);
});

test("SharedBuckets keeps a bucket as it is when the configuration comes again", () => {
  const memory = new SharedBuckets();
  const before = new TokenBucket(plan, memory, { key, nowMs: 0 });
  assert.deepEqual([before.tryTake(0), before.tryTake(0)], [true, true]);
  assert.equal(new TokenBucket(plan, memory, { key, nowMs: 1 }).remaining(1), 1);
});

function fullOf(beginning: BucketBeginning): {
  readonly memory: SharedBuckets;
  readonly seen: { evicted: number; own: number };
} {
  const seen = { evicted: 0, own: 0 };
  const memory = new SharedBuckets(0, undefined, {
    onEvicted: () => seen.evicted++,
    onOwn: () => seen.own++,
  });
  for (let i = 0; i < SharedBuckets.bucketsMax; i++) memory.cell(`${i}`, beginning);
  return { memory, seen };
}

test("SharedBuckets gives buckets beyond its number to the thread alone, and says so", () => {
  // None of them is full for a long time.
  const { memory, seen } = fullOf({ emptyAt: 0n, span: 10n ** 15n });
  const thread = new SharedBuckets(0, memory.memory);
  const own = new TokenBucket(plan, memory, { key: "late", nowMs: 0 });
  const other = new TokenBucket(plan, thread, { key: "late", nowMs: 0 });
  own.tryTake(0);
  assert.equal(own.remaining(0), 2);
  assert.equal(other.remaining(0), 3);
  assert.deepEqual(seen, { evicted: 0, own: 1 });
});

test("SharedBuckets takes the place of a full bucket, which begins full where somebody has it", () => {
  const rich = fullOf({ emptyAt: -(10n ** 12n), span: 10n ** 6n });
  const held = new TokenBucket(plan, rich.memory, { key: "0", nowMs: 0 });
  const late = new TokenBucket(plan, rich.memory, { key: "late", nowMs: 0 });
  const thread = new SharedBuckets(0, rich.memory.memory);
  const sameLate = new TokenBucket(plan, thread, { key: "late", nowMs: 0 });
  late.tryTake(0);
  assert.equal(sameLate.remaining(0), 2, "threads share what took its place");
  assert.equal(held.remaining(0), 3, "and who had it begins anew");
  held.tryTake(0);
  assert.equal(held.remaining(0), 2);
  assert.equal(late.remaining(0), 2, "without touching the other");
  assert.deepEqual(rich.seen, { evicted: 2, own: 0 });
});
