/** The place of one pool of connections among those that its cluster may have. */
import type { CircuitBreakers, UpstreamCluster, UpstreamEndpoint } from "../context.ts";

export interface LimitedPool {
  readonly endpoint: UpstreamEndpoint;
  /** Leaves its place, and its connections, unless it has requests; true when it has left. */
  giveUp(): boolean;
}

export class PoolPermit {
  readonly #pool: LimitedPool;
  #held: CircuitBreakers["pools"];

  constructor(pool: LimitedPool) {
    this.#pool = pool;
  }

  /** False where the cluster has as many pools as it may. */
  take({ limits: { pools } }: UpstreamCluster): boolean {
    if (pools === undefined || this.#held !== undefined) return true;
    if (!pools.try(this.#pool)) return false;
    this.#held = pools;
    return true;
  }

  leave(): void {
    this.#held?.release(this.#pool);
    this.#held = undefined;
  }
}
