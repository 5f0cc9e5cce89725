/**
 * `histogram_quantile` over classic buckets: linear within a bucket, by Prometheus's rules for the
 * edges, missing `+Inf` and counts that fall because targets were not scraped at one instant.
 */
import { type LabelSet, labelSetKey, metricName, withoutLabels } from "../label-set.ts";
import { type Bucket, bucketQuantile, parseBucketBound } from "../bucket-quantile.ts";
import { emptyRow, type Row, setAt } from "./value.ts";

const bucketLabels: ReadonlySet<string> = new Set(["le", metricName]);

export function histogramQuantile(quantiles: Float64Array, rows: readonly Row[]): readonly Row[] {
  const groups = new Map<
    string,
    { readonly labels: LabelSet; readonly buckets: [number, Row][] }
  >();
  for (const row of rows) {
    const upper = parseBucketBound(row.labels.get("le"));
    if (upper === undefined) continue;
    const labels = withoutLabels(row.labels, bucketLabels);
    const key = labelSetKey(labels);
    const group = groups.get(key) ?? { labels, buckets: [] };
    group.buckets.push([upper, row]);
    groups.set(key, group);
  }
  return [...groups.values()].map(({ labels, buckets }) => {
    buckets.sort(([a], [b]) => a - b);
    const result = emptyRow(labels, quantiles.length);
    for (let step = 0; step < quantiles.length; step++) {
      const present = bucketsAt(buckets, step);
      if (present.length > 0) setAt(result, step, bucketQuantile(quantiles[step] ?? 0, present));
    }
    return result;
  });
}

function bucketsAt(buckets: readonly (readonly [number, Row])[], step: number): readonly Bucket[] {
  const present: { readonly upper: number; count: number }[] = [];
  for (const [upper, row] of buckets) {
    if (row.present[step] === 0) continue;
    const count = row.values[step] ?? 0;
    const last = present.at(-1);
    if (last !== undefined && last.upper === upper) last.count += count;
    else present.push({ upper, count });
  }
  for (let i = 1; i < present.length; i++) {
    const bucket = present[i];
    const below = present[i - 1];
    // Cumulative by definition; a fall is rounding or scrapes apart.
    if (bucket !== undefined && below !== undefined && bucket.count < below.count) {
      bucket.count = below.count;
    }
  }
  return present;
}
