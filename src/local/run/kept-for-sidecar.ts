/**
 * When the listening sockets of one sidecar are held: from the end of a process until the next one serves,
 * and not for ever.
 */
import type { Clock, Timer } from "../../base/clock.ts";
import type { KeptLine, SocketKeeper } from "../../net/kept-sockets.ts";

type Keeper = Pick<SocketKeeper, "openLine" | "closeOther" | "close">;

/**
 * Nobody waits longer for a sidecar that does not come back: refused, a client asks another replica. Its
 * start takes half a second, on a machine that is busy two.
 */
const keptMaxMs = 5000;

/** Of one process after the other. */
export class KeptForSidecar {
  readonly #sockets: Keeper;
  readonly #clock: Clock;
  #line: KeptLine | undefined;
  /** Our copy of the descriptor that a sidecar is about to be started with. */
  #theirs: number | undefined;
  #giveUp: Timer | undefined;

  constructor(sockets: Keeper, clock: Clock) {
    this.#sockets = sockets;
    this.#clock = clock;
  }

  openLine(): number {
    this.#line?.close();
    this.#line = this.#sockets.openLine(() => this.#stopWaiting());
    this.#theirs = this.#line.theirs;
    return this.#theirs;
  }

  onStarted(): void {
    if (this.#theirs !== undefined) this.#sockets.closeOther(this.#theirs);
    this.#theirs = undefined;
  }

  /** It has ended, or could not be started. */
  onEnded(): void {
    this.onStarted();
    this.#line?.close();
    this.#line = undefined;
    // Counted from the first end: starts in vain do not prolong it.
    this.#giveUp ??= this.#clock.schedule(keptMaxMs, () => {
      this.#giveUp = undefined;
      this.#sockets.close();
    });
  }

  close(): void {
    this.onStarted();
    this.#stopWaiting();
    this.#line?.close();
    this.#sockets.close();
  }

  #stopWaiting(): void {
    this.#giveUp?.cancel();
    this.#giveUp = undefined;
  }
}
