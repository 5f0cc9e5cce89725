/** Keeps the endpoints of a DNS cluster up to date: resolves, waits, resolves again. */
import { messageOf } from "../../base/error.ts";
import type { Timer } from "../../base/clock.ts";
import type { Resolver } from "../../net/resolver.ts";
import { parseIp } from "../engine/ip.ts";
import type { Discovery } from "./plan.ts";
import type { ClusterServices, LocalityDescription } from "./running-cluster.ts";

type DnsDiscovery = Extract<Discovery, { kind: "dns" }>;

export interface DnsWatchOptions {
  readonly cluster: string;
  readonly discovery: DnsDiscovery;
  /** As written, with hostnames for addresses. */
  readonly localities: readonly LocalityDescription[];
  readonly onEndpoints: (localities: readonly LocalityDescription[]) => void;
}

export class DnsWatch {
  readonly #options: DnsWatchOptions;
  readonly #resolver: Resolver;
  readonly #services: ClusterServices;
  /** Last good answers: a name that stops resolving keeps its addresses. */
  readonly #known = new Map<string, readonly string[]>();
  #timer: Timer | undefined;
  #isClosed = false;

  constructor(options: DnsWatchOptions, resolver: Resolver, services: ClusterServices) {
    this.#options = options;
    this.#resolver = resolver;
    this.#services = services;
    void this.#refresh();
  }

  close(): void {
    this.#isClosed = true;
    this.#timer?.cancel();
  }

  async #refresh(): Promise<void> {
    const names = new Set(
      this.#options.localities.flatMap(({ endpoints }) =>
        endpoints.map(({ address }) => address.address),
      ),
    );
    await Promise.all([...names].map((name) => this.#resolve(name)));
    if (this.#isClosed) return;
    this.#options.onEndpoints(this.#resolved());
    const { refreshMs, jitterMs } = this.#options.discovery;
    const delayMs = refreshMs + this.#services.random() * jitterMs;
    this.#timer = this.#services.clock.schedule(delayMs, () => void this.#refresh());
  }

  async #resolve(name: string): Promise<void> {
    if (parseIp(name) !== undefined) {
      this.#known.set(name, [name]);
      return;
    }
    try {
      this.#known.set(name, await this.#resolver.resolve(name, this.#options.discovery.family));
    } catch (thrown) {
      this.#services.log.warn("name of a cluster does not resolve", {
        cluster: this.#options.cluster,
        name,
        reason: messageOf(thrown),
      });
    }
  }

  #resolved(): readonly LocalityDescription[] {
    const { isStrict } = this.#options.discovery;
    return this.#options.localities.map((locality) => ({
      ...locality,
      endpoints: locality.endpoints.flatMap((endpoint) => {
        const found = this.#known.get(endpoint.address.address) ?? [];
        const hostname = endpoint.hostname === "" ? endpoint.address.address : endpoint.hostname;
        return (isStrict ? found : found.slice(0, 1)).map((address) => ({
          ...endpoint,
          hostname,
          address: { address, port: endpoint.address.port },
        }));
      }),
    }));
  }
}
