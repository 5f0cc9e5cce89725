/** Reads Prometheus's delimited protobuf exposition, as far as tests compare it. */
import { BinaryReader } from "@bufbuild/protobuf/wire";

export interface DecodedFamily {
  readonly name: string;
  readonly type: string;
  readonly series: readonly DecodedSeries[];
}

export interface DecodedSeries {
  readonly labels: Readonly<Record<string, string>>;
  readonly value?: number;
  readonly histogram?: DecodedHistogram;
}

export interface DecodedHistogram {
  readonly count: number;
  readonly sum: number;
  /** Upper bound and cumulative count. */
  readonly classic: readonly (readonly [number, number])[];
  readonly schema: number;
  readonly zeros: number;
  /** Bucket and its count, of those that are not empty. */
  readonly native: readonly (readonly [number, number])[];
}

const types: readonly string[] = ["counter", "gauge", "summary", "untyped", "histogram"];

export function decodeFamilies(bytes: Uint8Array): DecodedFamily[] {
  const reader = new BinaryReader(bytes);
  const families: DecodedFamily[] = [];
  while (reader.pos < reader.len) families.push(familyOf(reader.bytes()));
  return families;
}

type OnField = (field: number, reader: BinaryReader) => void;

function fields(bytes: Uint8Array, onField: OnField): void {
  const reader = new BinaryReader(bytes);
  while (reader.pos < reader.len) {
    const [field] = reader.tag();
    onField(field, reader);
  }
}

function familyOf(bytes: Uint8Array): DecodedFamily {
  let name = "";
  let type = "";
  const series: DecodedSeries[] = [];
  fields(bytes, (field, reader) => {
    if (field === 1) name = reader.string();
    else if (field === 3) type = types[reader.uint32()] ?? "";
    else if (field === 4) series.push(seriesOf(reader.bytes()));
    else reader.bytes();
  });
  return { name, type, series };
}

function seriesOf(bytes: Uint8Array): DecodedSeries {
  const labels: Record<string, string> = {};
  let value: number | undefined;
  let histogram: DecodedHistogram | undefined;
  fields(bytes, (field, reader) => {
    const inner = reader.bytes();
    if (field === 1) {
      const pair = ["", ""];
      fields(inner, (at, of) => (pair[at - 1] = of.string()));
      labels[pair[0] ?? ""] = pair[1] ?? "";
    } else if (field === 7) histogram = histogramOf(inner);
    else fields(inner, (_at, of) => (value = of.double()));
  });
  return {
    labels,
    ...(value === undefined ? {} : { value }),
    ...(histogram === undefined ? {} : { histogram }),
  };
}

function histogramOf(bytes: Uint8Array): DecodedHistogram {
  const numbers: Record<number, number> = {};
  const classic: (readonly [number, number])[] = [];
  const spans: { readonly offset: number; readonly length: number }[] = [];
  const deltas: number[] = [];
  fields(bytes, (field, reader) => {
    if (field === 2 || field === 6) numbers[field] = reader.double();
    else if (field === 5) numbers[field] = reader.sint32();
    else if (field === 13) deltas.push(Number(reader.sint64()));
    else if (field === 3) {
      const bucket = [0, 0];
      fields(reader.bytes(), (at, of) => {
        bucket[at - 1] = at === 1 ? Number(of.uint64()) : of.double();
      });
      classic.push([bucket[1] ?? 0, bucket[0] ?? 0]);
    } else if (field === 12) {
      const span = { offset: 0, length: 0 };
      fields(reader.bytes(), (at, of) => {
        if (at === 1) span.offset = of.sint32();
        else span.length = of.uint32();
      });
      spans.push(span);
    } else numbers[field] = Number(reader.uint64());
  });
  return {
    count: numbers[1] ?? 0,
    sum: numbers[2] ?? 0,
    classic,
    schema: numbers[5] ?? 0,
    zeros: numbers[7] ?? 0,
    native: nativeOf(spans, deltas),
  };
}

function nativeOf(
  spans: readonly { readonly offset: number; readonly length: number }[],
  deltas: readonly number[],
): (readonly [number, number])[] {
  const buckets: (readonly [number, number])[] = [];
  let bucket = 0;
  let count = 0;
  let at = 0;
  for (const { offset, length } of spans) {
    bucket += offset;
    for (let i = 0; i < length; i++, bucket++) {
      count += deltas[at++] ?? 0;
      if (count !== 0) buckets.push([bucket, count]);
    }
  }
  return buckets;
}
