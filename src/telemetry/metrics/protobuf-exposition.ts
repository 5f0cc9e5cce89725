/**
 * Series as Prometheus's protobuf exposition (`io.prometheus.client.MetricFamily`, delimited), the only
 * one that carries native histograms. Classic buckets stand beside them in the same message.
 */
import type { Labels } from "../metrics.ts";
import type { MetricMeaning } from "./exposition.ts";
import {
  nativeSchema,
  nativeZeroThreshold,
  type NativeCounts,
  zeroOctave,
} from "./native-buckets.ts";

export interface ProtobufSeries {
  readonly labels: Labels;
  readonly values: Float64Array;
  readonly slot: number;
  /** Of histograms; absent or empty: classic buckets alone. */
  readonly native?: NativeCounts | undefined;
}

const types = { counter: 0, gauge: 1, histogram: 4 } as const;
const family = { name: 1, help: 2, type: 3, metric: 4 } as const;
const metric = { label: 1, gauge: 2, counter: 3, histogram: 7 } as const;
const pair = { name: 1, value: 2 } as const;
const histogramFields = {
  count: 1,
  sum: 2,
  bucket: 3,
  schema: 5,
  zeroThreshold: 6,
  zeroCount: 7,
  positiveSpan: 12,
  positiveDelta: 13,
} as const;

/** Undefined where there are no series. */
export function encodeMetric(
  { name, help, kind, buckets }: MetricMeaning,
  series: Iterable<ProtobufSeries>,
): Uint8Array | undefined {
  const writer = new Writer();
  let isEmpty = true;
  writer.text(family.name, name);
  writer.text(family.help, help);
  writer.varintField(family.type, types[kind]);
  for (const one of series) {
    isEmpty = false;
    writer.message(family.metric, (body) => {
      for (const [label, value] of Object.entries(one.labels)) {
        body.message(metric.label, (entry) => {
          entry.text(pair.name, label);
          entry.text(pair.value, value);
        });
      }
      if (kind === "histogram") {
        body.message(metric.histogram, (fields) => writeHistogram(fields, buckets, one));
      } else {
        const value = one.values[one.slot] ?? 0;
        body.message(metric[kind], (fields) => fields.double(1, value));
      }
    });
  }
  return isEmpty ? undefined : writer.delimited();
}

/** One answer of what `encodeMetric` made. */
export function joinMetrics(metrics: readonly (Uint8Array | undefined)[]): Uint8Array {
  return Buffer.concat(metrics.filter((encoded) => encoded !== undefined));
}

function writeHistogram(
  writer: Writer,
  buckets: readonly number[],
  { values, slot, native }: ProtobufSeries,
): void {
  const { zeros, spans, deltas, total } = spansOf(native ?? new Map());
  const isNative = native !== undefined && native.size > 0;
  const classic = buckets.map((_, i) => values[slot + i] ?? 0);
  const all = classic.reduce((sum, count) => sum + count, 0) + (values[slot + buckets.length] ?? 0);
  // Prometheus wants the count to be that of the native buckets, which are read a moment apart.
  writer.varintField(histogramFields.count, isNative ? total : all);
  writer.double(histogramFields.sum, values[slot + buckets.length + 1] ?? 0);
  let cumulative = 0;
  for (let i = 0; i < buckets.length; i++) {
    cumulative += classic[i] ?? 0;
    const upTo = cumulative;
    writer.message(histogramFields.bucket, (bucket) => {
      bucket.varintField(1, upTo);
      bucket.double(2, buckets[i] ?? 0);
    });
  }
  if (!isNative) return;
  writer.varintField(histogramFields.schema, zigzag(nativeSchema));
  writer.double(histogramFields.zeroThreshold, nativeZeroThreshold);
  writer.varintField(histogramFields.zeroCount, zeros);
  for (const { offset, length } of spans) {
    writer.message(histogramFields.positiveSpan, (span) => {
      span.varintField(1, zigzag(offset));
      span.varintField(2, length);
    });
  }
  for (const delta of deltas) writer.varintField(histogramFields.positiveDelta, zigzag(delta));
}

interface Spans {
  readonly zeros: number;
  readonly total: number;
  /** Runs of buckets; `offset` from the end of the run before, of the first from bucket 0. */
  readonly spans: readonly { readonly offset: number; readonly length: number }[];
  readonly deltas: readonly number[];
}

/** Runs that do not skip more than two empty buckets, as a span costs more than those. */
function spansOf(native: NativeCounts): Spans {
  const filled: (readonly [bucket: number, count: number])[] = [];
  for (const octave of [...native.keys()].toSorted((a, b) => a - b)) {
    if (octave === zeroOctave) continue;
    const counts = native.get(octave) ?? [];
    for (let i = 0; i < counts.length; i++) {
      const count = counts[i] ?? 0;
      if (count > 0) filled.push([octave * counts.length + i, count]);
    }
  }
  const zeros = native.get(zeroOctave)?.[0] ?? 0;
  const spans: { offset: number; length: number }[] = [];
  const deltas: number[] = [];
  let next = 0;
  let before = 0;
  let total = zeros;
  for (const [bucket, count] of filled) {
    const last = spans.at(-1);
    if (last === undefined || bucket - next > 2) spans.push({ offset: bucket - next, length: 1 });
    else {
      for (; next < bucket; next++) {
        deltas.push(-before);
        before = 0;
        last.length++;
      }
      last.length++;
    }
    deltas.push(count - before);
    before = count;
    next = bucket + 1;
    total += count;
  }
  return { zeros, total, spans, deltas };
}

/** Signed numbers that are small either way. */
function zigzag(value: number): number {
  return value >= 0 ? value * 2 : -value * 2 - 1;
}

/** Just enough protobuf; counts are whole numbers up to 2^53. */
class Writer {
  readonly #bytes: number[] = [];

  varintField(field: number, value: number): void {
    this.#varint(field * 8);
    this.#varint(value);
  }

  double(field: number, value: number): void {
    this.#varint(field * 8 + 1);
    this.#bytes.push(...new Uint8Array(new Float64Array([value]).buffer));
  }

  text(field: number, value: string): void {
    this.#chunk(field, Buffer.from(value));
  }

  message(field: number, write: (writer: Writer) => void): void {
    const inner = new Writer();
    write(inner);
    this.#chunk(field, inner.#bytes);
  }

  /** The whole with its length before it. */
  delimited(): Uint8Array {
    const lead = new Writer();
    lead.#varint(this.#bytes.length);
    return Uint8Array.from([...lead.#bytes, ...this.#bytes]);
  }

  #chunk(field: number, bytes: ArrayLike<number>): void {
    this.#varint(field * 8 + 2);
    this.#varint(bytes.length);
    for (let i = 0; i < bytes.length; i++) this.#bytes.push(bytes[i] ?? 0);
  }

  #varint(value: number): void {
    let rest = value;
    while (rest >= 128) {
      this.#bytes.push((rest % 128) + 128);
      rest = Math.floor(rest / 128);
    }
    this.#bytes.push(rest);
  }
}
