/** Names to addresses by the machine's own resolver (files, then DNS), for clusters of type DNS. */
import { lookup } from "node:dns/promises";

export interface Resolver {
  /** Textual addresses, IPv4 first where both are asked; rejects when the name cannot be resolved. */
  resolve(hostname: string, family: "any" | "ipv4" | "ipv6"): Promise<readonly string[]>;
}

const families = { any: 0, ipv4: 4, ipv6: 6 } as const;

export const systemResolver: Resolver = {
  async resolve(hostname, family) {
    const found = await lookup(hostname, {
      all: true,
      family: families[family],
      order: "ipv4first",
    });
    return [...new Set(found.map(({ address }) => address))];
  },
};
