/**
 * Deadlines for many connections with one timer: a hashed wheel of intrusive lists. Moving a deadline
 * later, or taking it back, is one write: a node stays where it is linked and is looked at again when
 * its slot comes up. So a 15 s timeout per request costs a store, not a timer. Accuracy: one tick late.
 * Whoever lives shorter than that lets go of its deadlines at its end, or the wheel would hold it.
 */
import type { Clock, Timer } from "../../base/clock.ts";

export interface DeadlineOwner {
  onDeadline(deadline: Deadline): void;
}

const never = Number.POSITIVE_INFINITY;

/** One timeout of one owner, reused for as long as the owner lives. */
export class Deadline {
  readonly owner: DeadlineOwner;
  atMs: number = never;
  next: Deadline | undefined = undefined;
  previous: Deadline | undefined = undefined;
  /** When its slot comes up; `never` while it is in no slot. */
  linkedAtMs: number = never;

  constructor(owner: DeadlineOwner) {
    this.owner = owner;
  }

  get isArmed(): boolean {
    return this.atMs !== never;
  }

  disarm(): void {
    this.atMs = never;
  }
}

const tickMs = 10;
const slotCount = 1024;
const horizonMs = tickMs * (slotCount - 1);

export class DeadlineWheel {
  /** Monotonic time of the current turn, in milliseconds; `touch()` moves it. */
  nowMs: number;
  readonly #clock: Clock;
  readonly #slots: (Deadline | undefined)[] = Array.from({ length: slotCount }, () => undefined);
  #lastTick: number;
  /** The slot that is being expired: a deadline may be released during the calls this makes. */
  #expiring: Deadline | undefined;
  #linked = 0;
  #timer: Timer | undefined;
  #wakeAtMs: number = never;

  constructor(clock: Clock) {
    this.#clock = clock;
    this.nowMs = clock.monotonicMs();
    this.#lastTick = Math.floor(this.nowMs / tickMs);
  }

  /** Nothing expires any more. */
  close(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    // No deadline is earlier, so none starts the timer again.
    this.#wakeAtMs = Number.NEGATIVE_INFINITY;
  }

  /** Reads the clock; call once at the start of a turn. */
  touch(): number {
    return (this.nowMs = this.#clock.monotonicMs());
  }

  /** Deadlines that it holds, armed or not. */
  get size(): number {
    return this.#linked;
  }

  /** Sets or moves a deadline to `delayMs` after the current turn. */
  arm(deadline: Deadline, delayMs: number): void {
    deadline.atMs = this.nowMs + delayMs;
    if (deadline.linkedAtMs > deadline.atMs) this.#link(deadline);
  }

  /** Takes deadlines back for good: nothing here holds their owner any more. */
  release(...deadlines: readonly Deadline[]): void {
    for (const deadline of deadlines) {
      deadline.disarm();
      if (deadline.linkedAtMs !== never) this.#unlink(deadline);
    }
  }

  #link(deadline: Deadline): void {
    if (deadline.linkedAtMs !== never) this.#unlink(deadline);
    const atMs = Math.min(deadline.atMs, this.nowMs + horizonMs);
    const tick = Math.max(Math.ceil(atMs / tickMs), this.#lastTick + 1);
    const slot = tick % slotCount;
    deadline.linkedAtMs = tick * tickMs;
    const first = this.#slots[slot];
    deadline.next = first;
    if (first !== undefined) first.previous = deadline;
    this.#slots[slot] = deadline;
    this.#linked++;
    if (deadline.linkedAtMs < this.#wakeAtMs) this.#wake(deadline.linkedAtMs);
  }

  #unlink(deadline: Deadline): void {
    const { next, previous } = deadline;
    if (previous !== undefined) previous.next = next;
    else if (this.#expiring === deadline) this.#expiring = next;
    else this.#slots[(deadline.linkedAtMs / tickMs) % slotCount] = next;
    if (next !== undefined) next.previous = previous;
    deadline.next = undefined;
    deadline.previous = undefined;
    deadline.linkedAtMs = never;
    this.#linked--;
  }

  #wake(atMs: number): void {
    this.#timer?.cancel();
    this.#wakeAtMs = atMs;
    this.#timer = this.#clock.schedule(Math.max(0, atMs - this.#clock.monotonicMs()), () =>
      this.#turn(),
    );
  }

  #turn(): void {
    this.#timer = undefined;
    this.#wakeAtMs = never;
    const now = this.touch();
    const tick = Math.floor(now / tickMs);
    const from = Math.max(this.#lastTick + 1, tick - slotCount + 1);
    this.#lastTick = tick;
    for (let at = from; at <= tick; at++) this.#expire(at % slotCount, now);
    this.#scheduleNext();
  }

  #expire(slot: number, now: number): void {
    this.#expiring = this.#slots[slot];
    this.#slots[slot] = undefined;
    for (;;) {
      const deadline = this.#expiring;
      if (deadline === undefined) return;
      this.#unlink(deadline);
      if (deadline.atMs <= now) {
        deadline.atMs = never;
        deadline.owner.onDeadline(deadline);
      } else if (deadline.atMs !== never) {
        this.#link(deadline);
      }
    }
  }

  #scheduleNext(): void {
    if (this.#linked === 0) return;
    for (let ahead = 1; ahead <= slotCount; ahead++) {
      const tick = this.#lastTick + ahead;
      if (this.#slots[tick % slotCount] === undefined) continue;
      if (tick * tickMs < this.#wakeAtMs) this.#wake(tick * tickMs);
      return;
    }
  }
}
