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
  /** Content that waits on all connections that gather here. */
  queuedBytes = 0;
  readonly #turnEnd: TurnEnd | undefined;
  readonly #free: ByteWriter[] = [];
  /** Who has gathered in this turn, some of them in vain. */
  readonly #waiting: (Gatherer | undefined)[] = [];
  /** So many of them; places are kept, or each turn would cost a new array. */
  #count = 0;
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
      if (this.#lent >= lentMax || this.#count >= waitingMax) this.#flushAll();
      this.#waiting[this.#count++] = gatherer;
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
    const count = this.#count;
    let at = 0;
    try {
      while (at < count) waiting[at++]?.flush();
    } finally {
      this.#forget(at);
    }
  }

  /** The first `count` have had their turn. */
  #forget(count: number): void {
    const waiting = this.#waiting;
    const left = Math.max(0, this.#count - count);
    for (let at = 0; at < left; at++) waiting[at] = waiting[at + count];
    waiting.fill(undefined, left, this.#count);
    this.#count = left;
    if (left === 0 || this.#isDue) return;
    this.#isDue = true;
    this.#turnEnd?.defer(this);
  }
}
