/**
 * Labels of one series inside the store: a map sorted by name, so that equal sets iterate alike and
 * no label name (`__proto__`) can mean anything to the language.
 */
export type LabelSet = ReadonlyMap<string, string>;

export const metricName = "__name__";
export const nameLabel: ReadonlySet<string> = new Set([metricName]);

/** Sorted by name; a later pair wins over an earlier one. Empty values mean no label. */
export function labelSetOf(pairs: Iterable<readonly [string, string]>): LabelSet {
  const labels = new Map<string, string>();
  for (const [name, value] of pairs) {
    if (value === "") labels.delete(name);
    else labels.set(name, value);
  }
  return new Map([...labels].toSorted(byName));
}

/** Text that is equal exactly for equal sets. */
export function labelSetKey(labels: LabelSet): string {
  let key = "";
  for (const [name, value] of labels) key += `${name}=${value.length}:${value},`;
  return key;
}

export function withoutLabels(labels: LabelSet, names: ReadonlySet<string>): LabelSet {
  const kept = new Map<string, string>();
  for (const [name, value] of labels) if (!names.has(name)) kept.set(name, value);
  return kept;
}

export function onlyLabels(labels: LabelSet, names: ReadonlySet<string>): LabelSet {
  const kept = new Map<string, string>();
  for (const [name, value] of labels) if (names.has(name)) kept.set(name, value);
  return kept;
}

/** `fromEntries` defines own properties whatever the name. */
export function labelRecord(labels: LabelSet): Readonly<Record<string, string>> {
  return Object.fromEntries(labels);
}

function byName(a: readonly [string, string], b: readonly [string, string]): number {
  return a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : 0;
}
