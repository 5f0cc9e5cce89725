/**
 * What the heads of answers hold, where a cluster lets them be large (`max_response_headers_kb`,
 * `max_headers_count`). Each stays until its answer has been passed on, so many at a time would add up to
 * any amount: those of one thread share a bound, and an answer that finds no place is refused. Heads
 * within the usual limits are small, and are not counted.
 */
import type { Counter, MetricRegistry } from "../../telemetry/metrics.ts";
import { type HeadLimits, plainHeadBytes, plainHeadLimits } from "../../wire/http1-head.ts";

/** Eight of the largest there may be. */
const heldBytesMost = 64 * 1024 * 1024;

export class AnswerHeads {
  /** Of all exchanges. */
  bytes = 0;
  readonly bytesMost: number;
  readonly refused: Counter;

  constructor(metrics: MetricRegistry, bytesMost: number = heldBytesMost) {
    this.bytesMost = bytesMost;
    this.refused = metrics.counter(
      "heddle_answer_heads_refused_total",
      "Answers refused because the heads of all answers together held too much memory",
    );
  }

  /** For one exchange after another; undefined where heads are small. */
  shareFor(limits: HeadLimits): HeadShare | undefined {
    const isPlain =
      limits.headBytesMax <= plainHeadLimits.headBytesMax &&
      limits.fieldsMax <= plainHeadLimits.fieldsMax;
    return isPlain ? undefined : this.open();
  }

  open(): HeadShare {
    return new HeadShare(this);
  }
}

export class HeadShare {
  readonly #all: AnswerHeads;
  #bytes = 0;

  constructor(all: AnswerHeads) {
    this.#all = all;
  }

  /** So much memory the exchange's heads have by now; false, and counted, where that is too much. */
  hold(memoryBytes: number): boolean {
    const bytes = memoryBytes <= plainHeadBytes ? 0 : memoryBytes;
    const more = bytes - this.#bytes;
    const all = this.#all;
    if (more > 0 && all.bytes + more > all.bytesMost) {
      all.refused.add();
      return false;
    }
    this.#bytes = bytes;
    all.bytes += more;
    return true;
  }

  release(): void {
    this.#all.bytes -= this.#bytes;
    this.#bytes = 0;
  }
}
