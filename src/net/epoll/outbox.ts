/**
 * Short messages that leave together at the end of a turn. System calls one after another, and not each
 * between two pieces of our own work, find their code in the processor's caches, and whoever is woken by
 * the first is still awake for the others. Bounded: when all places are taken everything leaves at once.
 */
import { assert } from "../../base/assert.ts";
import type { Block } from "./native/block.ts";
import type { Syscalls } from "./native/libc.ts";

/** Whoever has put a message into a place. */
export interface Sender {
  /** Sends it, if it is still there, and gives up the place. Takes none, and does not throw. */
  sendPlaced(): void;
}

/** What is longer is not worth the copy. */
export const placeBytes = 4096;
const placesMax = 32;

export class Outbox {
  readonly #places: readonly Block[];
  readonly #senders: (Sender | undefined)[];
  #count = 0;

  constructor(syscalls: Syscalls) {
    this.#places = syscalls.allocate(placesMax * placeBytes).parts(placeBytes);
    this.#senders = this.#places.map(() => undefined);
  }

  /** The sender's until it is told to send: at the end of the turn, or when others need the places. */
  take(sender: Sender): Block {
    if (this.#count === placesMax) this.sendAll();
    const place = this.#places[this.#count];
    assert(place !== undefined, "an outbox has no such place");
    this.#senders[this.#count++] = sender;
    return place;
  }

  sendAll(): void {
    const senders = this.#senders;
    for (let at = 0; at < this.#count; at++) {
      senders[at]?.sendPlaced();
      senders[at] = undefined;
    }
    this.#count = 0;
  }
}
