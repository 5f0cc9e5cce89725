/**
 * A tree of matchers (`xds.type.matcher.v3.Matcher`) as a list of conditions, of which the first that
 * holds names the action: a branch that finds nothing lets those behind it decide, so a list says the
 * same as the tree. What it asks and what its actions mean is told by whoever has such a tree; inputs
 * and matchers that are not known are refused.
 */
import { bytesOf } from "../../base/latin1.ts";
import { Ip } from "../../wire/gen/ts/envoy/extensions/matching/input_matchers/ip/v3/ip.ts";
import type { Any } from "../../wire/gen/ts/google/protobuf/any.ts";
import { IPMatcher } from "../../wire/gen/ts/xds/type/matcher/v3/ip.ts";
import type {
  Matcher,
  Matcher_MatcherList_Predicate as Predicate,
  Matcher_MatcherTree as Tree,
  Matcher_OnMatch as OnMatch,
} from "../../wire/gen/ts/xds/type/matcher/v3/matcher.ts";
import type { StringMatcher } from "../../wire/gen/ts/xds/type/matcher/v3/string.ts";
import { allOf, always, anyOf, type Condition, not, type TextSource } from "./condition.ts";
import { parseIpRange } from "./ip.ts";
import { refuse } from "./refusal.ts";
import { compileBytesRegex, compileRegex } from "./regex.ts";
import { textTestOf } from "./string-matcher.ts";
import type { TextTest } from "./text-test.ts";

/** What is asked: a text, which may be missing, and for ranges of addresses whose. */
export interface MatchInput {
  readonly source: TextSource;
  readonly address?: Extract<Condition, { kind: "address" }>["of"];
}

export interface MatchCase {
  readonly condition: Condition;
  readonly action: Any;
  readonly path: string;
}

/** By the full name of the input's message; given what stands in it. */
export type MatchInputs = ReadonlyMap<string, (bytes: Uint8Array, path: string) => MatchInput>;

const depthMax = 16;
/** Of a whole tree. */
const casesMax = 4096;

/** Throws a refusal. */
export function matchCases(
  matcher: Matcher,
  path: string,
  inputs: MatchInputs,
): readonly MatchCase[] {
  return new TreePlan(inputs).matcher(matcher, path, 0);
}

export function typeOfAny(any: Any | undefined): string {
  return any?.typeUrl.split("/").at(-1) ?? "";
}

class TreePlan {
  readonly #inputs: MatchInputs;
  #cases = 0;

  constructor(inputs: MatchInputs) {
    this.#inputs = inputs;
  }

  matcher(matcher: Matcher, path: string, depth: number): readonly MatchCase[] {
    if (depth > depthMax) refuse(path, `more than ${depthMax} matchers stand in each other`);
    const { matcherList, matcherTree, onNoMatch } = matcher;
    const cases: MatchCase[] = [];
    if (matcherList !== undefined) {
      for (const [i, { predicate, onMatch }] of matcherList.matchers.entries()) {
        const place = `${path}.matcher_list.matchers[${i}]`;
        const condition = this.#predicate(predicate, `${place}.predicate`, 0);
        cases.push(...this.#onMatch(onMatch, `${place}.on_match`, { condition, depth }));
      }
    } else if (matcherTree !== undefined) {
      cases.push(...this.#tree(matcherTree, `${path}.matcher_tree`, depth));
    }
    if (onNoMatch === undefined) return cases;
    const rest = this.#onMatch(onNoMatch, `${path}.on_no_match`, { condition: always, depth });
    return [...cases, ...rest];
  }

  #onMatch(
    onMatch: OnMatch | undefined,
    path: string,
    { condition, depth }: { readonly condition: Condition; readonly depth: number },
  ): readonly MatchCase[] {
    if (onMatch?.keepMatching === true) refuse(`${path}.keep_matching`, "is not supported");
    if (onMatch?.matcher !== undefined) {
      return this.matcher(onMatch.matcher, `${path}.matcher`, depth + 1).map((one) => ({
        ...one,
        condition: allOf([condition, one.condition]),
      }));
    }
    const action = onMatch?.action?.typedConfig;
    if (action === undefined) return refuse(path, "needs a matcher or an action");
    if (++this.#cases > casesMax) refuse(path, `the tree has more than ${casesMax} actions`);
    return [{ condition, action, path: `${path}.action` }];
  }

  #tree(tree: Tree, path: string, depth: number): readonly MatchCase[] {
    const input = this.#input(tree.input?.typedConfig, `${path}.input`);
    if (tree.customMatch !== undefined) {
      return this.#ranges(tree.customMatch.typedConfig, `${path}.custom_match`, { input, depth });
    }
    const kind = tree.exactMatchMap === undefined ? "prefix" : "exact";
    const map = tree.exactMatchMap ?? tree.prefixMatchMap;
    if (map === undefined) return refuse(path, "names no map");
    // The longest prefix comes first; there is no order among exact texts.
    const entries = Object.entries(map.map).toSorted(([a], [b]) => b.length - a.length);
    if (entries.length === 0) refuse(`${path}.${kind}_match_map.map`, "is empty");
    return entries.flatMap(([text, onMatch]) => {
      const condition = textCondition(input.source, { kind, text, ignoresCase: false });
      return this.#onMatch(onMatch, `${path}.${kind}_match_map.map[${text}]`, { condition, depth });
    });
  }

  /** The longest range that holds the address comes first. */
  #ranges(
    any: Any | undefined,
    path: string,
    { input, depth }: { readonly input: MatchInput; readonly depth: number },
  ): readonly MatchCase[] {
    if (any === undefined || typeOfAny(any) !== "xds.type.matcher.v3.IPMatcher") {
      return refuse(path, `'${typeOfAny(any)}' is not supported`);
    }
    const of = input.address;
    if (of === undefined) return refuse(path, "needs an input that is an address");
    const { rangeMatchers } = IPMatcher.decode(any.value);
    const ranges = rangeMatchers.flatMap(({ ranges: list, onMatch, exclusive }, i) => {
      const place = `${path}.range_matchers[${i}]`;
      if (exclusive) refuse(`${place}.exclusive`, "is not supported");
      return list.map((one, j) => ({
        range: parseIpRange(one, `${place}.ranges[${j}]`),
        onMatch,
        place,
      }));
    });
    return ranges
      .toSorted((a, b) => b.range.prefixLength - a.range.prefixLength)
      .flatMap(({ range, onMatch, place }) => {
        const condition: Condition = { kind: "address", of, range };
        return this.#onMatch(onMatch, `${place}.on_match`, { condition, depth });
      });
  }

