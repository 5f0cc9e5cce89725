import type { Duration } from "../../wire/gen/ts/google/protobuf/duration.ts";

/** Milliseconds, with fractions; undefined when the field is absent. */
export function durationMs(duration: Duration | undefined): number | undefined {
  if (duration === undefined) return undefined;
  return Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}
