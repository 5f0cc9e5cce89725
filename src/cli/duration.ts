import { CommandFailure, exitCodes } from "./exit.ts";

const unitsMs: Readonly<Record<string, number>> = { ms: 1, s: 1000, m: 60_000, h: 3_600_000 };

/** `500ms`, `30s`, `1.5m`, `1h` in milliseconds; `option` is named when it is none of them. */
export function parseDurationMs(text: string, option: string): number {
  const match = /^(\d+(?:\.\d+)?)(ms|s|m|h)$/.exec(text);
  const unitMs = unitsMs[match?.[2] ?? ""];
  if (match === null || unitMs === undefined) {
    throw new CommandFailure(
      exitCodes.usage,
      `${option} ${text} is not a duration; write it as 500ms, 30s, 5m or 1h`,
    );
  }
  return Number(match[1]) * unitMs;
}
