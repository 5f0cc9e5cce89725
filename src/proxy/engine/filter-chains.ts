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
import { compileChainTree } from "./chain-tree.ts";
import { type IpRange, ipRangeKey, knownIp, parseIpRange } from "./ip.ts";
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
  /** Its place among the listener's chains. */
  readonly index: number;
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
  const { filterChainMatcher } = listener;
  if (filterChainMatcher !== undefined) return compileChainTree(listener, filterChainMatcher);
  const candidates = listener.filterChains.map((chain, i) => compileCandidate(chain, i));
  refuseDuplicates(candidates);
  const root = new ChoiceTable(candidates, 0);
  const fallback = listener.defaultFilterChain;
  return { match: (facts) => root.find(facts) ?? fallback };
}

/** One of the questions: which answers a candidate takes, and which of them fits a connection best. */
interface Step {
  /** Empty: any answer will do. */
  keysOf(candidate: Candidate): readonly string[];
  /** Keys that also those candidates fit to which any answer will do. */
  readonly openKeys: readonly string[];
  /** The answer that fits best; undefined where only those fit that take any. */
  choose(answers: Answers, facts: ConnectionFacts): ChoiceTable | undefined;
}

interface Answers {
  readonly byKey: ReadonlyMap<string, ChoiceTable>;
  /** Of ranges of addresses: distinct lengths of their prefixes, longest first. */
  readonly lengths: readonly number[];
}

/**
 * What is left after some questions, as tables of the answers to the next: built once, so that a
 * connection costs a look-up per question. Going back is impossible by construction.
 */
class ChoiceTable {
  readonly #chain: FilterChain | undefined;
  readonly #step: Step | undefined;
  readonly #answers: Answers | undefined;
  readonly #any: ChoiceTable | undefined;

