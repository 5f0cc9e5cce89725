/**
 * Memory in which connections gather frames until they leave: at the end of the loop's turn where one
 * is told, so that a connection's frames are one write however many streams they are of; else whenever
 * the connection says so.
 */
import type { Deferred, TurnEnd } from "../base/turn-end.ts";
import { ByteWriter } from "./byte-writer.ts";

/** Connections that gather at once; those before them have their frames sent when there are more. */
const lentMax = 64;
/** The same, of those that have gathered and may have nothing left. */
const waitingMax = 1024;
const pieceBytes = 16 * 1024;
/** More than this is not kept: it was needed once. */
const keptBytesMax = 128 * 1024;

/** Whoever gathers. */
export interface Gatherer {
  flush(): boolean;
}

export class FrameMemory implements Deferred {
  readonly #turnEnd: TurnEnd | undefined;
  readonly #free: ByteWriter[] = [];
  /** Who has gathered in this turn, some of them in vain. */
  readonly #waiting: Gatherer[] = [];
  #lent = 0;
  #isDue = false;

  constructor(turnEnd?: TurnEnd) {
    this.#turnEnd = turnEnd;
  }

  /** Whoever gathers is flushed at the end of the turn. */
  get isDeferring(): boolean {
    return this.#turnEnd !== undefined;
  }

  lend(gatherer: Gatherer): ByteWriter {
    if (this.#turnEnd !== undefined) {
      if (this.#lent >= lentMax || this.#waiting.length >= waitingMax) this.#flushAll();
      this.#waiting.push(gatherer);
      if (!this.#isDue) {
        this.#isDue = true;
        this.#turnEnd.defer(this);
      }
    }
    this.#lent++;
    return this.#free.pop() ?? new ByteWriter(pieceBytes);
  }

  giveBack(writer: ByteWriter): void {
    this.#lent--;
    writer.discard();
    if (this.#free.length < lentMax && writer.memory.length <= keptBytesMax) {
      this.#free.push(writer);
    }
  }

  runDeferred(): void {
    this.#isDue = false;
    this.#flushAll();
  }

  /** What one of them throws is ours, and must not keep the others' frames here. */
  #flushAll(): void {
    const waiting = this.#waiting;
    // What is gathered meanwhile waits for the next turn, or for its own flush.
    const { length } = waiting;
    let at = 0;
    try {
      while (at < length) waiting[at++]?.flush();
    } finally {
      waiting.copyWithin(0, at);
      waiting.length = Math.max(0, waiting.length - at);
      if (waiting.length > 0 && !this.#isDue) {
        this.#isDue = true;
        this.#turnEnd?.defer(this);
      }
    }
  }
}
