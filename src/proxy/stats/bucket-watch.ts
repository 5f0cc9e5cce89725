/** Counts what becomes of token buckets when the memory that threads share for them is full. */
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import type { BucketWatch } from "../engine/shared-buckets.ts";

export function bucketWatch(metrics: MetricRegistry): BucketWatch {
  const count = (outcome: "evicted" | "own"): (() => void) => {
    const help = "Rate limits' buckets for which no place was left, by what became of it";
    const counter = metrics.counter("heddle_rate_limit_buckets_total", help, { outcome });
    return () => counter.add();
  };
  return { onEvicted: count("evicted"), onOwn: count("own") };
}
