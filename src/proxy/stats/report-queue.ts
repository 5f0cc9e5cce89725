/**
 * Gathers what is told to a collector (spans, entries of a log) into batches and hands them to `post`,
 * one at a time. Bounded: while the collector is away so many reports wait, what comes then is dropped
 * and counted. It knows neither what a report is nor how it travels.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { ReportMemory } from "./report-memory.ts";

/** Writes reports one after another into a batch of its own. */
export interface ReportEncoding<Item> {
  /** How many reports it made of the item. */
  add(item: Item): number;
  /** Of the batch so far. */
  readonly bytes: number;
  /** The batch as it is sent; the next one begins. */
  seal(): Uint8Array;
}

/** Sends one batch; must not throw. */
export type PostBatch = (body: Uint8Array, done: (isAccepted: boolean) => void) => void;

export type ReportOutcome = "sent" | "failed" | "dropped";

export interface ReportQueueOptions<Item> {
  readonly clock: Clock;
  readonly encoding: ReportEncoding<Item>;
  readonly flushAfterMs: number;
  /** A batch is full with so many reports, or so many bytes. */
  readonly batchReports: number;
  readonly batchBytes: number;
  /** More than this does not wait. */
  readonly pendingReportsMax: number;
  readonly pendingBytesMax: number;
  /** Shared with other queues; batches on their way count, too. */
  readonly memory: ReportMemory;
  readonly post: PostBatch;
  readonly count: (outcome: ReportOutcome, reports: number) => void;
}

interface Batch {
  readonly body: Uint8Array;
  readonly reports: number;
}

export class ReportQueue<Item> {
  readonly #options: ReportQueueOptions<Item>;
  readonly #full: Batch[] = [];
  #fullReports = 0;
  #fullBytes = 0;
  /** In the batch that is being filled. */
  #reports = 0;
  #timer: Timer | undefined;
  #isPosting = false;
  /** Who waits for the end. */
  #finished: (() => void) | undefined;

  constructor(options: ReportQueueOptions<Item>) {
    this.#options = options;
  }

  add(item: Item): void {
    const { encoding, pendingReportsMax, pendingBytesMax, batchReports, batchBytes, memory } =
      this.#options;
    const isFull =
      memory.isFull ||
      this.#fullReports + this.#reports >= pendingReportsMax ||
      this.#fullBytes + encoding.bytes >= pendingBytesMax;
    if (isFull) {
      this.#options.count("dropped", 1);
      return;
    }
    const before = encoding.bytes;
    this.#reports += encoding.add(item);
    memory.change(encoding.bytes - before);
    if (this.#reports >= batchReports || encoding.bytes >= batchBytes) this.#keep(this.#close());
    if (this.#full.length > 0) this.flush();
    else if (this.#reports > 0) this.#wait();
  }

  /** Sends what waits, unless a batch is on its way already. */
  flush(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#isPosting) return;
    const batch = this.#next();
    if (batch === undefined) return;
    this.#isPosting = true;
    this.#options.post(batch.body, (isAccepted) => {
      this.#isPosting = false;
      this.#options.memory.change(-batch.body.length);
      this.#options.count(isAccepted ? "sent" : "failed", batch.reports);
      if (this.#finished !== undefined) this.#goOn(isAccepted);
      else if (this.#full.length > 0) this.flush();
      else if (this.#reports > 0) this.#wait();
    });
  }

  /** Sends all that waits, one batch after the other, until one is refused. */
  finish(): Promise<void> {
    return new Promise((resolve) => {
      this.#finished = resolve;
      if (!this.#isPosting) this.#goOn(true);
    });
  }

  #goOn(isAccepted: boolean): void {
    if (isAccepted) this.flush();
    if (!this.#isPosting) this.#finished?.();
  }

  #wait(): void {
    const { clock, flushAfterMs } = this.#options;
    this.#timer ??= clock.schedule(flushAfterMs, this.#onDue);
  }

  /** One for all: a closure in `#wait()` would cost each report a context. */
  readonly #onDue = (): void => this.flush();

  #next(): Batch | undefined {
    const batch = this.#full.shift();
    if (batch === undefined) return this.#reports > 0 ? this.#close() : undefined;
    this.#fullReports -= batch.reports;
    this.#fullBytes -= batch.body.length;
    return batch;
  }

  #close(): Batch {
    const { encoding, memory } = this.#options;
    const told = encoding.bytes;
    const batch = { body: encoding.seal(), reports: this.#reports };
    memory.change(batch.body.length - told);
    this.#reports = 0;
    return batch;
  }

  #keep(batch: Batch): void {
    this.#full.push(batch);
    this.#fullReports += batch.reports;
    this.#fullBytes += batch.body.length;
  }
}
