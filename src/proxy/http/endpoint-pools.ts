/** The pools of one endpoint, each made when a request first needs it. */
import type { UpstreamEndpoint } from "../context.ts";
import type { ClientPool } from "../http2/client-pool.ts";
import { AgreedPool } from "./agreed-pool.ts";
import type { EndpointPool } from "./upstream-pool.ts";

export interface PoolMakers {
  http1(): EndpointPool;
  http2(): ClientPool;
}

export class EndpointPools {
  readonly #endpoint: UpstreamEndpoint;
  readonly #make: PoolMakers;
  #http1: EndpointPool | undefined;
  #http2: ClientPool | undefined;
  #agreed: AgreedPool | undefined;
  #high: EndpointPools | undefined;

  constructor(endpoint: UpstreamEndpoint, make: PoolMakers) {
    this.#endpoint = endpoint;
    this.#make = make;
    endpoint.onRemoved = () => this.#remove();
    endpoint.onDrained = () => this.#drain();
  }

  /** For requests of priority HIGH, whose connections are apart from the others'. */
  get high(): EndpointPools {
    if (this.#high !== undefined) return this.#high;
    const endpoint = this.#endpoint;
    const made = new EndpointPools(endpoint, this.#make);
    endpoint.onRemoved = () => {
      this.#remove();
      made.#remove();
    };
    endpoint.onDrained = () => {
      this.#drain();
      made.#drain();
    };
    this.#high = made;
    return made;
  }

  #remove(): void {
    this.#http1?.closeIdle();
    this.#http2?.drain();
  }

  #drain(): void {
    this.#http1?.drain();
    this.#http2?.drain();
  }

  get http1(): EndpointPool {
    return (this.#http1 ??= this.#make.http1());
  }

  get http2(): ClientPool {
    return (this.#http2 ??= this.#make.http2());
  }

  /** Of both, where each connection shows which. */
  get agreed(): AgreedPool {
    if (this.#agreed !== undefined) return this.#agreed;
    const { http1, http2 } = this;
    const made = new AgreedPool({ http1, http2 });
    http1.agreed = made;
    http2.agreed = made;
    this.#agreed = made;
    return made;
  }
}
