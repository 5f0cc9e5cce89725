/**
 * Durations as Prometheus writes them: `5m`, `1h30m`, `250ms`. Years and weeks are 365 and 7 days.
 */
const unitsMs: readonly (readonly [string, number])[] = [
  ["y", 31_536_000_000],
  ["w", 604_800_000],
  ["d", 86_400_000],
  ["h", 3_600_000],
  ["m", 60_000],
  ["s", 1000],
  ["ms", 1],
];

const pattern =
  /^(?:(\d{1,9})y)?(?:(\d{1,9})w)?(?:(\d{1,9})d)?(?:(\d{1,9})h)?(?:(\d{1,9})m(?!s))?(?:(\d{1,9})s)?(?:(\d{1,9})ms)?$/;

/** Milliseconds, or undefined when the text is not a duration. */
export function parseDuration(text: string): number | undefined {
  const match = text === "" ? null : pattern.exec(text);
  if (match === null) return undefined;
  let totalMs = 0;
  for (const [index, [, unitMs]] of unitsMs.entries()) {
    totalMs += Number(match[index + 1] ?? 0) * unitMs;
  }
  return totalMs;
}
