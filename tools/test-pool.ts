/** Runs pieces of work side by side, as many as there are places for, in the order in which they stand. */

export interface Work {
  readonly name: string;
  /** Works of one kind run at most so many at once. */
  readonly kind: string;
  readonly kindMax: number;
  /** It takes no place: whatever else runs goes on beside it. */
  readonly isBeside?: boolean;
  /** The name of a work that must have ended well before. */
  readonly needs?: string | undefined;
  /** True when it has ended well; it never rejects. */
  run(): Promise<boolean>;
}

/**
 * Returns the works that never ran: what they needed has failed, or the run was stopped. One that cannot
 * begin yet lets those behind it go first.
 */
export async function runInPlaces(
  works: readonly Work[],
  { places, stop }: { readonly places: number; readonly stop?: AbortSignal },
): Promise<readonly Work[]> {
  const names = new Set(works.map(({ name }) => name));
  let waiting = [...works];
  const ended = new Set<string>();
  const running = new Map<Work, Promise<void>>();
  const taken = (of: (work: Work) => boolean): number => [...running.keys()].filter(of).length;
  const mayBegin = (work: Work): boolean => {
    const { kind, kindMax, isBeside = false, needs } = work;
    // What is not of this run was there before.
    if (needs !== undefined && names.has(needs) && !ended.has(needs)) return false;
    if (isBeside) return true;
    return (
      taken((one) => one.isBeside !== true) < places &&
      taken((one) => one.isBeside !== true && one.kind === kind) < kindMax
    );
  };
  for (;;) {
    const next = stop?.aborted === true ? undefined : waiting.find(mayBegin);
    if (next !== undefined) {
      waiting = waiting.filter((work) => work !== next);
      const end = next.run().then((isGood) => {
        running.delete(next);
        if (isGood) ended.add(next.name);
      });
      running.set(next, end);
      continue;
    }
    if (running.size === 0) return waiting;
    await Promise.race(running.values());
  }
}
