import type { Duration } from "../../wire/gen/ts/google/protobuf/duration.ts";
import { refuse } from "./refusal.ts";

/** Milliseconds, with fractions; undefined when the field is absent. */
export function durationMs(duration: Duration | undefined): number | undefined {
  if (duration === undefined) return undefined;
  return Number(duration.seconds) * 1000 + duration.nanos / 1e6;
}

/** The same where no time at all makes no sense: Envoy refuses that, too. Throws a refusal. */
export function positiveMs(duration: Duration | undefined, path: string): number | undefined {
  const ms = durationMs(duration);
  return ms === undefined || ms > 0 ? ms : refuse(path, "must be greater than 0");
}
