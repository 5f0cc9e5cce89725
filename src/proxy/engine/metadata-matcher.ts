/**
 * Matches dynamic metadata: what filters have found out about a request (the payload of its token, an
 * authorization service's answer). Envoy's MetadataMatcher and ValueMatcher.
 */
import type { DynamicMetadata } from "../../telemetry/request-record.ts";
import type { DoubleMatcher } from "../../wire/gen/ts/envoy/type/matcher/v3/number.ts";
import type { MetadataMatcher } from "../../wire/gen/ts/envoy/type/matcher/v3/metadata.ts";
import type { ValueMatcher } from "../../wire/gen/ts/envoy/type/matcher/v3/value.ts";
import { refuse } from "./refusal.ts";
import { compileStringMatcher } from "./string-matcher.ts";

export type MetadataPredicate = (metadata: DynamicMetadata | undefined) => boolean;

/** `undefined` is a value that is not there; JSON otherwise. */
type ValuePredicate = (value: unknown) => boolean;

/** Or-matchers and lists in each other; nobody writes more. */
const depthMax = 16;

export function compileMetadataMatcher(
  matcher: MetadataMatcher | undefined,
  path: string,
): MetadataPredicate {
  if (matcher === undefined) return refuse(path, "a metadata matcher is required");
  if (matcher.filter === "") refuse(`${path}.filter`, "is required");
  if (matcher.path.length === 0) refuse(`${path}.path`, "at least one key is required");
  const keys = matcher.path.map(({ key = "" }, i) =>
    key === "" ? refuse(`${path}.path[${i}].key`, "is required") : key,
  );
  const matches = compileValueMatcher(matcher.value, `${path}.value`);
  const { filter, invert } = matcher;
  return (metadata) => matches(metadataAt(metadata, filter, keys)) !== invert;
}

/** Undefined where there is nothing at that place. */
export function metadataAt(
  metadata: DynamicMetadata | undefined,
  filter: string,
  keys: readonly string[],
): unknown {
  return valueAt(metadata?.get(filter), keys);
}

/** The same of one structure. */
export function valueAt(structure: unknown, keys: readonly string[]): unknown {
  let at = structure;
  for (const key of keys) {
    if (typeof at !== "object" || at === null || Array.isArray(at)) return undefined;
    // A token's claims may have any name, also one that objects inherit.
    at = Object.getOwnPropertyDescriptor(at, key)?.value;
  }
  return at;
}

export function compileValueMatcher(
  matcher: ValueMatcher | undefined,
  path: string,
  depth = 0,
): ValuePredicate {
  if (matcher === undefined) return refuse(path, "a value matcher is required");
  if (depth > depthMax) refuse(path, `more than ${depthMax} matchers stand in each other`);
  const { boolMatch, presentMatch } = matcher;
  if (matcher.nullMatch !== undefined) return (value) => value === null;
  if (matcher.doubleMatch !== undefined) return compileDouble(matcher.doubleMatch, path);
  if (matcher.stringMatch !== undefined) {
    const matches = compileStringMatcher(matcher.stringMatch, `${path}.string_match`);
    return (value) => typeof value === "string" && matches(value);
  }
  if (boolMatch !== undefined) return (value) => value === boolMatch;
  if (presentMatch !== undefined) return (value) => (value !== undefined) === presentMatch;
  if (matcher.listMatch !== undefined) {
    const { oneOf } = matcher.listMatch;
    const matches = compileValueMatcher(oneOf, `${path}.list_match.one_of`, depth + 1);
    return (value) => Array.isArray(value) && value.some(matches);
  }
  if (matcher.orMatch !== undefined) {
    const parts = matcher.orMatch.valueMatchers.map((part, i) =>
      compileValueMatcher(part, `${path}.or_match.value_matchers[${i}]`, depth + 1),
    );
    if (parts.length < 2) refuse(`${path}.or_match.value_matchers`, "at least two are required");
    return (value) => parts.some((part) => part(value));
  }
  return refuse(path, "names no match");
}

function compileDouble({ range, exact }: DoubleMatcher, path: string): ValuePredicate {
  if (exact !== undefined) return (value) => value === exact;
  if (range === undefined) return refuse(`${path}.double_match`, "names no number");
  const { start, end } = range;
  return (value) => typeof value === "number" && value >= start && value < end;
}
