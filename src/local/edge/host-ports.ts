/** Which host port leads to which gateway; follows changes of the mesh file. */
import type { Server } from "node:net";

import { messageOf } from "../../base/error.ts";
import type { GatewayTarget } from "../supervisor.ts";
import type { Edge } from "./edge.ts";
import type { HostLink } from "./host-link.ts";

export interface HostPortsOptions {
  readonly link: HostLink;
  readonly edge: Edge;
  /** By `gatewayPortKey`. */
  readonly inherited: ReadonlyMap<string, Server>;
  readonly onRefused: (reason: string) => void;
}

export class HostPorts {
  readonly #options: HostPortsOptions;
  readonly #open: Map<string, Server>;

  constructor(options: HostPortsOptions) {
    this.#options = options;
    this.#open = new Map(options.inherited);
  }

  follow(gateways: readonly GatewayTarget[]): void {
    const wanted = new Set(gateways.map((gateway) => gateway.key));
    for (const [key, server] of this.#open) {
      if (wanted.has(key)) continue;
      if (this.#options.inherited.has(key)) {
        // `unshare` holds the descriptor too, so closing ours would leave a port that accepts and
        // never answers. Connections are refused here until the port is wanted again.
        this.#options.edge.relay(server, () => undefined);
        continue;
      }
      server.close();
      this.#open.delete(key);
    }
    for (const gateway of gateways) {
      this.#lead(gateway).catch((thrown: unknown) => this.#options.onRefused(messageOf(thrown)));
    }
  }

  async #lead({ key, hostPort, target, hostAddress }: GatewayTarget): Promise<void> {
    const { link, edge } = this.#options;
    let server = this.#open.get(key);
    if (server === undefined) {
      server = await link.listen({ address: hostAddress, port: hostPort });
      this.#open.set(key, server);
    }
    edge.relay(server, target);
  }
}
