/** Where the time of a run went: told at its end, so that everybody sees it. */
import { cpus } from "node:os";

import { placeOf } from "./test-failures.ts";

export interface SlowTest {
  /** FILE:LINE, below the folder of the project. */
  readonly place: string;
  readonly title: string;
  readonly ms: number;
}

/** What one process of node:test took, from its start to its end. */
export interface JobTime {
  readonly phase: string;
  readonly name: string;
  readonly ms: number;
}

interface TestEnded {
  readonly file?: string;
  readonly line?: number;
  readonly name?: string;
  readonly details?: { readonly duration_ms?: number; readonly type?: string };
}

const slowMs = 3000;
const shownMax = 12;

/** Undefined for what was fast, and for suites, whose tests are told themselves. */
export function slowTestOf({ file, line, name = "", details }: TestEnded): SlowTest | undefined {
  const ms = details?.duration_ms ?? 0;
  if (ms < slowMs || details?.type === "suite") return undefined;
  return { place: placeOf({ file, line }), title: name, ms };
}

/** `[mm:ss]`: of a run that began when this process did. */
export function clockOf(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const [minutes, rest] = [Math.floor(seconds / 60), seconds % 60].map((part) =>
    String(part).padStart(2, "0"),
  );
  return `[${minutes}:${rest}]`;
}

/** The files and the tests that took longest, and what each phase took in all. */
export function linesOfTimes(jobs: readonly JobTime[], slow: readonly SlowTest[]): string[] {
  const phases = new Map<string, number>();
  for (const { phase, ms } of jobs) phases.set(phase, (phases.get(phase) ?? 0) + ms);
  const sums = [...phases].map(([phase, ms]) => `${phase} ${secondsOf(ms)}`);
  return [
    `time of all files, side by side: ${sums.join(", ")}`,
    "files that took longest:",
    ...longest(jobs).map(({ name, ms }) => `  ${secondsOf(ms)}  ${name}`),
    ...(slow.length === 0 ? [] : ["tests that took longest:"]),
    ...longest(slow).map(({ place, title, ms }) => `  ${secondsOf(ms)}  ${place} ${title}`),
  ];
}

function longest<Timed extends { readonly ms: number }>(all: readonly Timed[]): readonly Timed[] {
  return all.toSorted((left, right) => right.ms - left.ms).slice(0, shownMax);
}

export function secondsOf(ms: number): string {
  return `${(ms / 1000).toFixed(ms < 10_000 ? 1 : 0)} s`;
}

/** Begins to watch the machine; the function says how busy its cores were since, with all that runs on it. */
export function watchProcessor(): () => string {
  const before = sumOf();
  return () => {
    const now = sumOf();
    const share = (now.busy - before.busy) / Math.max(1, now.all - before.all);
    return `processor: ${(share * 100).toFixed(0)} % of ${cpus().length} cores`;
  };
}

function sumOf(): { readonly busy: number; readonly all: number } {
  let [busy, all] = [0, 0];
  for (const { times } of cpus()) {
    const sum = times.user + times.nice + times.sys + times.irq + times.idle;
    all += sum;
    busy += sum - times.idle;
  }
  return { busy, all };
}
