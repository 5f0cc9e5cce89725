/** What the reporter writes of a run of node:test, a line at a time, and what reads it. */
import { readFileSync } from "node:fs";

import type { SuiteCounts } from "./plane-counts.ts";
import type { Failure } from "./test-failures.ts";
import type { SlowTest } from "./test-times.ts";
import type { Counts } from "./test-totals.ts";

export interface RunRecord {
  readonly failures: readonly Failure[];
  readonly slow: readonly SlowTest[];
  /** Undefined where the run ended before its time. */
  readonly end: RunEnd | undefined;
}

interface RunEnd {
  readonly counts: Readonly<Partial<Counts>>;
  readonly suites: SuiteCounts;
}

type Line = { readonly failure: Failure } | { readonly slow: SlowTest } | RunEnd;

export function lineOf(line: Line): string {
  return `${JSON.stringify(line)}\n`;
}

/** `file` as the reporter has written it; nothing where it began no line, and no more than its whole lines. */
export function readRecord(file: string): RunRecord {
  let text = "";
  try {
    text = readFileSync(file, "utf8");
  } catch {
    // Nothing was reported.
  }
  const [failures, slow]: [Failure[], SlowTest[]] = [[], []];
  let end: RunEnd | undefined;
  for (const one of text.split("\n").slice(0, -1)) {
    const line: Line = JSON.parse(one);
    if ("failure" in line) failures.push(line.failure);
    else if ("slow" in line) slow.push(line.slow);
    else end = line;
  }
  return { failures, slow, end };
}
