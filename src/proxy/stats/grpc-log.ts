/**
 * A stream of Envoy's access-log service (`StreamAccessLogs`): entries are gathered and leave together,
 * the first message of a stream says who sends. While the collector is away or slow so many bytes wait;
 * what comes then is dropped and counted. It knows nothing of sockets: streams are opened by whoever
 * makes it.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { Counter } from "../../telemetry/metrics.ts";
import { ProtobufWriter } from "../../wire/protobuf-writer.ts";
import type { ReportMemory } from "./report-memory.ts";

/** A call in the making, or one that stands. */
export interface LogCall {
  readonly canSend: boolean;
  send(message: Uint8Array): void;
  /** Nothing more will be sent; its owner is told nothing any more. */
  close(): void;
}

export interface LogCallOwner {
  onRoom(): void;
  onClosed(reason: string): void;
}

export interface GrpcLogOptions {
  readonly clock: Clock;
  /** An encoded `StreamAccessLogsMessage.Identifier`. */
  readonly identifier: Uint8Array;
  readonly kind: "http" | "tcp";
  readonly flushAfterMs: number;
  /** With so many bytes entries leave without waiting. */
  readonly batchBytes: number;
  /** Shared with other logs and spans. */
  readonly memory: ReportMemory;
  readonly written: Counter;
  readonly dropped: Counter;
  /** Begins a call; its owner may be told before it returns. */
  readonly open: (owner: LogCallOwner) => LogCall;
}

/** Fields of `StreamAccessLogsMessage` and of its lists. */
const messageFields = { identifier: 1, http: 2, tcp: 3 } as const;
const listFields = { entry: 1 } as const;

/** What waits for a collector, unless a batch may be larger. */
const waitingBytesMax = 1024 * 1024;
/** A collector that is away is not asked more often. */
const reopenAfterMs = 1000;
/**
 * Without an entry for so long, the call ends and what waits for a collector that is away is given up:
 * nobody says when a log of an earlier configuration has no user any more.
 */
const idleMs = 60_000;

export class GrpcLog implements LogCallOwner {
  readonly #options: GrpcLogOptions;
  readonly #entries = new ProtobufWriter();
  #call: LogCall | undefined;
  #isIdentified = false;
  #timer: Timer | undefined;
  #reopenAtMs = Number.NEGATIVE_INFINITY;
  #lastEntryMs = 0;
  #idleTimer: Timer | undefined;
  /** Entries that wait. */
  #waiting = 0;
  /** Who waits for the end. */
  #finished: (() => void) | undefined;

  constructor(options: GrpcLogOptions) {
    this.#options = options;
  }

  add(entry: Uint8Array): void {
    const { batchBytes, memory, written, dropped } = this.#options;
    const before = this.#entries.length;
    const isOwnFull = before > 0 && before + entry.length > Math.max(batchBytes, waitingBytesMax);
    if (isOwnFull || memory.isFull) {
      dropped.add();
      return;
    }
    written.add();
    this.#waiting += 1;
    this.#lastEntryMs = this.#options.clock.monotonicMs();
    if (this.#idleTimer === undefined) {
      this.#idleTimer = this.#options.clock.schedule(idleMs, () => this.#onIdle());
    }
    this.#entries.bytes(listFields.entry, entry);
    memory.change(this.#entries.length - before);
    if (this.#entries.length >= batchBytes) this.flush();
    if (this.#entries.length > 0) this.#wait();
  }

  /** Sends what waits, where there is a call with room; begins one where there is none. */
  flush(): void {
    if (this.#entries.length === 0) return;
    if (this.#call === undefined) this.#open();
    if (this.#call?.canSend === true) this.#send(this.#call);
  }

  /** Sends what waits; resolves when it has left, or when the call ends. */
  finish(): Promise<void> {
    return new Promise((resolve) => {
      this.#finished = resolve;
      this.#reopenAtMs = Number.NEGATIVE_INFINITY;
      this.flush();
      if (this.#call === undefined || this.#hasLeft(this.#call)) resolve();
    });
  }

  #hasLeft(call: LogCall): boolean {
    return this.#entries.length === 0 && call.canSend;
  }

  onRoom(): void {
    // While it is being opened it is not known here yet: whoever opens it sends.
    if (this.#call?.canSend === true && this.#entries.length > 0) this.#send(this.#call);
    if (this.#call !== undefined && this.#hasLeft(this.#call)) this.#finished?.();
  }

  onClosed(): void {
    this.#finished?.();
    this.#call = undefined;
    this.#isIdentified = false;
    this.#reopenAtMs = this.#options.clock.monotonicMs() + reopenAfterMs;
    if (this.#entries.length > 0) this.#wait();
  }

  #open(): void {
    if (this.#options.clock.monotonicMs() < this.#reopenAtMs) return;
    let isClosed = false;
    const call = this.#options.open({
      onRoom: () => this.onRoom(),
      onClosed: () => {
        isClosed = true;
        this.onClosed();
      },
    });
    if (!isClosed) this.#call = call;
  }

  #send(call: LogCall): void {
    const { identifier, kind } = this.#options;
    const entries = this.#entries;
    const writer = new ProtobufWriter(entries.length + identifier.length + 32);
    if (!this.#isIdentified) writer.bytes(messageFields.identifier, identifier);
    const list = writer.begin(messageFields[kind]);
    writer.append(entries.memory, entries.length);
    writer.end(list);
    this.#forget();
    this.#isIdentified = true;
    this.#timer?.cancel();
    this.#timer = undefined;
    call.send(writer.memory.subarray(0, writer.length));
  }

  /** What waited waits no more. */
  #forget(): void {
    this.#options.memory.change(-this.#entries.length);
    this.#entries.clear();
    this.#waiting = 0;
  }

  #onIdle(): void {
    const { clock, dropped } = this.#options;
    const leftMs = this.#lastEntryMs + idleMs - clock.monotonicMs();
    if (leftMs > 0) {
      this.#idleTimer = clock.schedule(leftMs, () => this.#onIdle());
      return;
    }
    this.#idleTimer = undefined;
    this.#timer?.cancel();
    this.#timer = undefined;
    if (this.#waiting > 0) dropped.add(this.#waiting);
    this.#forget();
    this.#call?.close();
    this.#call = undefined;
    this.#isIdentified = false;
  }

  #wait(): void {
    if (this.#timer !== undefined) return;
    this.#timer = this.#options.clock.schedule(Math.max(1, this.#options.flushAfterMs), () => {
      this.#timer = undefined;
      this.flush();
      if (this.#entries.length > 0) this.#wait();
    });
  }
}
