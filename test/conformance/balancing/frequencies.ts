/** Whether two data planes choose alike where chance decides. */
import assert from "node:assert/strict";

/** Chi-square that one of a million pairs of samples exceeds, by degrees of freedom from 1. */
const limits = [24, 27.7, 30.7, 33.4, 35.9, 38.3, 40.6, 42.8] as const;

/** How often each answer came. */
export function frequencies(answers: readonly string[]): ReadonlyMap<string, number> {
  const found = new Map<string, number>();
  for (const each of answers) found.set(each, (found.get(each) ?? 0) + 1);
  return found;
}

/** Whether two samples of one size may be of the same distribution. */
export function assertAlike(
  ours: ReadonlyMap<string, number>,
  theirs: ReadonlyMap<string, number>,
  name: string,
): void {
  let chi = 0;
  const kinds = new Set([...ours.keys(), ...theirs.keys()]);
  for (const key of kinds) {
    const a = ours.get(key) ?? 0;
    const b = theirs.get(key) ?? 0;
    chi += (a - b) ** 2 / (a + b);
  }
  const shown = JSON.stringify([...ours, "Envoy:", ...theirs]);
  assert.ok(
    chi < (limits[kinds.size - 2] ?? 24),
    `${name}: chi-square ${chi.toFixed(1)}: ${shown}`,
  );
}
