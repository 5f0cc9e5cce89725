import { type LabelSet, nameLabel, withoutLabels } from "../label-set.ts";
import { type Chunk, chunkSamplesMax, packedBytes, packSamples, unpackSamples } from "./chunk.ts";
import type { ScrapeTimes } from "./scrape-times.ts";

/** What a query reads: samples in order of time, and the times at which the series ended. */
export interface Samples {
  readonly timesMs: Float64Array;
  readonly values: Float64Array;
  /** A query at or after one of these, and before the next sample, sees nothing. */
  readonly staleAtMs: readonly number[];
}

/** One series of one target: packed chunks, then an open one that grows. */
export class Series {
  readonly labels: LabelSet;
  #unnamed: LabelSet | undefined;
  /** The last scrape that had it. */
  lastScrape = -2;
  readonly #times: ScrapeTimes;
  readonly #chunks: Chunk[] = [];
  #open = new Float64Array(8);
  #openLength = 0;
  #openFirst = 0;

  constructor(labels: LabelSet, times: ScrapeTimes) {
    this.labels = labels;
    this.#times = times;
  }

  /** The labels without the metric's name: what most results carry. */
  get unnamedLabels(): LabelSet {
    this.#unnamed ??= withoutLabels(this.labels, nameLabel);
    return this.#unnamed;
  }

  append(scrape: number, value: number): void {
    if (this.#openLength === 0) this.#openFirst = scrape;
    if (this.#openLength === this.#open.length) this.#grow();
    this.#open[this.#openLength++] = value;
    this.lastScrape = scrape;
    if (this.#openLength === chunkSamplesMax) this.#close(false);
  }

  /** The series was not in the scrape after its last. */
  markStale(): void {
    if (this.#openLength > 0) {
      this.#close(true);
      return;
    }
    const last = this.#chunks.pop();
    if (last !== undefined) this.#chunks.push({ ...last, endsStale: true });
  }

  /** Forgets chunks that end before `scrape`. */
  dropBefore(scrape: number): void {
    while (this.#chunks[0] !== undefined && endOf(this.#chunks[0]) <= scrape) this.#chunks.shift();
  }

  /** Samples with `fromMs < time <= toMs`, in whole chunks at least. */
  read(fromMs: number, toMs: number): Samples {
    const first = this.#times.firstAfter(fromMs);
    const end = this.#times.firstAfter(toMs);
    const chunks = this.#chunks.filter((chunk) => endOf(chunk) > first && chunk.firstScrape < end);
    const isOpenWanted = this.#openLength > 0 && this.#openFirst < end;
    const packedLength = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    const length = packedLength + (isOpenWanted ? this.#openLength : 0);
    const values = new Float64Array(length);
    const timesMs = new Float64Array(length);
    const staleAtMs: number[] = [];
    let at = 0;
    for (const chunk of chunks) {
      unpackSamples(chunk.packed, chunk.length, values, at);
      this.#times.copy(chunk.firstScrape, chunk.length, timesMs, at);
      at += chunk.length;
      if (chunk.endsStale) staleAtMs.push(this.#times.at(endOf(chunk)));
    }
    if (isOpenWanted) {
      values.set(this.#open.subarray(0, this.#openLength), at);
      this.#times.copy(this.#openFirst, this.#openLength, timesMs, at);
    }
    return { timesMs, values, staleAtMs };
  }

  bytes(): number {
    return this.#chunks.reduce(
      (sum, chunk) => sum + packedBytes(chunk.packed),
      this.#open.byteLength,
    );
  }

  #close(endsStale: boolean): void {
    this.#chunks.push({
      firstScrape: this.#openFirst,
      length: this.#openLength,
      packed: packSamples(this.#open.subarray(0, this.#openLength)),
      endsStale,
    });
    this.#openLength = 0;
  }

  #grow(): void {
    const larger = new Float64Array(Math.min(chunkSamplesMax, this.#open.length * 4));
    larger.set(this.#open);
    this.#open = larger;
  }
}

function endOf(chunk: Chunk): number {
  return chunk.firstScrape + chunk.length;
}
