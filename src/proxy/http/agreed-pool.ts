/**
 * Connections to an endpoint with which the protocol is agreed on by ALPN. Requests go to the pool of the
 * protocol that the last connection has agreed on, HTTP/2 before there was one; a connection that agrees on
 * the other goes to the other's pool, and who waits goes with it.
 */
import type { Channel } from "../../net/channel.ts";
import type { UpstreamCluster } from "../context.ts";
import type { UpstreamPool, UpstreamUser } from "./upstream-exchange.ts";

export type Spoken = "http1" | "http2";

/** A connection that stands, opened before it was known what would be spoken. */
export interface OpenedConnection {
  readonly cluster: UpstreamCluster;
  /** It holds one of the cluster's connections (limits). */
  readonly isCounted: boolean;
  readonly dialledMs: number;
  readonly tcpConnectedMs: number;
}

/** A pool that can have connections for requests to come. */
export interface ForeseeingPool extends UpstreamPool {
  /**
   * One of the next requests will come here: begins a connection for it, where those that there are will not
   * do for `ratio` times the requests, it included. True when it has, and more may be begun.
   */
  foresee(cluster: UpstreamCluster, ratio: number): boolean;
}

/** A pool of one protocol. */
export interface SpeakingPool extends ForeseeingPool {
  /** Takes a connection that another pool has opened. */
  adopt(channel: Channel, opened: OpenedConnection): void;
}

export class AgreedPool implements ForeseeingPool {
  readonly #pools: Readonly<Record<Spoken, SpeakingPool>>;
  #spoken: Spoken = "http2";

  constructor(pools: Readonly<Record<Spoken, SpeakingPool>>) {
    this.#pools = pools;
  }

  acquire(user: UpstreamUser, cluster: UpstreamCluster, isFresh = false): void {
    this.#pools[this.#spoken].acquire(user, cluster, isFresh);
  }

  foresee(cluster: UpstreamCluster, ratio: number): boolean {
    return this.#pools[this.#spoken].foresee(cluster, ratio);
  }

  cancel(user: UpstreamUser): boolean {
    return this.#pools.http2.cancel(user) || this.#pools.http1.cancel(user);
  }

  /** A connection stands: who speaks what it has agreed on, unless that is `opener`. */
  otherFor(channel: Channel, opener: Spoken): SpeakingPool | undefined {
    const alpn = channel.tls?.alpn;
    const spoken = alpn !== undefined && isHttp2(alpn) ? "http2" : "http1";
    this.#spoken = spoken;
    return spoken === opener ? undefined : this.#pools[spoken];
  }
}

export function isHttp2(protocol: string): boolean {
  return protocol === "h2" || protocol === "istio-h2";
}
