/** How fast something grows, from what was measured of it at even times. */

/** In units of what was measured for each step; the error is the standard one, of a straight line by least squares. */
export interface Slope {
  readonly slope: number;
  readonly error: number;
}

/**
 * The line through all that was measured. Garbage makes waves that are short beside an hour: they widen the error and
 * do not tilt the line. The lowest of each few would: where a wave is about as long, chance decides how much of it
 * each has seen.
 */
export function slopeOf(values: readonly number[]): Slope {
  const count = values.length;
  if (count < 3) return { slope: 0, error: Infinity };
  const meanX = (count - 1) / 2;
  const meanY = values.reduce((sum, value) => sum + value, 0) / count;
  const varianceX = values.reduce((sum, _value, x) => sum + (x - meanX) ** 2, 0);
  const slope =
    values.reduce((sum, value, x) => sum + (x - meanX) * (value - meanY), 0) / varianceX;
  const rest = values.reduce(
    (sum, value, x) => sum + (value - meanY - slope * (x - meanX)) ** 2,
    0,
  );
  return { slope, error: Math.sqrt(rest / (count - 2) / varianceX) };
}
