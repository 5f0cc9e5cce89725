/**
 * Holds back the body of an answer so that it leaves no faster than so many bytes a second. What waits is
 * kept in one piece of memory: however small the pieces are that come, there is one object. Who sends is
 * told to stop above a limit (`hasRoom`), which all answers of a connection share.
 */
import { Deadline, type DeadlineOwner, type DeadlineWheel } from "./deadline-wheel.ts";
import type { ThrottledShare } from "./throttled-bytes.ts";

export interface ThrottledAnswer {
  /** `chunk[from, to)` may leave; it is the caller's again afterwards. */
  pass(chunk: Buffer, from: number, to: number): void;
  /** Some time after `write()`: some of what waited has been passed. */
  onPassed(): void;
}

/** As Envoy: so often is what has flowed in since then let go. */
const fillMs = 50;
/** A new answer may begin with this share of a second's bytes. */
const firstShare = fillMs / 1000;
const keptBytesMin = 4096;
/** Memory for each byte that waits, at most: it is made for twice as many. */
const keptShareMax = 8;
const nothing = Buffer.alloc(0);

export class ResponseThrottle implements DeadlineOwner {
  readonly #answer: ThrottledAnswer;
  readonly #wheel: DeadlineWheel;
  readonly #bytesPerSecond: number;
  readonly #share: ThrottledShare;
  readonly #deadline: Deadline = new Deadline(this);
  #tokens: number;
  #filledMs: number;
  /** What waits is `[#start, #end)`. */
  #kept: Buffer = nothing;
  #start = 0;
  #end = 0;

  constructor(
    answer: ThrottledAnswer,
    wheel: DeadlineWheel,
    rate: { readonly bytesPerSecond: number; readonly share: ThrottledShare },
  ) {
    this.#answer = answer;
    this.#wheel = wheel;
    this.#bytesPerSecond = rate.bytesPerSecond;
    this.#share = rate.share;
    this.#tokens = rate.bytesPerSecond * firstShare;
    this.#filledMs = wheel.nowMs;
  }

  get bytesPerSecond(): number {
    return this.#bytesPerSecond;
  }

  get isEmpty(): boolean {
    return this.#start === this.#end;
  }

  /**
   * False: enough waits already. Whoever has nothing that waits may go on, or it would have to be told
   * when others have less.
   */
  get hasRoom(): boolean {
    return this.isEmpty || this.#share.hasRoom;
  }

  /** False: there was no place for all of it, so the answer cannot become whole. */
  write(chunk: Buffer, from: number, to: number): boolean {
    const passed = this.isEmpty ? this.#take(to - from) : 0;
    if (passed > 0) this.#answer.pass(chunk, from, from + passed);
    if (from + passed === to) return true;
    if (!this.#share.take(to - from - passed)) return false;
    this.#keep(chunk, from + passed, to);
    if (!this.#deadline.isArmed) this.#wheel.arm(this.#deadline, fillMs);
    return true;
  }

  onDeadline(): void {
    const passed = this.#take(this.#end - this.#start);
    if (passed > 0) this.#answer.pass(this.#kept, this.#start, this.#start + passed);
    this.#start += passed;
    this.#share.giveBack(passed);
    if (this.isEmpty) this.#forget();
    else this.#waitFurther();
    this.#answer.onPassed();
  }

  /** What once held much more than waits now is given up: shares count what waits. */
  #waitFurther(): void {
    const waiting = this.#end - this.#start;
    const { length } = this.#kept;
    if (length > keptBytesMin && length > waiting * keptShareMax) this.#moveTo(waiting * 2);
    this.#wheel.arm(this.#deadline, fillMs);
  }

  /** What waits is for nobody any more. */
  release(): void {
    this.#wheel.release(this.#deadline);
    this.#share.giveBack(this.#end - this.#start);
    this.#forget();
  }

  /** Bytes that may leave now. */
  #take(wanted: number): number {
    const { nowMs } = this.#wheel;
    const filled = this.#tokens + ((nowMs - this.#filledMs) * this.#bytesPerSecond) / 1000;
    this.#filledMs = nowMs;
    this.#tokens = Math.min(filled, this.#bytesPerSecond);
    const taken = Math.min(wanted, Math.floor(this.#tokens));
    this.#tokens -= taken;
    return taken;
  }

  #keep(chunk: Buffer, from: number, to: number): void {
    const waiting = this.#end - this.#start;
    if (this.#end + to - from > this.#kept.length) this.#makeRoom(waiting + to - from);
    chunk.copy(this.#kept, this.#end, from, to);
    this.#end += to - from;
  }

  #makeRoom(bytes: number): void {
    if (this.#kept.length >= bytes * 2) this.#move(this.#kept);
    else this.#moveTo(bytes * 2);
  }

  #moveTo(bytes: number): void {
    this.#move(Buffer.allocUnsafeSlow(Math.max(bytes, keptBytesMin)));
  }

  /** What waits lies at the beginning of `kept` from now on. */
  #move(kept: Buffer): void {
    this.#kept.copy(kept, 0, this.#start, this.#end);
    this.#end -= this.#start;
    this.#start = 0;
    this.#kept = kept;
  }

  #forget(): void {
    this.#kept = nothing;
    this.#start = 0;
    this.#end = 0;
  }
}
