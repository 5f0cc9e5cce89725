/** Names to addresses, for clusters of type DNS: by the machine's own resolver (files, then DNS). */
import { lookup } from "node:dns/promises";

export interface Resolver {
  /** Rejects when the name cannot be resolved, or has no address of the family. */
  resolve(hostname: string, family: AddressFamily): Promise<ResolvedName>;
}

export type AddressFamily = "any" | "ipv4" | "ipv6";

export interface ResolvedName {
  /** Textual, at least one, IPv4 first where both are asked. */
  readonly addresses: readonly string[];
  /** How long they may be used without asking again; undefined when nobody said. */
  readonly ttlMs: number | undefined;
}

const families = { any: 0, ipv4: 4, ipv6: 6 } as const;

export const systemResolver: Resolver = {
  async resolve(hostname, family) {
    const found = await lookup(hostname, {
      all: true,
      family: families[family],
      order: "ipv4first",
    });
    return { addresses: [...new Set(found.map(({ address }) => address))], ttlMs: undefined };
  },
};