  /** `depth` questions have been answered alike by all `candidates`. */
  constructor(candidates: readonly Candidate[], depth: number) {
    this.#chain = candidates[0]?.chain;
    // Questions that nobody asks need no table.
    let next = depth;
    while (
      next < steps.length &&
      candidates.every((one) => steps[next]?.keysOf(one).length === 0)
    ) {
      next++;
    }
    const step = steps[next];
    if (step === undefined) return;
    this.#step = step;
    const { groups, open } = grouped(candidates, step);
    // Chains with many names have the same table behind each.
    const shared = new Map<string, ChoiceTable>();
    const tableOf = (group: readonly Candidate[]): ChoiceTable => {
      const key = group.map(({ index }) => index).join();
      const table = shared.get(key) ?? new ChoiceTable(group, next + 1);
      shared.set(key, table);
      return table;
    };
    const keys = [...groups.keys()];
    this.#answers = {
      byKey: new Map([...groups].map(([key, group]) => [key, tableOf(group)])),
      lengths: [...new Set(keys.map(prefixLengthOf))].toSorted((a, b) => b - a),
    };
    this.#any = open.length === 0 ? undefined : tableOf(open);
  }

  find(facts: ConnectionFacts): FilterChain | undefined {
    if (this.#step === undefined || this.#answers === undefined) return this.#chain;
    return (this.#step.choose(this.#answers, facts) ?? this.#any)?.find(facts);
  }
}

/** Candidates by the answers they take, in their order. */
function grouped(
  candidates: readonly Candidate[],
  step: Step,
): {
  readonly groups: ReadonlyMap<string, readonly Candidate[]>;
  readonly open: readonly Candidate[];
} {
  const groups = new Map<string, Candidate[]>();
  const open: Candidate[] = [];
  for (const candidate of candidates) {
    const keys = step.keysOf(candidate);
    if (keys.length === 0) open.push(candidate);
    for (const key of new Set(keys)) {
      const group = groups.get(key);
      if (group === undefined) groups.set(key, [candidate]);
      else group.push(candidate);
    }
  }
  for (const key of step.openKeys) {
    const group = groups.get(key);
    if (group === undefined) continue;
    groups.set(
      key,
      [...group, ...open].toSorted((a, b) => a.index - b.index),
    );
  }
  return { groups, open };
}

/** `10.0.0.0/8` → 8; anything for keys of other kinds. */
function prefixLengthOf(key: string): number {
  return Number(key.slice(key.lastIndexOf("/") + 1));
}

/** A chain without ranges asks no more than one for all addresses of a family. */
const wholeFamilies = [4, 16].map((length) =>
  ipRangeKey({ bytes: Array.from({ length }, () => 0), prefixLength: 0 }),
);

/** In Envoy's order. */
const steps: readonly Step[] = [
  {
    keysOf: ({ port }) => (port === undefined ? [] : [String(port)]),
    openKeys: [],
    choose: ({ byKey }, facts) => byKey.get(String(facts.destinationPort)),
  },
  prefixStep(
    ({ destinations }) => destinations,
    (facts) => facts.destinationAddress,
  ),
  {
    keysOf: ({ exactNames, suffixNames }) => [
      ...exactNames,
      ...[...suffixNames].map((suffix) => `*${suffix}`),
    ],
    openKeys: [],
    choose: ({ byKey }, { sni = "" }) => (sni === "" ? undefined : byServerName(byKey, sni)),
  },
  {
    keysOf: ({ transportProtocol }) => (transportProtocol === "" ? [] : [transportProtocol]),
    openKeys: [],
    choose: ({ byKey }, facts) => byKey.get(facts.transportProtocol),
  },
  {
    keysOf: ({ applicationProtocols }) => [...applicationProtocols],
    openKeys: [],
    choose: ({ byKey }, facts) => {
      for (const protocol of facts.applicationProtocols) {
        const found = byKey.get(protocol);
        if (found !== undefined) return found;
      }
      return undefined;
    },
  },
  prefixStep(
    ({ directSources }) => directSources,
    (facts) => facts.directSourceAddress,
  ),
  {
    keysOf: ({ sourceType }) => (sourceType === SourceType.ANY ? [] : [String(sourceType)]),
    openKeys: [],
    choose: ({ byKey }, { isLocalSource }) =>
      byKey.get(String(isLocalSource ? SourceType.SAME_IP_OR_LOOPBACK : SourceType.EXTERNAL)),
  },
  prefixStep(
    ({ sources }) => sources,
    (facts) => facts.sourceAddress,
  ),
  {
    keysOf: ({ sourcePorts }) => [...sourcePorts].map(String),
    openKeys: [],
    choose: ({ byKey }, facts) => byKey.get(String(facts.sourcePort)),
  },
];

/** The longest range that holds an address. */
function prefixStep(
  rangesOf: (candidate: Candidate) => readonly IpRange[],
  addressOf: (facts: ConnectionFacts) => string,
): Step {
  return {
    keysOf: (candidate) => rangesOf(candidate).map(ipRangeKey),
    openKeys: wholeFamilies,
    choose({ byKey, lengths }, facts) {
      const bytes = knownIp(addressOf(facts));
      if (bytes === undefined) return undefined;
      for (const prefixLength of lengths) {
        if (prefixLength > bytes.length * 8) continue;
        const found = byKey.get(ipRangeKey({ bytes, prefixLength }));
        if (found !== undefined) return found;
      }
      return undefined;
    },
  };
}

function byServerName(table: Answers["byKey"], name: string): ChoiceTable | undefined {
  const exact = table.get(name);
  if (exact !== undefined) return exact;
  for (let dot = name.indexOf(".", 1); dot > 0; dot = name.indexOf(".", dot + 1)) {
    const found = table.get(`*${name.slice(dot)}`);
    if (found !== undefined) return found;
  }
  return undefined;
}

function compileCandidate(chain: FilterChain, index: number): Candidate {
  const path = `filter_chains[${index}].filter_chain_match`;
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
    index,
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
