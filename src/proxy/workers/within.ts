import type { Clock } from "../../base/clock.ts";

/** Of several answers those that have come within a moment. */
export async function answersWithin<T>(
  clock: Clock,
  ms: number,
  promises: readonly Promise<T>[],
): Promise<readonly T[]> {
  const answers: T[] = [];
  const all = Promise.all(promises.map(async (promise) => void answers.push(await promise)));
  const { promise: late, resolve } = Promise.withResolvers<void>();
  const timer = clock.schedule(ms, resolve);
  await Promise.race([all, late]);
  timer.cancel();
  return answers;
}
