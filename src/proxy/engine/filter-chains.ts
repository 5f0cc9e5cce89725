/**
 * Which filter chain of a listener serves a connection: Envoy's nine steps. Each step keeps the most
 * specific matches among the chains that are left; there is no going back, so a chain that wins one
 * step and loses a later one is a miss even if a less specific chain would have matched.
 */
import type { Listener } from "../../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import {
  FilterChainMatch_ConnectionSourceType as SourceType,
  type FilterChain,
} from "../../wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import { type IpBytes, type IpRange, ipRangeKey, isInRange, parseIp, parseIpRange } from "./ip.ts";
import { refuse } from "./refusal.ts";
import { lowerAscii } from "./text-test.ts";

/** What is known about a connection once its first bytes have been inspected. */
export interface ConnectionFacts {
  readonly destinationAddress: string;
  readonly destinationPort: number;
  /** Lower case; undefined without TLS or without the extension. */
  readonly sni: string | undefined;
  readonly transportProtocol: "tls" | "raw_buffer";
  readonly applicationProtocols: readonly string[];
  /** Who connected to us, whatever a PROXY header says of the source. */
  readonly directSourceAddress: string;
  readonly sourceAddress: string;
  readonly sourcePort: number;
  /** From loopback, or from the address it goes to. */
  readonly isLocalSource: boolean;
}

export interface FilterChainSelector {
  /** The listener's default chain when none matches; undefined means close the connection. */
  match(facts: ConnectionFacts): FilterChain | undefined;
}

interface Candidate {
  readonly chain: FilterChain;
  readonly port: number | undefined;
  readonly destinations: readonly IpRange[];
  readonly exactNames: ReadonlySet<string>;
  /** Without the star: `.example.com`. */
  readonly suffixNames: ReadonlySet<string>;
  readonly transportProtocol: string;
  readonly applicationProtocols: ReadonlySet<string>;
  readonly directSources: readonly IpRange[];
  readonly sourceType: SourceType;
  readonly sources: readonly IpRange[];
  readonly sourcePorts: ReadonlySet<number>;
}

export function compileFilterChains(listener: Listener): FilterChainSelector {
  if (listener.filterChainMatcher !== undefined) {
    refuse("filter_chain_matcher", "is not supported");
  }
  const candidates = listener.filterChains.map((chain, i) =>
    compileCandidate(chain, `filter_chains[${i}].filter_chain_match`),
  );
  refuseDuplicates(candidates);
  const byPort = new Map<number, Candidate[]>();
  const anyPort: Candidate[] = [];
  for (const candidate of candidates) {
    if (candidate.port === undefined) {
      anyPort.push(candidate);
    } else {
      const same = byPort.get(candidate.port);
      if (same === undefined) byPort.set(candidate.port, [candidate]);
      else same.push(candidate);
    }
  }
  const fallback = listener.defaultFilterChain;
  return {
    match: (facts) =>
      select(byPort.get(facts.destinationPort) ?? anyPort, facts)?.chain ?? fallback,
  };
}

function select(onPort: readonly Candidate[], facts: ConnectionFacts): Candidate | undefined {
  const destination = parseIp(facts.destinationAddress);
  const source = parseIp(facts.sourceAddress);
  let left = longestPrefix(onPort, destination, (candidate) => candidate.destinations);
  left = byServerName(left, facts.sni ?? "");
  left = exactOr(
    left,
    (candidate) => candidate.transportProtocol === facts.transportProtocol,
    (candidate) => candidate.transportProtocol === "",
  );
  left = byApplicationProtocol(left, facts.applicationProtocols);
  const directSource = parseIp(facts.directSourceAddress);
  left = longestPrefix(left, directSource, (candidate) => candidate.directSources);
  const type = facts.isLocalSource ? SourceType.SAME_IP_OR_LOOPBACK : SourceType.EXTERNAL;
  left = exactOr(
    left,
    (candidate) => candidate.sourceType === type,
    (candidate) => candidate.sourceType === SourceType.ANY,
  );
  left = longestPrefix(left, source, (candidate) => candidate.sources);
  left = exactOr(
    left,
    (candidate) => candidate.sourcePorts.has(facts.sourcePort),
    (candidate) => candidate.sourcePorts.size === 0,
  );
  return left[0];
}

function exactOr(
  candidates: readonly Candidate[],
  isExact: (candidate: Candidate) => boolean,
  isOpen: (candidate: Candidate) => boolean,
): readonly Candidate[] {
  const exact = candidates.filter(isExact);
  return exact.length > 0 ? exact : candidates.filter(isOpen);
}

