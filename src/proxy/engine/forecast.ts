/**
 * Whether a cluster should have more connections than its requests need now, and where
 * (`preconnect_policy.predictive_preconnect_ratio`): streams that are there, and the one that comes, times the
 * ratio are compared with what open and opening connections carry or can carry. Numbers alone; whoever keeps
 * connections tells of them and opens further ones.
 */

/** What one pool of connections adds. */
export interface ForecastShare {
  /** `streams` wait for a connection or have one; `room`: streams that its connections carry or could. */
  set(streams: number, room: number): void;
}

export class Forecast<E> {
  /** More than 1. */
  readonly ratio: number;
  /** Whom one of the next requests will be for; undefined: nobody knows. */
  readonly next: () => E | undefined;
  #streams = 0;
  #room = 0;

  constructor(ratio: number, next: () => E | undefined) {
    this.ratio = ratio;
    this.next = next;
  }

  /** A request is about to come, and there is too little for it and for those that will follow. */
  get isShort(): boolean {
    return isShort({ streams: this.#streams, room: this.#room, ratio: this.ratio });
  }

  share(): ForecastShare {
    let known = { streams: 0, room: 0 };
    return {
      set: (streams, room) => {
        this.#streams += streams - known.streams;
        this.#room += room - known.room;
        known = { streams, room };
      },
    };
  }
}

export interface Provision {
  readonly streams: number;
  readonly room: number;
  readonly ratio: number;
}

/** With one more stream than there is, for it is about to come. */
export function isShort({ streams, room, ratio }: Provision): boolean {
  return (streams + 1) * ratio > room;
}
