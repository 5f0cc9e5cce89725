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

/** The first `length` bytes of `memory` are one line or more; the memory is used again. */
export type AppendLines = (memory: Buffer, length: number) => void;

/** What takes little at a time (a pipe holds 64 KB) is asked again before its reader has emptied it. */
const retryAfterMs = { somethingWritten: 2, nothingWritten: 20 } as const;
const firstBytes = 4096;
/** A buffer that has grown beyond this is not used again. */
const keptBytesMax = 256 * 1024;

interface Batch {
  /** All of it, and what of it is not written yet. */
  readonly memory: Buffer;
  rest: Buffer;
  readonly lines: number;
}

export class BatchWriter {
  readonly #options: Required<BatchWriterOptions>;
  #memory: Buffer = Buffer.allocUnsafeSlow(firstBytes);
  #length = 0;
  #lines = 0;
  #spare: Buffer | undefined;
  #inFlight: Batch | undefined;
  #timer: Timer | undefined;
  #isClosed = false;
  readonly #waiting: (() => void)[] = [];

  constructor(options: BatchWriterOptions) {
    this.#options = {
      pendingBytesMax: 4 << 20,
      flushBytes: 128 << 10,
      flushAfterMs: 250,
      ...options,
    };
  }

  /** Takes one or more whole lines. */
  readonly append: AppendLines = (memory, length) => {
    const { pendingBytesMax } = this.#options;
    const inFlight = this.#inFlight;
    const pending = this.#length + (inFlight === undefined ? 0 : inFlight.rest.length);
    if (this.#isClosed || pending > pendingBytesMax) {
      this.#options.onDrop(1, "full");
      return;
    }
    this.#reserve(length);
    memory.copy(this.#memory, this.#length, 0, length);
    this.#length += length;
    this.#lines += 1;
    if (inFlight === undefined) this.#startIfDue();
  };

  /** Each write wakes a thread: what has gathered while one was under way waits for company, too. */
  #startIfDue(): void {
    const { flushBytes, flushAfterMs } = this.#options;
    if (this.#length >= flushBytes || this.#waiting.length > 0) this.#start();
    else this.#timer ??= this.#options.clock.schedule(flushAfterMs, this.#onDue);
  }

  /** One for all: a closure in `#startIfDue()` would cost each line a context. */
  readonly #onDue = (): void => this.#start();

  #reserve(length: number): void {
    const needed = this.#length + length;
    if (needed <= this.#memory.length) return;
    const larger = Buffer.allocUnsafeSlow(Math.max(needed, this.#memory.length * 2));
    this.#memory.copy(larger, 0, 0, this.#length);
    this.#memory = larger;
  }

  /** Calls back when all that was appended before has been written or given up. */
  flush(done: () => void): void {
    if (this.#length === 0 && this.#inFlight === undefined) {
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
      this.#inFlight?.rest ?? Buffer.alloc(0),
      this.#memory.subarray(0, this.#length),
    ]);
    this.#length = 0;
    this.#inFlight = undefined;
    return rest;
  }

  #start(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    const memory = this.#memory;
    this.#inFlight = { memory, rest: memory.subarray(0, this.#length), lines: this.#lines };
    this.#memory = this.#spare ?? Buffer.allocUnsafeSlow(firstBytes);
    this.#spare = undefined;
    this.#length = 0;
    this.#lines = 0;
    this.#write();
  }

  #write(): void {
    const batch = this.#inFlight;
    if (batch === undefined) return;
    this.#options.write(batch.rest, (outcome) => {
      if (this.#inFlight !== batch) return;
      if (outcome.kind === "busy") {
        batch.rest = batch.rest.subarray(outcome.writtenBytes);
        const { somethingWritten, nothingWritten } = retryAfterMs;
        const delayMs = outcome.writtenBytes > 0 ? somethingWritten : nothingWritten;
        this.#timer = this.#options.clock.schedule(delayMs, () => this.#write());
        return;
      }
      if (outcome.kind === "failed") this.#options.onDrop(batch.lines, "error");
      this.#inFlight = undefined;
      this.#timer = undefined;
      if (batch.memory.length <= keptBytesMax) this.#spare = batch.memory;
      if (this.#length > 0) this.#startIfDue();
      else for (const done of this.#waiting.splice(0)) done();
    });
  }
}
