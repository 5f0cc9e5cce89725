/** The writing end of a metric registry that another thread reads: `news.ts` says what travels. */
import { type MetricNews, type MetricNewsItem, newsFlags } from "./news.ts";

/** Gathers news, and knows how far the reader is. */
export class NewsWriter {
  readonly flags: SharedArrayBuffer = new SharedArrayBuffer(newsFlags.words * 4);
  readonly #words = new Int32Array(this.flags);
  #items: MetricNewsItem[] = [];
  /** Of the news that is being gathered. */
  sequence = 1;

  get wantsNative(): boolean {
    return Atomics.load(this.#words, newsFlags.wantsNative) !== 0;
  }

  get appliedSequence(): number {
    return Atomics.load(this.#words, newsFlags.appliedSequence);
  }

  /** Nothing is gathered before the first reader: where there is none, nobody would ever take it. */
  isFollowed = false;

  add(item: MetricNewsItem): void {
    if (this.isFollowed) this.#items.push(item);
  }

  take(): MetricNews | undefined {
    if (this.#items.length === 0) return undefined;
    const news = { sequence: this.sequence++, items: this.#items };
    this.#items = [];
    return news;
  }
}
