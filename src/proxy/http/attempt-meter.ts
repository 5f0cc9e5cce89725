/** What one attempt took, for clusters that track that; used again for each attempt of a stream. */
import { type Http1Head, slotWidth } from "../../wire/http1-head.ts";
import type { AttemptTotals } from "../stats/tracked-series.ts";
import type { StreamRecord } from "./stream-record.ts";

/** Envoy has the status as a field, `:status: 200`. */
const statusBytes = 10;

export class AttemptMeter implements AttemptTotals {
  usedMs = 0;
  timeoutMs: number | undefined = 0;
  requestHeadBytes = 0;
  requestHeadCount = 0;
  requestBodyBytes = 0;
  answerHeadBytes = 0;
  answerHeadCount = 0;
  answerBodyBytes = 0;
  #startMs = 0;
  #isSent = false;

  begin(nowMs: number): void {
    this.#startMs = nowMs;
    this.#isSent = false;
    this.answerHeadBytes = 0;
    this.answerHeadCount = 0;
    this.answerBodyBytes = 0;
  }

  onSent(): void {
    this.#isSent = true;
  }

  /** As the endpoint has sent it. */
  onAnswer({ slots, count }: Http1Head): void {
    let bytes = statusBytes;
    for (let at = 0; at < count * slotWidth; at += slotWidth) {
      bytes +=
        (slots[at + 1] ?? 0) - (slots[at] ?? 0) + (slots[at + 3] ?? 0) - (slots[at + 2] ?? 0);
    }
    this.answerHeadBytes = bytes;
    this.answerHeadCount = count + 1;
  }

  end(record: StreamRecord, nowMs: number, timeoutMs: number | undefined): this {
    this.usedMs = nowMs - this.#startMs;
    this.timeoutMs = timeoutMs;
    this.requestHeadBytes = record.headBytes("request");
    this.requestHeadCount = record.requestHeadCount;
    this.requestBodyBytes = this.#isSent ? record.bytesReceived : 0;
    if (this.answerHeadCount > 0) this.answerBodyBytes = record.bytesSent;
    return this;
  }
}
