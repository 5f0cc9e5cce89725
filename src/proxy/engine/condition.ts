/**
 * What routes and policies ask of a request, as a tree. It is made once, while a resource is
 * checked; `condition-closure.ts` and `condition-code.ts` make functions of it that agree.
 */
import type { RequestRecord } from "../../telemetry/request-record.ts";
import type { IpRange } from "./ip.ts";
import type { MetadataPredicate } from "./metadata-matcher.ts";
import type { RequestView } from "./request.ts";
import type { TextTest } from "./text-test.ts";

export type Condition =
  | { readonly kind: "always" | "never" }
  | { readonly kind: "all" | "any"; readonly of: readonly Condition[] }
  | { readonly kind: "not"; readonly of: Condition }
  | TextCondition
  | { readonly kind: "present"; readonly source: TextSource; readonly isPresent: boolean }
  /** The method is CONNECT: such a request has no path. */
  | { readonly kind: "connect" }
  /** Without a server name, the empty text is tested. */
  | { readonly kind: "server-name"; readonly test: TextTest }
  /** The destination's port is in [from, until). */
  | { readonly kind: "port"; readonly from: number; readonly until: number }
  | {
      readonly kind: "address";
      readonly of: "direct" | "source" | "destination" | "remote";
      readonly range: IpRange;
    }
  /** Some verified SPIFFE id of the peer passes; any at all without a test. */
  | { readonly kind: "peer"; readonly test: TextTest | undefined }
  /** Some name of the client passes (`principal.ts`); without a test: the connection is TLS. */
  | { readonly kind: "principal"; readonly test: TextTest | undefined }
  /** The peer has shown a certificate, and, where that is asked, one that was found valid. */
  | { readonly kind: "certificate"; readonly isValidated: boolean }
  | { readonly kind: "metadata"; readonly matches: MetadataPredicate }
  /** Of what is reported of a request; never where nothing is. */
  | { readonly kind: "expression"; readonly holds: (record: RequestRecord) => boolean }
  | { readonly kind: "fraction"; readonly share: number };

export interface TextCondition {
  readonly kind: "text";
  readonly source: TextSource;
  readonly test: TextTest;
  readonly isInverted: boolean;
  /** What holds where there is no such text; `isInverted` does not touch it. */
  readonly whenMissing: boolean;
  /** Of a header on several lines each value is looked at by itself, and one that passes is enough. */
  readonly isByLine?: boolean;
}

/**
 * `path`: without query and fragment. `route-path`: the same, but missing where it is empty or the
 * method is CONNECT. Names of headers are in lower case. `state`: what filters have set under a key.
 * `computed`: what else may be asked.
 */
export type TextSource =
  | { readonly kind: "path" | "route-path" }
  | { readonly kind: "header" | "query" | "cookie" | "state"; readonly name: string }
  | { readonly kind: "computed"; readonly textOf: (request: RequestView) => string | undefined };

export const always: Condition = { kind: "always" };
export const never: Condition = { kind: "never" };

export function allOf(conditions: readonly Condition[]): Condition {
  const needed = conditions.filter(({ kind }) => kind !== "always");
  const [only] = needed;
  if (only === undefined) return always;
  return needed.length === 1 ? only : { kind: "all", of: needed };
}

/** Many exact texts of one source become one look-up. */
export function anyOf(conditions: readonly Condition[]): Condition {
  if (conditions.some(({ kind }) => kind === "always")) return always;
  const kept: Condition[] = [];
  const groups = new Map<string, { texts: Set<string>; first: Condition; at: number }>();
  for (const condition of conditions) {
    const exact = exactTest(condition);
    if (exact === undefined) {
      if (condition.kind !== "never") kept.push(condition);
      continue;
    }
    const group = groups.get(exact.group);
    if (group !== undefined) {
      group.texts.add(exact.text);
      continue;
    }
    groups.set(exact.group, { texts: new Set([exact.text]), first: condition, at: kept.length });
    kept.push(condition);
  }
  for (const { texts, first, at } of groups.values()) {
    if (texts.size > 1) kept[at] = withTexts(first, texts);
  }
  const [only] = kept;
  if (only === undefined) return never;
  return kept.length === 1 ? only : { kind: "any", of: kept };
}

export function not(condition: Condition): Condition {
  return { kind: "not", of: condition };
}

/** A condition that one more text could join: equal groups differ in their text alone. */
function exactTest(
  condition: Condition,
): { readonly group: string; readonly text: string } | undefined {
  if (!isOfTexts(condition)) return undefined;
  const { test } = condition;
  if (test?.kind !== "exact") return undefined;
  if (condition.kind !== "text") {
    return { group: JSON.stringify([condition.kind, test.ignoresCase]), text: test.text };
  }
  if (condition.isInverted) return undefined;
  const { source, whenMissing, isByLine = false } = condition;
  if (source.kind === "computed") return undefined;
  const name = "name" in source ? source.name : "";
  return {
    group: JSON.stringify([source.kind, name, whenMissing, isByLine, test.ignoresCase]),
    text: test.text,
  };
}

function withTexts(condition: Condition, texts: ReadonlySet<string>): Condition {
  if (!isOfTexts(condition)) return condition;
  const { test } = condition;
  if (test?.kind !== "exact") return condition;
  return { ...condition, test: { kind: "one-of", texts, ignoresCase: test.ignoresCase } };
}

function isOfTexts(
  condition: Condition,
): condition is Extract<Condition, { readonly kind: "text" | "peer" | "principal" }> {
  const { kind } = condition;
  return kind === "text" || kind === "peer" || kind === "principal";
}
