/** What a run says at its end, in node:test's form where it has one. */
import { planeCountsOf, type SuiteCounts } from "./plane-counts.ts";
import { linesOfFailures } from "./test-failures.ts";
import type { TestJob } from "./test-phases.ts";
import type { Outcome } from "./test-process.ts";
import { linesOfTimes } from "./test-times.ts";
import { type Counts, noCounts, planesOf, summaryOf } from "./test-totals.ts";

export interface Ended extends Outcome {
  readonly job: TestJob;
}

export interface TestRun {
  readonly ended: readonly Ended[];
  /** Why it fails although no test has failed. */
  readonly complaints: readonly string[];
  /** How busy the machine was. */
  readonly processor: string;
}

export function totalOf(ended: readonly Ended[]): Counts {
  const total = noCounts();
  for (const { record } of ended) {
    const counts = record.end?.counts ?? countsOfCut(record.failures.length);
    for (const key of Object.keys(total) as (keyof Counts)[]) total[key] += counts[key] ?? 0;
  }
  return total;
}

/** Of a file that has told no end: what had failed, and the test that it was cut off in. */
function countsOfCut(failed: number): Partial<Counts> {
  return { tests: failed + 1, failed, cancelled: 1 };
}

/** Where the time went, what failed, and how many tests ran: the last lines are node:test's summary of all. */
export function linesOfSummary({ ended, complaints, processor }: TestRun): readonly string[] {
  const records = ended.map(({ record }) => record);
  const times = ended.map(({ job, ms }) => ({ phase: job.phase.name, name: job.name, ms }));
  const slow = records.flatMap((record) => record.slow);
  const parts = [
    [...linesOfTimes(times, slow), processor],
    linesOfFailures(records.flatMap(({ failures }) => failures)),
    planesOf(suitesByPhase(ended).map(planeCountsOf)),
    complaints.map((complaint) => `heddle: ${complaint}`),
    summaryOf(totalOf(ended), performance.now()),
  ];
  return parts.filter((lines) => lines.length > 0).flatMap((lines) => ["", ...lines]);
}

/** A suite may have a file for each data plane, of one phase. */
function suitesByPhase(ended: readonly Ended[]): readonly (readonly SuiteCounts[])[] {
  const suites = new Map<string, SuiteCounts[]>();
  for (const { job, record } of ended) {
    const of = suites.get(job.phase.name) ?? [];
    suites.set(job.phase.name, of);
    if (record.end !== undefined) of.push(record.end.suites);
  }
  return [...suites.values()];
}
