const firstMs = 500;
const longestMs = 30_000;

/**
 * How long to wait before the attempt after `attempts` failed ones: doubling from half a second up to
 * half a minute, the lower half of it fixed so that nobody hammers, the upper half random so that
 * a thousand proxies do not come back at once. `random` is between 0 and 1.
 */
export function backOffMs(attempts: number, random: number): number {
  const ceilingMs = Math.min(firstMs * 2 ** Math.min(attempts, 16), longestMs);
  return ceilingMs / 2 + (random * ceilingMs) / 2;
}
