/**
 * Functions over a range of samples (`rate(x[5m])`), for all steps of one series in one pass. The
 * window of a step is open at its start and closed at its end, as in Prometheus 3, and `rate` and
 * `increase` extrapolate to the window's edges by Prometheus's rule.
 */
import type { Samples } from "../series/series.ts";
import { type Row, setAt, type Steps } from "./value.ts";

export interface Window {
  readonly startMs: number;
  readonly endMs: number;
  /** Samples `first` to `last`, both included; at least one. */
  readonly first: number;
  readonly last: number;
}

export type WindowFunction = (samples: PreparedSamples, window: Window) => number | undefined;

/** Samples with the counter's growth summed up, so that a window costs the same whatever its length. */
export interface PreparedSamples extends Samples {
  /** Growth since the first sample, resets accounted for. */
  readonly growth: Float64Array;
}

export const windowFunctions: ReadonlyMap<string, WindowFunction> = new Map<string, WindowFunction>(
  [
    ["rate", (samples, window) => extrapolated(samples, window, "rate")],
    ["increase", (samples, window) => extrapolated(samples, window, "increase")],
    ["delta", (samples, window) => extrapolated(samples, window, "delta")],
    ["irate", irate],
    ["sum_over_time", sumOverTime],
    ["min_over_time", (samples, window) => fold(samples, window, smaller)],
    ["max_over_time", (samples, window) => fold(samples, window, larger)],
    ["count_over_time", (_, { first, last }) => last - first + 1],
    ["last_over_time", ({ values }, { last }) => values[last]],
    ["avg_over_time", averageOverTime],
  ],
);

export function fillWindows(
  row: Row,
  samples: Samples,
  steps: Steps,
  windowing: { readonly rangeMs: number; readonly apply: WindowFunction },
): void {
  const { timesMs } = samples;
  const prepared: PreparedSamples = { ...samples, growth: growthOf(samples.values) };
  let first = 0;
  let after = 0;
  for (let step = 0; step < steps.count; step++) {
    const endMs = steps.startMs + step * steps.stepMs;
    const startMs = endMs - windowing.rangeMs;
    while (after < timesMs.length && (timesMs[after] ?? Infinity) <= endMs) after++;
    while (first < after && (timesMs[first] ?? Infinity) <= startMs) first++;
    if (first === after) continue;
    const value = windowing.apply(prepared, { startMs, endMs, first, last: after - 1 });
    if (value !== undefined) setAt(row, step, value);
  }
}

/** The newest sample within the lookback, unless the series has ended since. */
export function fillInstants(row: Row, samples: Samples, steps: Steps, lookbackMs: number): void {
  const { timesMs, values, staleAtMs } = samples;
  let after = 0;
  let stale = 0;
  for (let step = 0; step < steps.count; step++) {
    const atMs = steps.startMs + step * steps.stepMs;
    while (after < timesMs.length && (timesMs[after] ?? Infinity) <= atMs) after++;
    while (stale < staleAtMs.length && (staleAtMs[stale] ?? Infinity) <= atMs) stale++;
    if (after === 0) continue;
    const sampleMs = timesMs[after - 1] ?? -Infinity;
    if (sampleMs <= atMs - lookbackMs) continue;
    if (stale > 0 && (staleAtMs[stale - 1] ?? -Infinity) > sampleMs) continue;
    setAt(row, step, values[after - 1] ?? 0);
  }
}

function growthOf(values: Float64Array): Float64Array {
  const growth = new Float64Array(values.length);
  let total = 0;
  for (let i = 1; i < values.length; i++) {
    const previous = values[i - 1] ?? 0;
    const value = values[i] ?? 0;
    total += value < previous ? value : value - previous;
    growth[i] = total;
  }
  return growth;
}

function extrapolated(
  samples: PreparedSamples,
  window: Window,
  kind: "rate" | "increase" | "delta",
): number | undefined {
  const { first, last, startMs, endMs } = window;
  if (last === first) return undefined;
  const { timesMs, values, growth } = samples;
  const firstMs = timesMs[first] ?? 0;
  const lastMs = timesMs[last] ?? 0;
  const measured = kind === "delta" ? values : growth;
  const change = (measured[last] ?? 0) - (measured[first] ?? 0);
  const sampledMs = lastMs - firstMs;
  const averageMs = sampledMs / (last - first);
  const thresholdMs = averageMs * 1.1;
  let beforeMs = firstMs - startMs;
  let afterMs = endMs - lastMs;
  if (beforeMs >= thresholdMs) beforeMs = averageMs / 2;
  if (afterMs >= thresholdMs) afterMs = averageMs / 2;
  const firstValue = values[first] ?? 0;
  if (kind !== "delta" && change > 0 && firstValue >= 0) {
    // A counter is never below zero, so it cannot have begun before it would have been.
    beforeMs = Math.min(beforeMs, sampledMs * (firstValue / change));
  }
  const total = change * ((sampledMs + beforeMs + afterMs) / sampledMs);
  return kind === "rate" ? total / ((endMs - startMs) / 1000) : total;
}

function irate({ timesMs, values }: PreparedSamples, { first, last }: Window): number | undefined {
  if (last === first) return undefined;
  const value = values[last] ?? 0;
  const previous = values[last - 1] ?? 0;
  const seconds = ((timesMs[last] ?? 0) - (timesMs[last - 1] ?? 0)) / 1000;
  return (value < previous ? value : value - previous) / seconds;
}

function averageOverTime(samples: PreparedSamples, window: Window): number {
  return sumOverTime(samples, window) / (window.last - window.first + 1);
}

/** Carries the rounding error along (Kahan, Neumaier), as Prometheus does. */
function sumOverTime({ values }: PreparedSamples, { first, last }: Window): number {
  let total = 0;
  let rest = 0;
  for (let i = first; i <= last; i++) {
    const value = values[i] ?? 0;
    const sum = total + value;
    if (Number.isFinite(sum)) {
      rest += Math.abs(total) >= Math.abs(value) ? total - sum + value : value - sum + total;
    }
    total = sum;
  }
  return total + rest;
}

function fold(
  { values }: PreparedSamples,
  { first, last }: Window,
  combine: (total: number, value: number) => number,
): number {
  let total = values[first] ?? 0;
  for (let i = first + 1; i <= last; i++) total = combine(total, values[i] ?? 0);
  return total;
}

/** NaN gives way to anything else. */
export function smaller(a: number, b: number): number {
  return b < a || Number.isNaN(a) ? b : a;
}

export function larger(a: number, b: number): number {
  return b > a || Number.isNaN(a) ? b : a;
}
