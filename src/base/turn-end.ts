/**
 * The end of a turn of the event loop, when everything that came in it was read: what many callbacks
 * gathered for one connection can leave at once then.
 */

export interface Deferred {
  runDeferred(): void;
}

export interface TurnEnd {
  /** Runs it once, when this turn is over; soon, where there is none. Never during the call. */
  defer(work: Deferred): void;
}
