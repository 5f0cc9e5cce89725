/**
 * What a thread tells about its registry, so that another can read the numbers from shared memory:
 * in order, as values that can be posted. An index is the order in which segments or metrics were
 * told, from 0.
 */
import type { MetricMeaning } from "./exposition.ts";

export type MetricNewsItem =
  | { readonly kind: "segment"; readonly buffer: ArrayBufferLike }
  | { readonly kind: "metric"; readonly meaning: MetricMeaning }
  | {
      readonly kind: "series";
      readonly id: number;
      readonly metric: number;
      readonly key: string;
      readonly segment: number;
      readonly slot: number;
    }
  /** Eight native buckets of a histogram: those of the octave. */
  | {
      readonly kind: "octave";
      readonly id: number;
      readonly octave: number;
      readonly segment: number;
      readonly slot: number;
    }
  /** `values`: the last ones. `isForgotten`: removed with what it was about, not for being idle. */
  | {
      readonly kind: "ended";
      readonly id: number;
      readonly values: readonly number[];
      readonly native: ReadonlyMap<number, readonly number[]>;
      readonly isForgotten: boolean;
    };

export interface MetricNews {
  /** The reader writes it into `flags` when it has applied the items. */
  readonly sequence: number;
  readonly items: readonly MetricNewsItem[];
}

/** Words of the Int32Array over a registry's `flags`. */
export const newsFlags = { appliedSequence: 0, wantsNative: 1, words: 2 } as const;