  #predicate(predicate: Predicate | undefined, path: string, depth: number): Condition {
    if (depth > depthMax) refuse(path, `more than ${depthMax} predicates stand in each other`);
    const list = predicate?.andMatcher ?? predicate?.orMatcher;
    if (list !== undefined) {
      const word = predicate?.andMatcher === undefined ? "or" : "and";
      const place = `${path}.${word}_matcher.predicate`;
      if (list.predicate.length < 2) refuse(place, "at least two are required");
      const of = list.predicate.map((one, i) => this.#predicate(one, `${place}[${i}]`, depth + 1));
      return word === "and" ? allOf(of) : anyOf(of);
    }
    if (predicate?.notMatcher !== undefined) {
      return not(this.#predicate(predicate.notMatcher, `${path}.not_matcher`, depth + 1));
    }
    const single = predicate?.singlePredicate;
    if (single === undefined) return refuse(path, "says nothing");
    const place = `${path}.single_predicate`;
    const input = this.#input(single.input?.typedConfig, `${place}.input`);
    if (single.valueMatch !== undefined) {
      const { source } = input;
      return textCondition(source, testOf(single.valueMatch, source, `${place}.value_match`));
    }
    return rangesOf(single.customMatch?.typedConfig, `${place}.custom_match`, input);
  }

  #input(any: Any | undefined, path: string): MatchInput {
    const make = this.#inputs.get(typeOfAny(any));
    if (any === undefined || make === undefined) {
      return refuse(path, `'${typeOfAny(any)}' is not supported here`);
    }
    return make(any.value, path);
  }
}

function rangesOf(any: Any | undefined, path: string, { address: of }: MatchInput): Condition {
  if (any === undefined || typeOfAny(any) !== "envoy.extensions.matching.input_matchers.ip.v3.Ip") {
    return refuse(path, any === undefined ? "is required" : `'${typeOfAny(any)}' is not supported`);
  }
  if (of === undefined) return refuse(path, "needs an input that is an address");
  const { cidrRanges } = Ip.decode(any.value);
  if (cidrRanges.length === 0) refuse(`${path}.cidr_ranges`, "at least one is required");
  return anyOf(
    cidrRanges.map((one, i) => ({
      kind: "address" as const,
      of,
      range: parseIpRange(one, `${path}.cidr_ranges[${i}]`),
    })),
  );
}

/** What is missing matches nothing. Headers are compared byte for byte. */
function textCondition(source: TextSource, test: TextTest): Condition {
  const inBytes = source.kind === "header" && "text" in test;
  return {
    kind: "text",
    source,
    test: inBytes ? { ...test, text: bytesOf(test.text) } : test,
    isInverted: false,
    whenMissing: false,
  };
}

/** The same message under another name, but for its extension. */
function testOf(matcher: StringMatcher, { kind }: TextSource, path: string): TextTest {
  if (matcher.custom !== undefined) refuse(`${path}.custom`, "is not supported");
  const compile = kind === "header" ? compileBytesRegex : compileRegex;
  return textTestOf({ ...matcher, custom: undefined }, path, compile);
}
