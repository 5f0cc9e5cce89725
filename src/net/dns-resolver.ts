/**
 * Names to addresses by one name server over TCP, for where the machine's resolver is out of reach:
 * the namespace of a workload. Knows no search domains and keeps nothing.
 */
import { randomInt } from "node:crypto";

import type { Clock } from "../base/clock.ts";
import { HeddleError } from "../base/error.ts";
import { formatSocketAddress, type SocketAddress } from "../base/socket-address.ts";
import {
  decodeAddresses,
  type DnsAddresses,
  type DnsQuery,
  encodeDnsQuery,
  recordTypes,
  responseCodes,
  udpBytesMax,
} from "../wire/dns.ts";
import type { Dialler } from "./dialler.ts";
import { DnsExchange } from "./dns-exchange.ts";
import type { AddressFamily, Resolver } from "./resolver.ts";

export interface DnsResolverOptions {
  readonly upstream: SocketAddress;
  /** Marks the connection where capture would take it otherwise. */
  readonly dialler: Dialler;
  readonly clock: Clock;
}

/** A proxy's first configuration waits for an answer: a silent server must not hold it for long. */
const timeoutMs = 2_000;

const typesOf: { readonly [Family in AddressFamily]: readonly number[] } = {
  any: [recordTypes.a, recordTypes.aaaa],
  ipv4: [recordTypes.a],
  ipv6: [recordTypes.aaaa],
};

/** `resolve()` rejects with `dns.unresolved` and a sentence that says why the server gave no answer. */
export function createDnsResolver({ upstream, dialler, clock }: DnsResolverOptions): Resolver {
  const exchange = new DnsExchange({
    upstream,
    dialler,
    clock,
    timeoutMs,
    onFailure: () => {},
    onOverflow: () => {},
  });
  const server = formatSocketAddress(upstream);
  return {
    async resolve(hostname, family) {
      const name = hostname.toLowerCase().replace(/\.$/, "");
      if (!isName(name)) throw unresolved(hostname, "it is no name of a host");
      const answers = await Promise.all(
        typesOf[family].map((type) => askOne(exchange, name, type)),
      );
      const addresses = [...new Set(answers.flatMap((answer) => answer?.addresses ?? []))];
      if (addresses.length === 0 && !answers.every(isKnown)) {
        const failed = answers.find((answer) => !isKnown(answer));
        throw unresolved(hostname, reasonOf(failed, server));
      }
      const lives = answers.flatMap((answer) => answer?.ttlSeconds ?? []);
      return { addresses, ttlMs: lives.length === 0 ? undefined : Math.min(...lives) * 1000 };
    },
  };
}

function askOne(
  exchange: DnsExchange,
  name: string,
  type: number,
): Promise<DnsAddresses | undefined> {
  const query: DnsQuery = {
    id: randomInt(0x1_0000),
    opcode: 0,
    recursionDesired: true,
    question: { name, type, class: 1 },
    udpBytesMax,
    hasEdns: false,
  };
  return new Promise((resolve) => {
    exchange.ask(query, encodeDnsQuery(query), (answer) =>
      resolve(answer === undefined ? undefined : decodeAddresses(answer)),
    );
  });
}

/** The server knows what it says, be it that there is no such name. */
function isKnown(answer: DnsAddresses | undefined): boolean {
  const { noError, nameError } = responseCodes;
  return answer?.code === noError || answer?.code === nameError;
}

function reasonOf(answer: DnsAddresses | undefined, server: string): string {
  if (answer === undefined) return `name server ${server} does not answer`;
  return `name server ${server} answers with code ${answer.code}`;
}

function unresolved(hostname: string, reason: string): HeddleError {
  return new HeddleError("dns.unresolved", `cannot resolve ${hostname}: ${reason}`);
}

/** What fits into a question: labels of 1 to 63 printable bytes, 253 in all. */
function isName(name: string): boolean {
  return (
    name.length <= 253 && /^[!-~]+$/.test(name) && name.split(".").every((l) => /^.{1,63}$/.test(l))
  );
}
