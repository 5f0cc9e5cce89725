/** A listener's `filter_chain_matcher`: a tree whose actions are names of filter chains. */
import type { Listener } from "../../wire/gen/ts/envoy/config/listener/v3/listener.ts";
import type { FilterChain } from "../../wire/gen/ts/envoy/config/listener/v3/listener_components.ts";
import { StringValue } from "../../wire/gen/ts/google/protobuf/wrappers.ts";
import type { Matcher } from "../../wire/gen/ts/xds/type/matcher/v3/matcher.ts";
import { allOf, always, type Condition, type TextSource } from "./condition.ts";
import { compileFirstMatch } from "./condition-code.ts";
import type { ConnectionFacts, FilterChainSelector } from "./filter-chains.ts";
import { connectionInputs, stateInput } from "./match-inputs.ts";
import { matchCases, type MatchInputs, typeOfAny } from "./match-tree.ts";
import { refuse } from "./refusal.ts";
import type { ConnectionView, RequestView } from "./request.ts";

/** Throws a refusal. */
export function compileChainTree(listener: Listener, matcher: Matcher): FilterChainSelector {
  const chains = chainsByName(listener);
  const cases = matchCases(matcher, "filter_chain_matcher", inputs);
  const names = cases.map(({ action, path }) =>
    typeOfAny(action) === "google.protobuf.StringValue"
      ? StringValue.decode(action.value).value
      : refuse(path, `'${typeOfAny(action)}' is not supported: only the name of a filter chain`),
  );
  const find = compileFind(cases.map(({ condition }, i) => ({ condition, name: names[i] ?? "" })));
  return {
    match(facts) {
      const name = find(new FactsRequest(facts));
      // A name that no chain has closes the connection, as in Envoy.
      return name === undefined ? listener.defaultFilterChain : chains.get(name);
    },
  };
}

const noChance = (): number => 0;

/** A chain, and when it is taken. */
interface Choice {
  readonly condition: Condition;
  readonly name: string;
}

type Find = (request: FactsRequest) => string | undefined;

/** The first whose condition holds; those that compare one text, one after another, are looked up by it. */
function compileFind(choices: readonly Choice[]): Find {
  const steps: Find[] = [];
  for (let at = 0; at < choices.length;) {
    const source = exactOf(choices[at]?.condition)?.source;
    const until = choices.findIndex(
      ({ condition }, i) => i >= at && exactOf(condition)?.source !== source,
    );
    const run = choices.slice(at, until < 0 ? undefined : until);
    steps.push(source === undefined ? oneByOne(run) : byText(source, run));
    at += run.length;
  }
  const [only] = steps;
  if (only !== undefined && steps.length === 1) return only;
  return (request) => {
    for (const step of steps) {
      const name = step(request);
      if (name !== undefined) return name;
    }
    return undefined;
  };
}

function oneByOne(choices: readonly Choice[]): Find {
  const firstMatch = compileFirstMatch(choices.map(({ condition }) => condition));
  return (request) => choices[firstMatch(request, "", noChance)]?.name;
}

function byText({ textOf }: ComputedSource, choices: readonly Choice[]): Find {
  const byText = Map.groupBy(choices, ({ condition }) => exactOf(condition)?.text ?? "");
  const found = new Map<string, Find>();
  for (const [text, those] of byText) {
    found.set(
      text,
      compileFind(
        those.map(({ condition, name }) => ({
          condition: exactOf(condition)?.rest ?? condition,
          name,
        })),
      ),
    );
  }
  return (request) => {
    const text = textOf(request);
    return text === undefined ? undefined : found.get(text)?.(request);
  };
}

type ComputedSource = Extract<TextSource, { kind: "computed" }>;

/** What a condition compares first, if that is a text which it must be; and what else must hold. */
interface ExactText {
  readonly source: ComputedSource;
  readonly text: string;
  readonly rest: Condition;
}

function exactOf(condition: Condition | undefined): ExactText | undefined {
  if (condition?.kind === "all") {
    const [first, ...others] = condition.of;
    const found = exactOf(first);
    return found && { ...found, rest: allOf([found.rest, ...others]) };
  }
  if (condition?.kind !== "text" || condition.isInverted || condition.whenMissing) return undefined;
  const { source, test } = condition;
  if (source.kind !== "computed" || test.kind !== "exact" || test.ignoresCase) return undefined;
  return { source, text: test.text, rest: always };
}

function chainsByName(listener: Listener): ReadonlyMap<string, FilterChain> {
  const chains = new Map<string, FilterChain>();
  for (const [i, chain] of listener.filterChains.entries()) {
    const path = `filter_chains[${i}]`;
    if (chain.name === "") refuse(`${path}.name`, "is required beside filter_chain_matcher");
    if (chains.has(chain.name)) refuse(`${path}.name`, `'${chain.name}' is another chain's, too`);
    if (chain.filterChainMatch !== undefined) {
      refuse(`${path}.filter_chain_match`, "stands beside filter_chain_matcher");
    }
    chains.set(chain.name, chain);
  }
  return chains;
}

/** A connection that has no chain yet, for matchers that are asked of requests. */
class FactsRequest implements RequestView {
  readonly method = "";
  readonly path = "";
  readonly authority = "";
  readonly scheme = "";
  readonly facts: ConnectionFacts;
  readonly connection: ConnectionView;

  constructor(facts: ConnectionFacts) {
    this.facts = facts;
    this.connection = {
      sourceAddress: facts.sourceAddress,
      sourcePort: facts.sourcePort,
      direct: { address: facts.directSourceAddress, port: 0 },
      destinationAddress: facts.destinationAddress,
      destinationPort: facts.destinationPort,
      sni: facts.sni,
      alpn: undefined,
      isTls: false,
      peerUriSans: [],
    };
  }

  header(): undefined {
    return undefined;
  }
}

function ofFacts(read: (facts: ConnectionFacts) => string | undefined) {
  const textOf = (request: RequestView): string | undefined =>
    request instanceof FactsRequest ? read(request.facts) : undefined;
  return () => ({ source: { kind: "computed", textOf } as const });
}

const network = "envoy.extensions.matching.common_inputs.network.v3";

/** Before the handshake, which the chain is chosen for, nobody knows a certificate and no filter has set anything. */
const inputs: MatchInputs = new Map([
  ...[...connectionInputs].filter(([name]) => name.startsWith(network) && name !== stateInput),
  [`${network}.TransportProtocolInput`, ofFacts(({ transportProtocol }) => transportProtocol)],
  [
    `${network}.ApplicationProtocolInput`,
    ofFacts(({ applicationProtocols: all }) =>
      all.length === 0 ? undefined : all.map((one) => `'${one}'`).join(","),
    ),
  ],
  [
    `${network}.SourceTypeInput`,
    ofFacts(({ isLocalSource }) => (isLocalSource ? "local" : undefined)),
  ],
]);
