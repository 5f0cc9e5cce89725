/**
 * Gathers lines and hands them on in large writes, one at a time, without ever blocking who logs.
 * Sans I/O: the write itself is handed in. When more than `pendingBytesMax` waits, what comes in
 * is dropped and counted.
 */
import type { Clock, Timer } from "../base/clock.ts";

export interface BatchWriterOptions {
  readonly clock: Clock;
  /** Writes all of it; `isRetriable` errors (EAGAIN of a full pipe) are tried again soon. */
  readonly write: (bytes: Buffer, done: (outcome: WriteOutcome) => void) => void;
  readonly onDrop: (lines: number, reason: "full" | "error") => void;
  readonly flushBytes?: number;
  readonly flushAfterMs?: number;
  readonly pendingBytesMax?: number;
}

export type WriteOutcome =
  | { readonly kind: "written" }
  /** `writtenBytes` of the buffer were taken; the rest can be tried again. */
  | { readonly kind: "busy"; readonly writtenBytes: number }
  | { readonly kind: "failed"; readonly message: string };

const retryAfterMs = 20;

export class BatchWriter {
  readonly #options: BatchWriterOptions;
  #lines = "";
  #lineCount = 0;
  #inFlight: { bytes: Buffer; readonly lines: number } | undefined;
  #timer: Timer | undefined;
  #isClosed = false;
  readonly #waiting: (() => void)[] = [];

  constructor(options: BatchWriterOptions) {
    this.#options = options;
  }

  /** Takes one or more whole lines. */
  append(lines: string): void {
    const { pendingBytesMax = 4 << 20, flushBytes = 64 << 10, flushAfterMs = 250 } = this.#options;
    if (
      this.#isClosed ||
      this.#lines.length + (this.#inFlight?.bytes.length ?? 0) > pendingBytesMax
    ) {
      this.#options.onDrop(1, "full");
      return;
    }
    this.#lines += lines;
    this.#lineCount += 1;
    if (this.#inFlight !== undefined) return;
    if (this.#lines.length >= flushBytes) this.#start();
    else this.#timer ??= this.#options.clock.schedule(flushAfterMs, () => this.#start());
  }

  /** Calls back when all that was appended before has been written or given up. */
  flush(done: () => void): void {
    if (this.#lines === "" && this.#inFlight === undefined) {
      done();
      return;
    }
    this.#waiting.push(done);
    if (this.#inFlight === undefined) this.#start();
  }

  /** Takes nothing more; returns what is not written yet, for a last blocking write at exit. */
  close(): Buffer {
    this.#isClosed = true;
    this.#timer?.cancel();
    const rest = Buffer.concat([
      this.#inFlight?.bytes ?? Buffer.alloc(0),
      Buffer.from(this.#lines),
    ]);
    this.#lines = "";
    this.#inFlight = undefined;
    return rest;
  }

  #start(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#inFlight = { bytes: Buffer.from(this.#lines), lines: this.#lineCount };
    this.#lines = "";
    this.#lineCount = 0;
    this.#write();
  }

  #write(): void {
    const batch = this.#inFlight;
    if (batch === undefined) return;
    this.#options.write(batch.bytes, (outcome) => {
      if (this.#inFlight !== batch) return;
      if (outcome.kind === "busy") {
        batch.bytes = batch.bytes.subarray(outcome.writtenBytes);
        this.#timer = this.#options.clock.schedule(retryAfterMs, () => this.#write());
        return;
      }
      if (outcome.kind === "failed") this.#options.onDrop(batch.lines, "error");
      this.#inFlight = undefined;
      this.#timer = undefined;
      if (this.#lines !== "") this.#start();
      else for (const done of this.#waiting.splice(0)) done();
    });
  }
}
