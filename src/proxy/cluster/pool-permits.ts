/**
 * Pools of connections of a cluster, where there may be only so many (`max_connection_pools`). A pool
 * counts as long as it has connections, also idle ones; but where an endpoint has several (by protocol,
 * server's name or client), one without requests makes room for another of the same endpoint, as in Envoy.
 */
import type { UpstreamEndpoint } from "../context.ts";
import type { Breaker } from "../engine/circuit-breakers.ts";
import type { LimitedPool } from "../http/pool-permit.ts";

export class PoolPermits {
  readonly #breaker: Breaker;
  readonly #max: number;
  readonly #holders = new Map<UpstreamEndpoint, Set<LimitedPool>>();

  constructor(breaker: Breaker, max: number) {
    this.#breaker = breaker;
    this.#max = max;
  }

  /** False, and counted, where there are too many. */
  try(pool: LimitedPool): boolean {
    const endpoint = originOf(pool);
    if (this.#breaker.count >= this.#max) this.#makeRoom(endpoint);
    if (!this.#breaker.try()) return false;
    const holders = this.#holders.get(endpoint);
    if (holders === undefined) this.#holders.set(endpoint, new Set([pool]));
    else holders.add(pool);
    return true;
  }

  release(pool: LimitedPool): void {
    const endpoint = originOf(pool);
    const holders = this.#holders.get(endpoint);
    if (holders?.delete(pool) !== true) return;
    if (holders.size === 0) this.#holders.delete(endpoint);
    this.#breaker.release();
  }

  #makeRoom(endpoint: UpstreamEndpoint): void {
    for (const holder of this.#holders.get(endpoint) ?? []) if (holder.giveUp()) return;
  }
}

function originOf({ endpoint }: LimitedPool): UpstreamEndpoint {
  return endpoint.origin ?? endpoint;
}
