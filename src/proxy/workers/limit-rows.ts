/** Which row of the counts that threads share belongs to which cluster. */
import type { SharedLimits } from "../cluster/limits.ts";
import { SharedCounts } from "../engine/shared-counts.ts";

export class LimitRows {
  readonly #counts: SharedCounts;
  readonly #rows = new Map<string, number>();

  constructor(threads: number) {
    this.#counts = new SharedCounts(threads, 0);
  }

  get memory(): SharedArrayBuffer {
    return this.#counts.memory;
  }

  /** For `ProxyOptions`: what all workers have in flight. */
  readonly sharedLimits: SharedLimits = (cluster, kind) => {
    const row = this.#rowOf(cluster);
    return row === undefined ? undefined : this.#counts.of(row, kind);
  };

  /** Of those clusters that have one. */
  of(clusters: readonly { readonly name: string }[]): ReadonlyMap<string, number> {
    const rows = new Map<string, number>();
    for (const { name } of clusters) {
      const row = this.#rowOf(name);
      if (row !== undefined) rows.set(name, row);
    }
    return rows;
  }

  /** Nothing of it is in flight any more; `thread` is from 0. */
  forget(thread: number): void {
    this.#counts.forget(thread);
  }

  /** Never given twice: what is in flight in a cluster that was removed is counted to its end. */
  #rowOf(cluster: string): number | undefined {
    const known = this.#rows.get(cluster);
    if (known !== undefined) return known;
    const row = this.#rows.size;
    if (row >= SharedCounts.rowsMax) return undefined;
    this.#rows.set(cluster, row);
    return row;
  }
}
