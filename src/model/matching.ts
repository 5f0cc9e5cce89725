/** Shapes that several kinds share: text matches, selectors, percentages, durations with defaults. */
import type { Type } from "./schema.ts";
import { object, record, refine } from "./schema.ts";
import { percent, regex, text } from "./scalar-types.ts";

/** Istio's StringMatch; a regular expression must match the whole text. */
export type StringMatch =
  | { readonly kind: "exact"; readonly value: string }
  | { readonly kind: "prefix"; readonly value: string }
  | { readonly kind: "regex"; readonly value: string };

interface RawStringMatch {
  readonly exact?: string;
  readonly prefix?: string;
  readonly regex?: string;
}

export const stringMatch: Type<StringMatch> = refine(
  object<RawStringMatch>(
    { exact: text, prefix: text, regex },
    { exactlyOneOf: [["exact", "prefix", "regex"]] },
  ),
  toStringMatch,
);

/** A match of a header or query parameter, where `{}` asks only for presence. */
export type PresenceMatch = StringMatch | { readonly kind: "present" };

export const presenceMatch: Type<PresenceMatch> = refine(
  object<RawStringMatch>(
    { exact: text, prefix: text, regex },
    { oneOf: [["exact", "prefix", "regex"]] },
  ),
  (raw): PresenceMatch => toStringMatch(raw) ?? { kind: "present" },
);

function toStringMatch(raw: RawStringMatch): StringMatch | undefined {
  if (raw.exact !== undefined) return { kind: "exact", value: raw.exact };
  if (raw.prefix !== undefined) return { kind: "prefix", value: raw.prefix };
  if (raw.regex !== undefined) return { kind: "regex", value: raw.regex };
  return undefined;
}

/** Labels that must all be there; an empty record selects everything in reach. */
export type LabelSelector = Readonly<Record<string, string>>;

const labelValue: Type<string> = refine(text, (value, node, place) =>
  /^(?:[A-Za-z0-9](?:[A-Za-z0-9_.-]{0,61}[A-Za-z0-9])?)?$/.test(value)
    ? value
    : place.complain(node.position, {
        code: "config.bad-label",
        message: `${JSON.stringify(value)} is not a label value`,
      }),
);

export const labels: Type<LabelSelector> = record(labelValue);

interface WorkloadSelector {
  readonly matchLabels?: LabelSelector;
}

/** `selector: {matchLabels: …}`, as its labels. */
export const workloadSelector: Type<LabelSelector> = refine(
  object<WorkloadSelector>({ matchLabels: labels }),
  (raw) => raw.matchLabels ?? {},
);

interface PercentBox {
  readonly value?: number;
}

/** `percentage: {value: 12.5}`, as its number. */
export const percentage: Type<number> = refine(
  object<PercentBox>({ value: percent }),
  (raw) => raw.value ?? 0,
);

export function selects(
  selector: LabelSelector | undefined,
  subject: Readonly<Record<string, string>>,
): boolean {
  return Object.entries(selector ?? {}).every(([name, value]) => subject[name] === value);
}

/** Whether `pattern` (a name, `*`, `*.name`) covers `hostname`, or every name that a pattern covers. */
export function hostMatches(pattern: string, hostname: string): boolean {
  if (pattern === "*" || pattern === hostname) return true;
  return pattern.startsWith("*.") && hostname.endsWith(pattern.slice(1));
}
