/** Envoy's choice of a filter chain: nine questions in order, each keeps the best answers. */
import type { ConnectionFacts } from "../../../src/proxy/engine/filter-chains.ts";
import type { CidrRange } from "../../../src/wire/gen/ts/envoy/config/core/v3/address.ts";
import type { Listener } from "../../../src/wire/gen/ts/envoy/config/listener/v3/listener.ts";
import {
  FilterChainMatch_ConnectionSourceType as SourceType,
  type FilterChain,
  type FilterChainMatch,
} from "../../../src/wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import { isIn } from "./rbac.ts";

type Question = (match: FilterChainMatch | undefined) => number;

/** The chain's name; undefined where none, not even the default, takes the connection. */
export function oracleFilterChain(listener: Listener, facts: ConnectionFacts): string | undefined {
  let left: readonly FilterChain[] = listener.filterChains;
  for (const question of questions(facts)) {
    const best = Math.max(-1, ...left.map((chain) => question(chain.filterChainMatch)));
    // Below zero: it asks for something else.
    left = best < 0 ? [] : left.filter((chain) => question(chain.filterChainMatch) === best);
  }
  return (left[0] ?? listener.defaultFilterChain)?.name;
}

function questions(facts: ConnectionFacts): readonly Question[] {
  const sourceType = facts.isLocalSource ? SourceType.SAME_IP_OR_LOOPBACK : SourceType.EXTERNAL;
  return [
    (match) =>
      oneOf(
        match?.destinationPort === undefined ? [] : [match.destinationPort],
        facts.destinationPort,
      ),
    (match) => longest(match?.prefixRanges, facts.destinationAddress),
    (match) => serverName(match?.serverNames ?? [], facts.sni),
    (match) =>
      oneOf(
        match === undefined || match.transportProtocol === "" ? [] : [match.transportProtocol],
        facts.transportProtocol,
      ),
    (match) => applicationProtocol(match?.applicationProtocols ?? [], facts.applicationProtocols),
    (match) => longest(match?.directSourcePrefixRanges, facts.directSourceAddress),
    (match) =>
      oneOf(
        match === undefined || match.sourceType === SourceType.ANY ? [] : [match.sourceType],
        sourceType,
      ),
    (match) => longest(match?.sourcePrefixRanges, facts.sourceAddress),
    (match) => oneOf(match?.sourcePorts ?? [], facts.sourcePort),
  ];
}

/** 1: named; 0: asks for nothing; -1: asks for others. */
function oneOf<T>(wanted: readonly T[], actual: T): number {
  if (wanted.length === 0) return 0;
  return wanted.includes(actual) ? 1 : -1;
}

function longest(ranges: readonly CidrRange[] | undefined, address: string): number {
  if (ranges === undefined || ranges.length === 0) return 0;
  return Math.max(
    -1,
    ...ranges.filter((one) => isIn(one, address)).map((one) => one.prefixLen ?? 0),
  );
}

function serverName(wanted: readonly string[], name: string | undefined): number {
  if (wanted.length === 0) return 0;
  if (name === undefined) return -1;
  return Math.max(
    ...wanted.map((one) => {
      if (one === name) return 1_000_000;
      return one.startsWith("*") && name.endsWith(one.slice(1)) && name.length >= one.length
        ? one.length
        : -1;
    }),
  );
}

/** The client's order decides. */
function applicationProtocol(wanted: readonly string[], offered: readonly string[]): number {
  if (wanted.length === 0) return 0;
  const first = offered.findIndex((one) => wanted.includes(one));
  return first < 0 ? -1 : 1_000 - first;
}
