/**
 * Makes spans of every sampled request and gathers them into batches for a collector. It neither
 * encodes nor sends: both are handed in. At most `pendingMax` wait; what comes then is dropped
 * and counted.
 */
import type { Clock } from "../../base/clock.ts";
import type { MetricRegistry } from "../../telemetry/metrics.ts";
import type { RequestRecord } from "../../telemetry/request-record.ts";
import type { ReportMemory } from "./report-memory.ts";
import { type PostBatch, type ReportEncoding, ReportQueue } from "./report-queue.ts";

export interface SpanSinkOptions {
  readonly clock: Clock;
  readonly metrics: MetricRegistry;
  readonly encoding: ReportEncoding<RequestRecord>;
  readonly memory: ReportMemory;
  /** Sends one encoded batch; must not throw. */
  readonly post: PostBatch;
  /** More spans than this do not wait; 4096 where it is absent. */
  readonly pendingMax?: number | undefined;
}

const flushAfterMs = 1000;
const batchSpans = 256;
const batchBytes = 1024 * 1024;
const pendingSpansDefault = 4096;
const pendingBytesMax = 8 * 1024 * 1024;

/** Spans of one process, sent one batch at a time. */
export class SpanSink {
  readonly #queue: ReportQueue<RequestRecord>;

  constructor({
    clock,
    metrics,
    encoding,
    memory,
    post,
    pendingMax = pendingSpansDefault,
  }: SpanSinkOptions) {
    this.#queue = new ReportQueue({
      clock,
      encoding,
      flushAfterMs,
      // A batch that could never fill would wait for the clock, and what comes then be dropped.
      batchReports: Math.min(batchSpans, pendingMax),
      batchBytes,
      pendingReportsMax: pendingMax,
      pendingBytesMax,
      memory,
      post,
      count(outcome, spans) {
        metrics
          .counter("heddle_spans_total", "Spans by what became of them.", { outcome })
          .add(spans);
      },
    });
  }

  add(record: RequestRecord): void {
    if (!record.isSampled || record.traceId === "" || record.spanId === "") return;
    this.#queue.add(record);
  }

  finish(): Promise<void> {
    return this.#queue.finish();
  }
}
