/** The end of a turn of Node's loop: behind all sockets that had something to say in it. */
import type { Deferred, TurnEnd } from "../../base/turn-end.ts";

class NodeTurnEnd implements TurnEnd {
  #due: Deferred[] = [];
  #running: Deferred[] = [];
  readonly #run = (): void => this.#runAll();

  defer(work: Deferred): void {
    if (this.#due.push(work) === 1) setImmediate(this.#run);
  }

  /** What one of them throws is ours, and must not keep the others from their turn. */
  #runAll(): void {
    const due = this.#due;
    this.#due = this.#running;
    this.#running = due;
    let at = 0;
    try {
      for (; at < due.length; at++) due[at]?.runDeferred();
    } finally {
      const rest = due.slice(at + 1);
      due.length = 0;
      for (const work of rest) this.defer(work);
    }
  }
}

export const nodeTurnEnd: TurnEnd = new NodeTurnEnd();
