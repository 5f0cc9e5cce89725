/**
 * Retries that keep away from the priorities that were tried before: Envoy's
 * `envoy.retry_priorities.previous_priorities`. After every so many attempts the load is spread anew
 * over the priorities that are left; when none is left, all count again.
 */
import type { PriorityLoad } from "./priority-loads.ts";

/** What a priority could carry, in per cent: its healthy endpoints and its degraded ones. */
export interface Availability {
  readonly healthy: readonly number[];
  readonly degraded: readonly number[];
}

type Shares = Pick<PriorityLoad, "healthy" | "degraded">;

/** One request's. */
export class PreviousPriorities {
  readonly #frequency: number;
  #attempted: { readonly priority?: number }[] = [];
  readonly #excluded = new Set<number>();
  #shares: readonly Shares[] | undefined;

  /** `frequency`: attempts between two changes of mind, at least 1. */
  constructor(frequency: number) {
    this.#frequency = frequency;
  }

  onAttempt(endpoint: { readonly priority?: number }): void {
    this.#attempted.push(endpoint);
  }

  /** For the next attempt, by priority; undefined: as for any request. */
  shares(available: Availability): readonly Shares[] | undefined {
    const count = this.#attempted.length;
    if (count < this.#frequency) return undefined;
    if (count % this.#frequency === 0) this.#shares = this.#spread(available);
    return this.#shares;
  }

  #spread(available: Availability): readonly Shares[] | undefined {
    for (const { priority } of this.#attempted) {
      if (priority !== undefined) this.#excluded.add(priority);
    }
    let left = this.#left(available);
    if (totalOf(left) === 0) {
      this.#excluded.clear();
      this.#attempted = [];
      left = this.#left(available);
    }
    return totalOf(left) === 0 ? undefined : spread(left);
  }

  #left({ healthy, degraded }: Availability): Availability {
    const counted = (percent: number, priority: number): number =>
      this.#excluded.has(priority) ? 0 : percent;
    return { healthy: healthy.map(counted), degraded: degraded.map(counted) };
  }
}

function totalOf({ healthy, degraded }: Availability): number {
  let total = 0;
  for (const percent of [...healthy, ...degraded]) total += percent;
  return Math.min(100, total);
}

/** The first take what they can; what rounding leaves begins with the first again. */
function spread(available: Availability): readonly Shares[] {
  const total = totalOf(available);
  const shares = available.healthy.map(() => ({ healthy: 0, degraded: 0 }));
  let left = 100;
  while (left > 0) {
    for (const kind of ["healthy", "degraded"] as const) {
      for (const [i, share] of shares.entries()) {
        const wanted = Math.floor(((available[kind][i] ?? 0) * 100) / total);
        const given = Math.min(left, wanted);
        share[kind] += given;
        left -= given;
      }
    }
  }
  return shares;
}
