/** When an endpoint that limits rates wants to be asked again, as its answer says. */
import {
  RetryPolicy_ResetHeaderFormat as ResetHeaderFormat,
  type RetryPolicy_RateLimitedRetryBackOff as Config,
} from "../../wire/gen/ts/envoy/config/route/v3/route_components.ts";
import { durationMs } from "./duration.ts";
import { refuse } from "./refusal.ts";
import type { AnsweredAttempt } from "./route-table.ts";
import { lowerAscii } from "./text-test.ts";

export interface RateLimitResets {
  readonly headers: readonly { readonly name: string; readonly isTimestamp: boolean }[];
  /** What asks for more is not believed. */
  readonly maxMs: number;
}

const maxMsDefault = 300_000;

export function compileResets(config: Config, path: string): RateLimitResets {
  if (config.resetHeaders.length === 0) refuse(`${path}.reset_headers`, "is required");
  const maxMs = durationMs(config.maxInterval) ?? maxMsDefault;
  if (maxMs <= 0) refuse(`${path}.max_interval`, "must be positive");
  const headers = config.resetHeaders.map(({ name, format }, i) => {
    if (name === "") refuse(`${path}.reset_headers[${i}].name`, "is required");
    return { name: lowerAscii(name), isTimestamp: format === ResetHeaderFormat.UNIX_TIMESTAMP };
  });
  return { headers, maxMs };
}

/** Milliseconds from now; undefined when the answer says nothing that can be believed. */
export function resetAfterMs(
  { headers, maxMs }: RateLimitResets,
  { outcome, nowMs }: AnsweredAttempt,
): number | undefined {
  if (outcome.kind !== "response") return undefined;
  for (const { name, isTimestamp } of headers) {
    const value = outcome.header(name);
    if (value === undefined || !/^[0-9]{1,12}$/.test(value)) continue;
    const seconds = Number(value) - (isTimestamp ? Math.floor(nowMs / 1000) : 0);
    if (seconds < 0 || seconds * 1000 > maxMs) continue;
    return seconds * 1000;
  }
  return undefined;
}
