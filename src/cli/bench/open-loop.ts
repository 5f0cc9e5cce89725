/**
 * Sends requests when they are due, whatever became of those before, and counts each one's time from
 * when it was due: a server that stalls is not spared the requests that would have come meanwhile.
 */
import type { Clock } from "../../base/clock.ts";
import type { SocketAddress } from "../../base/socket-address.ts";
import type { Dialler } from "../../net/dialler.ts";
import { LoadConnection } from "./load-connection.ts";
import { LatencyHistogram } from "./latency-histogram.ts";

export interface LoadPlan {
  readonly target: SocketAddress;
  /** `GET / HTTP/1.1…`, whole. */
  readonly request: string;
  readonly ratePerSecond: number;
  readonly connectionsMax: number;
  readonly warmupMs: number;
  readonly durationMs: number;
}

export interface LoadResult {
  /** Requests after the warm-up, all of them answered or failed. */
  sent: number;
  failed: number;
  /** What went wrong, and how often; at most twenty kinds. */
  failures: Record<string, number>;
  latencies: LatencyHistogram;
}

export interface LoadParts {
  readonly dialler: Dialler;
  readonly clock: Clock;
  /** Each second: how many were answered or failed so far. */
  readonly onProgress?: (done: number, ofAll: number) => void;
}

/** The resolution of timers. What is late by no more is no fault of whoever answers. */
const timerMs = 2;
const tickMs = 1;
const answerMaxMs = 10_000;
/** Requests that are due and find no free connection. */
const waitingMax = 20_000;
const failureKindsMax = 20;

interface Due {
  readonly dueMs: number;
  readonly isCounted: boolean;
}

export function runOpenLoop(plan: LoadPlan, parts: LoadParts): Promise<LoadResult> {
  const { promise, resolve } = Promise.withResolvers<LoadResult>();
  new OpenLoop(plan, parts, resolve).start();
  return promise;
}

class OpenLoop {
  readonly #plan: LoadPlan;
  readonly #parts: LoadParts;
  readonly #onEnd: (result: LoadResult) => void;
  readonly #result: LoadResult = {
    sent: 0,
    failed: 0,
    failures: {},
    latencies: new LatencyHistogram(),
  };
  readonly #idle: LoadConnection[] = [];
  readonly #busy = new Map<LoadConnection, Due>();
  readonly #waiting: Due[] = [];
  #begun = 0;
  #done = 0;
  #startMs = 0;
  #toldMs = 0;

  constructor(plan: LoadPlan, parts: LoadParts, onEnd: (result: LoadResult) => void) {
    this.#plan = plan;
    this.#parts = parts;
    this.#onEnd = onEnd;
  }

  start(): void {
    this.#startMs = this.#parts.clock.monotonicMs();
    this.#toldMs = this.#startMs;
    this.#tick();
  }

  get #all(): number {
    const { warmupMs, durationMs, ratePerSecond } = this.#plan;
    return Math.max(1, Math.floor(((warmupMs + durationMs) * ratePerSecond) / 1000));
  }

  #tick(): void {
    const { clock, onProgress } = this.#parts;
    const { ratePerSecond, warmupMs } = this.#plan;
    const nowMs = clock.monotonicMs();
    const due = Math.min(this.#all, ((nowMs - this.#startMs) * ratePerSecond) / 1000);
    for (; this.#begun < due; this.#begun++) {
      const afterMs = (this.#begun * 1000) / ratePerSecond;
      const plannedMs = this.#startMs + afterMs;
      const isLate = nowMs - plannedMs > timerMs;
      this.#begin({ dueMs: isLate ? plannedMs : nowMs, isCounted: afterMs >= warmupMs });
    }
    this.#expire(nowMs);
    if (nowMs - this.#toldMs >= 1000) {
      this.#toldMs = nowMs;
      onProgress?.(this.#done, this.#all);
    }
    if (this.#done >= this.#all) return this.#end();
    clock.schedule(tickMs, () => this.#tick());
  }

  #begin(due: Due): void {
    if (due.isCounted) this.#result.sent++;
    const connection = this.#take();
    if (connection !== undefined) return this.#ask(connection, due);
    if (this.#waiting.length < waitingMax) this.#waiting.push(due);
    else this.#finish(due, `more than ${waitingMax} requests wait for a connection`);
  }

  #take(): LoadConnection | undefined {
    for (;;) {
      const idle = this.#idle.pop();
      if (idle === undefined) break;
      if (!idle.isClosed) return idle;
    }
    if (this.#busy.size >= this.#plan.connectionsMax) return undefined;
    const { dialler } = this.#parts;
    return new LoadConnection(dialler, this.#plan.target, {
      onAnswer: (from, failure) => this.#onAnswer(from, failure),
    });
  }

  #ask(connection: LoadConnection, due: Due): void {
    this.#busy.set(connection, due);
    connection.ask(this.#plan.request);
  }

  #onAnswer(connection: LoadConnection, failure: string | undefined): void {
    const due = this.#busy.get(connection);
    this.#busy.delete(connection);
    if (due !== undefined) this.#finish(due, failure);
    if (!connection.isClosed) this.#idle.push(connection);
    const next = this.#waiting.shift();
    if (next === undefined) return;
    const free = this.#take();
    if (free === undefined) this.#waiting.unshift(next);
    else this.#ask(free, next);
  }

  #finish({ dueMs, isCounted }: Due, failure: string | undefined): void {
    this.#done++;
    if (!isCounted) return;
    const result = this.#result;
    if (failure === undefined) {
      result.latencies.record(this.#parts.clock.monotonicMs() - dueMs);
      return;
    }
    result.failed++;
    const isKnown = Object.hasOwn(result.failures, failure);
    const isRoom = Object.keys(result.failures).length < failureKindsMax;
    const kind = isKnown || isRoom ? failure : "others";
    result.failures[kind] = (result.failures[kind] ?? 0) + 1;
  }

  #expire(nowMs: number): void {
    for (const [connection, { dueMs }] of this.#busy) {
      if (nowMs - dueMs > answerMaxMs) connection.abort(`no answer in ${answerMaxMs / 1000} s`);
    }
  }

  #end(): void {
    for (const connection of this.#idle) connection.close();
    this.#onEnd(this.#result);
  }
}
