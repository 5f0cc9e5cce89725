/** What is done before a listener serves, and ahead of requests while it does. */

export interface Preparation {
  /**
   * Once, though it may be called again. True: whoever serves waits until `onBegun` is called, which is
   * not before this returns, and comes however it ends.
   */
  readonly begin: (onBegun: () => void) => boolean;
  /** Nothing new is served any more, or never will be. */
  readonly end: () => void;
}

/** A version of a listener that is on its way. */
export interface PreparedListener {
  /**
   * Binds the addresses that the version before has not bound; undefined when there are none. Rejects
   * when one cannot be bound, and can be called again then.
   */
  open(): Promise<void> | undefined;
  /** Undefined: there is nothing to prepare. */
  readonly begin?: Preparation["begin"] | undefined;
  /**
   * Replaces the version of the same name: new connections, and new requests of those there are, get
   * the new filter chains. The socket stays open where the address is the same.
   */
  start(): void;
  /** It will not be started. */
  discard(): void;
}

/** Those of several parts as one; undefined where there is none among them. */
export function joinPreparations(
  parts: readonly (Preparation | undefined)[],
): Preparation | undefined {
  const all = parts.filter((part) => part !== undefined);
  if (all.length < 2) return all[0];
  return {
    begin(onBegun) {
      let waiting = 0;
      const onOne = (): void => {
        waiting--;
        if (waiting === 0) onBegun();
      };
      for (const part of all) if (part.begin(onOne)) waiting++;
      return waiting > 0;
    },
    end() {
      for (const part of all) part.end();
    },
  };
}