function longestPrefix(
  candidates: readonly Candidate[],
  address: IpBytes | undefined,
  rangesOf: (candidate: Candidate) => readonly IpRange[],
): readonly Candidate[] {
  let best = -1;
  let kept: Candidate[] = [];
  for (const candidate of candidates) {
    const ranges = rangesOf(candidate);
    let longest = ranges.length === 0 ? 0 : -1;
    if (address !== undefined) {
      for (const range of ranges) {
        if (isInRange(address, range)) longest = Math.max(longest, range.prefixLength);
      }
    }
    if (longest < 0 || longest < best) continue;
    if (longest > best) kept = [];
    best = longest;
    kept.push(candidate);
  }
  return kept;
}

function byServerName(candidates: readonly Candidate[], name: string): readonly Candidate[] {
  if (name !== "") {
    const exact = candidates.filter((candidate) => candidate.exactNames.has(name));
    if (exact.length > 0) return exact;
    for (let dot = name.indexOf(".", 1); dot > 0; dot = name.indexOf(".", dot + 1)) {
      const suffix = name.slice(dot);
      const wild = candidates.filter((candidate) => candidate.suffixNames.has(suffix));
      if (wild.length > 0) return wild;
    }
  }
  return candidates.filter(
    (candidate) => candidate.exactNames.size === 0 && candidate.suffixNames.size === 0,
  );
}

function byApplicationProtocol(
  candidates: readonly Candidate[],
  protocols: readonly string[],
): readonly Candidate[] {
  for (const protocol of protocols) {
    const found = candidates.filter((candidate) => candidate.applicationProtocols.has(protocol));
    if (found.length > 0) return found;
  }
  return candidates.filter((candidate) => candidate.applicationProtocols.size === 0);
}

function compileCandidate(chain: FilterChain, path: string): Candidate {
  const match = chain.filterChainMatch;
  if (match !== undefined && (match.addressSuffix !== "" || match.suffixLen !== undefined)) {
    refuse(`${path}.address_suffix`, "is not supported");
  }
  const names = (match?.serverNames ?? []).map(lowerAscii);
  for (const name of names) {
    if (name.includes("*") && !/^\*\.[^*]+$/.test(name)) {
      refuse(`${path}.server_names`, `'${name}': a wildcard stands for whole leading labels`);
    }
  }
  const ranges = (list: FilterChainRanges, field: string): readonly IpRange[] =>
    list.map((range, i) => parseIpRange(range, `${path}.${field}[${i}]`));
  return {
    chain,
    port: match?.destinationPort,
    destinations: ranges(match?.prefixRanges ?? [], "prefix_ranges"),
    exactNames: new Set(names.filter((name) => !name.startsWith("*"))),
    suffixNames: new Set(names.filter((name) => name.startsWith("*")).map((name) => name.slice(1))),
    transportProtocol: match?.transportProtocol ?? "",
    applicationProtocols: new Set(match?.applicationProtocols),
    directSources: ranges(match?.directSourcePrefixRanges ?? [], "direct_source_prefix_ranges"),
    sourceType: match?.sourceType ?? SourceType.ANY,
    sources: ranges(match?.sourcePrefixRanges ?? [], "source_prefix_ranges"),
    sourcePorts: new Set(match?.sourcePorts),
  };
}

type FilterChainRanges = Parameters<typeof parseIpRange>[0][];

const combinationsMax = 100_000;

/** Envoy refuses a listener in which one combination of criteria belongs to two chains. */
function refuseDuplicates(candidates: readonly Candidate[]): void {
  const seen = new Map<string, number>();
  for (const [i, candidate] of candidates.entries()) {
    for (const key of combinations(candidate)) {
      const other = seen.get(key);
      if (other !== undefined && other !== i) {
        refuse(`filter_chains[${i}].filter_chain_match`, `matches the same as chain ${other}`);
      }
      seen.set(key, i);
      if (seen.size > combinationsMax) {
        refuse("filter_chains", `more than ${combinationsMax} combinations of criteria`);
      }
    }
  }
}

function combinations(candidate: Candidate): string[] {
  const dimensions: readonly (readonly string[])[] = [
    candidate.destinations.map(ipRangeKey),
    [...candidate.exactNames, ...[...candidate.suffixNames].map((suffix) => `*${suffix}`)],
    [...candidate.applicationProtocols],
    candidate.directSources.map(ipRangeKey),
    candidate.sources.map(ipRangeKey),
    [...candidate.sourcePorts].map(String),
  ];
  let keys = [`${candidate.port}|${candidate.transportProtocol}|${candidate.sourceType}`];
  for (const values of dimensions) {
    const choices = values.length === 0 ? [""] : values;
    if (keys.length * choices.length > combinationsMax) {
      refuse("filter_chains", `more than ${combinationsMax} combinations of criteria`);
    }
    keys = keys.flatMap((key) => choices.map((choice) => `${key}|${choice}`));
  }
  return keys;
}
