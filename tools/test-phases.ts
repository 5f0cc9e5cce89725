/**
 * The phases of the tests, and in which order their files begin: those that take longest first, so that
 * at the end of a run no core waits for one of them.
 */
import { globSync } from "node:fs";
import { availableParallelism } from "node:os";

/** Programs that are built while files that do not need them run already. */
export type Programs = "conformance" | "collector";

export interface Phase {
  readonly name: string;
  readonly files: string;
  /** `none` runs all files in one process (fast), `process` gives each its own. */
  readonly isolation: "none" | "process";
  /** Files of it that run at once, at most. */
  readonly concurrency: number;
  /** For one test. */
  readonly timeoutMs: number;
  /** For a file, or for all of one process: a handle left open must not hang the run. */
  readonly totalMs: number;
  readonly needs?: Programs;
  /** Takes too long for every run: only where its name is given. */
  readonly isRare?: boolean;
}

/** Files, or parts of files' names, that one process of node:test runs. */
export interface TestJob {
  readonly phase: Phase;
  readonly name: string;
  readonly files: readonly string[];
  /** It waits and hardly works, or works only where nobody else does: it takes no place of another. */
  readonly isBeside: boolean;
  /** Everything else on the machine goes first. */
  readonly givesWay: boolean;
  /** Has a load of its own that must be served in time: one such file at a time. */
  readonly isDemanding: boolean;
}

const cores = availableParallelism();

/** Half of what the files do is waiting, so one more than there are cores keeps these at work. */
export const placesOfMachine: number = Math.max(2, cores) + 1;

const perCore = Math.max(2, cores);

/** In the order in which their files begin. */
export const phases: readonly Phase[] = [
  {
    name: "unit",
    files: "{src,tools,bench,ui/src}/**/*.test.ts",
    isolation: "none",
    concurrency: 1,
    timeoutMs: 60_000,
    totalMs: 900_000,
  },
  {
    name: "long",
    files: "test/long/**/*.test.ts",
    isolation: "process",
    concurrency: perCore,
    timeoutMs: 3_600_000,
    totalMs: 4_500_000,
  },
  {
    name: "e2e",
    files: "test/e2e/**/*.test.ts",
    isolation: "process",
    concurrency: perCore,
    timeoutMs: 900_000,
    totalMs: 1_200_000,
  },
  {
    name: "browser",
    files: "test/browser/**/*.test.ts",
    isolation: "process",
    concurrency: 1,
    timeoutMs: 300_000,
    totalMs: 600_000,
  },
  {
    name: "conformance",
    files: "test/conformance/**/*.test.ts",
    isolation: "process",
    concurrency: perCore,
    timeoutMs: 600_000,
    totalMs: 900_000,
    needs: "conformance",
  },
  {
    name: "collector",
    files: "test/collector/**/*.test.ts",
    isolation: "process",
    concurrency: 1,
    timeoutMs: 300_000,
    totalMs: 600_000,
    needs: "collector",
  },
  {
    name: "full",
    files: "test/full/**/*.test.ts",
    isolation: "process",
    concurrency: 1,
    timeoutMs: 2_400_000,
    totalMs: 7_200_000,
    isRare: true,
  },
];

/** They wait for minutes, or run at the lowest priority (docs/decisions/0015, 0061). */
const besides: readonly string[] = ["test/long/certificates.test.ts", "test/long/fuzz"];
const givingWay = "test/long/fuzz";

/** They ask hundreds of times a second, and what takes ten seconds has failed. */
const demanding: readonly string[] = [
  "test/e2e/faults-",
  "test/e2e/live-change",
  "test/e2e/supervision",
  "test/long/keep-alive-race",
  "test/long/limits",
];

/** Begin before the others of their phase; a run says at its end where its time went. */
const longest: readonly string[] = [
  "test/e2e/faults-proxy.test.ts",
  "test/e2e/cli.test.ts",
  "test/e2e/security-policies.test.ts",
  "test/e2e/leftovers.test.ts",
  "test/e2e/cli-proxy-config.test.ts",
];

/** The jobs of some phases, in the order in which they begin; those of files whose names contain one of `words`. */
export function jobsOf(wanted: readonly Phase[], words: readonly string[]): readonly TestJob[] {
  return wanted.flatMap((phase) => {
    const files = globSync(phase.files)
      .filter((file) => !file.includes("node_modules"))
      .filter((file) => words.length === 0 || words.some((word) => file.includes(word)))
      .toSorted((left, right) => rankOf(left) - rankOf(right) || (left < right ? -1 : 1));
    if (files.length === 0) return [];
    if (phase.isolation === "none") {
      const name = `${phase.name}, ${files.length} files`;
      return [{ phase, name, files, isBeside: false, givesWay: false, isDemanding: false }];
    }
    return files.map((file): TestJob => {
      const isDemanding = demanding.some((start) => file.startsWith(start));
      const givesWay = file.startsWith(givingWay);
      return { phase, name: file, files: [file], isBeside: isBeside(file), givesWay, isDemanding };
    });
  });
}

function isBeside(file: string): boolean {
  return besides.some((start) => file.startsWith(start));
}

function rankOf(file: string): number {
  const at = longest.indexOf(file);
  return isBeside(file) ? -1 : at < 0 ? longest.length : at;
}
