import { type LabelSet, nameLabel, withoutLabels } from "../label-set.ts";
import { Chunk, type Packing, packingFor } from "./chunk.ts";
import type { ScrapeTimes } from "./scrape-times.ts";

/** What a query reads: samples in order of time, and the times at which the series ended. */
export interface Samples {
  readonly timesMs: Float64Array;
  readonly values: Float64Array;
  /** A query at or after one of these, and before the next sample, sees nothing. */
  readonly staleAtMs: readonly number[];
}

/** One series of one target: chunks, the last of which grows. */
export class Series {
  readonly labels: LabelSet;
  #unnamed: LabelSet | undefined;
  /** The last scrape that had it. */
  lastScrape = -2;
  readonly #times: ScrapeTimes;
  readonly #chunks: Chunk[] = [];
  /** Only ever wider: a series that needed decimals once will need them again. */
  #packing: Packing = 0;

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
    const open = this.#chunks.at(-1);
    const isNext = open !== undefined && !open.endsStale && open.end === scrape;
    if (!isNext || !open.append(value)) {
      open?.seal();
      this.#packing = packingFor(value, this.#packing);
      this.#chunks.push(new Chunk(scrape, value, this.#packing));
    }
    this.lastScrape = scrape;
  }

  /** The series was not in the scrape after its last. */
  markStale(): void {
    const open = this.#chunks.at(-1);
    if (open === undefined) return;
    open.seal();
    open.endsStale = true;
  }

  /** Forgets chunks that end before `scrape`. */
  dropBefore(scrape: number): void {
    while (this.#chunks[0] !== undefined && this.#chunks[0].end <= scrape) this.#chunks.shift();
  }

  /** Samples with `fromMs < time <= toMs`, in whole chunks at least. */
  read(fromMs: number, toMs: number): Samples {
    const first = this.#times.firstAfter(fromMs);
    const end = this.#times.firstAfter(toMs);
    const chunks = this.#chunks.filter((chunk) => chunk.end > first && chunk.firstScrape < end);
    const length = chunks.reduce((sum, chunk) => sum + chunk.length, 0);
    const values = new Float64Array(length);
    const timesMs = new Float64Array(length);
    const staleAtMs: number[] = [];
    let at = 0;
    for (const chunk of chunks) {
      chunk.read(values, at);
      this.#times.copy(chunk.firstScrape, chunk.length, timesMs, at);
      at += chunk.length;
      if (chunk.endsStale) staleAtMs.push(this.#times.at(chunk.end));
    }
    return { timesMs, values, staleAtMs };
  }

  /** Of its packed samples. */
  bytes(): number {
    return this.#chunks.reduce((sum, chunk) => sum + chunk.bytes(), 0);
  }
}
