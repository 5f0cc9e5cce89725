/** Names to addresses, for clusters of type DNS: by the machine's own resolver (files, then DNS). */
import { lookup } from "node:dns/promises";

export interface Resolver {
  /** Rejects when it cannot be found out what the name is. */
  resolve(hostname: string, family: AddressFamily): Promise<ResolvedName>;
}

export type AddressFamily = "any" | "ipv4" | "ipv6";

export interface ResolvedName {
  /** Textual, IPv4 first where both are asked; none: there is no such name, or it has none of the family. */
  readonly addresses: readonly string[];
  /** How long they may be used without asking again; undefined when nobody said. */
  readonly ttlMs: number | undefined;
}

const families = { any: 0, ipv4: 4, ipv6: 6 } as const;

export const systemResolver: Resolver = {
  async resolve(hostname, family) {
    const options = { all: true, family: families[family], order: "ipv4first" } as const;
    try {
      const found = await lookup(hostname, options);
      return { addresses: [...new Set(found.map(({ address }) => address))], ttlMs: undefined };
    } catch (thrown) {
      // An answer, where others say that there was none (EAI_AGAIN).
      if (thrown instanceof Error && "code" in thrown && thrown.code === "ENOTFOUND") return none;
      throw thrown;
    }
  },
};

const none: ResolvedName = { addresses: [], ttlMs: undefined };
