/**
 * A run of samples of one series, one per scrape, without a gap: sample `i` belongs to scrape
 * `firstScrape + i` of its target, which knows the time. Closed chunks are packed without loss:
 * most series of a mesh are idle (one number) or count by small steps (a byte or two each).
 */
export interface Chunk {
  readonly firstScrape: number;
  readonly length: number;
  readonly packed: Packed;
  /** The series was missing in the scrape after the last sample. */
  readonly endsStale: boolean;
}

export const chunkSamplesMax = 120;

type Packed =
  | { readonly kind: "constant"; readonly value: number }
  | { readonly kind: "steps"; readonly first: number; readonly steps: IntegerArray }
  | { readonly kind: "raw"; readonly values: Float64Array };

type IntegerArray = Int8Array | Int16Array | Int32Array;

export function packSamples(values: Float64Array): Packed {
  const first = values[0] ?? 0;
  if (values.every((value) => Object.is(value, first))) return { kind: "constant", value: first };
  let largest = 0;
  let previous = first;
  for (const value of values) {
    // -0 would come back as 0.
    if (!Number.isSafeInteger(value) || Object.is(value, -0)) {
      return { kind: "raw", values: values.slice() };
    }
    largest = Math.max(largest, Math.abs(value - previous));
    previous = value;
  }
  if (largest > 0x7fff_ffff) return { kind: "raw", values: values.slice() };
  const steps = integersFor(largest, values.length - 1);
  for (let i = 1; i < values.length; i++) steps[i - 1] = (values[i] ?? 0) - (values[i - 1] ?? 0);
  return { kind: "steps", first, steps };
}

/** Writes the chunk's samples from `at` on. */
export function unpackSamples(
  packed: Packed,
  length: number,
  target: Float64Array,
  at: number,
): void {
  switch (packed.kind) {
    case "constant":
      target.fill(packed.value, at, at + length);
      return;
    case "steps": {
      let value = packed.first;
      target[at] = value;
      for (let i = 0; i < packed.steps.length; i++) {
        value += packed.steps[i] ?? 0;
        target[at + 1 + i] = value;
      }
      return;
    }
    case "raw":
      target.set(packed.values, at);
  }
}

export function packedBytes(packed: Packed): number {
  switch (packed.kind) {
    case "constant":
      return 8;
    case "steps":
      return 8 + packed.steps.byteLength;
    case "raw":
      return packed.values.byteLength;
  }
}

function integersFor(largest: number, length: number): IntegerArray {
  if (largest <= 0x7f) return new Int8Array(length);
  return largest <= 0x7fff ? new Int16Array(length) : new Int32Array(length);
}
