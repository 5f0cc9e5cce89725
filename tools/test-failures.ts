/** What failed in a run, told once more at its end: a log that is read from its end shows it. */
import { resolve } from "node:path";
import { inspect } from "node:util";

/** What node:test tells of a test that has failed. */
export interface TestFailed {
  readonly file?: string;
  readonly line?: number;
  readonly name?: string;
  readonly details?: {
    readonly error?: {
      readonly failureType?: string;
      readonly message?: string;
      readonly cause?: unknown;
    };
  };
}

export interface Failure {
  /** FILE:LINE, below the folder of the project. */
  readonly place: string;
  readonly title: string;
  /** The beginning of what it says. */
  readonly why: string;
}

const failuresMax = 60;
const whyLinesMax = 12;
const whyCharactersMax = 800;

/** Undefined where only what stands below it has failed: that is told itself. */
export function failureOf({ file, line, name, details }: TestFailed): Failure | undefined {
  const error = details?.error;
  if (error?.failureType === "subtestsFailed") return undefined;
  const said = textOf(error?.cause) ?? error?.message ?? "";
  const lines = said.split("\n").filter((text) => text.trim() !== "");
  return {
    place: placeOf({ file, line }),
    title: name ?? "",
    why: lines.slice(0, whyLinesMax).join("\n").slice(0, whyCharactersMax),
  };
}

/**
 * A file that has ended well and told of no test: node:test counts the file itself, as one that has passed.
 * It has none, or its process ended with 0 before they did.
 */
export function failureOfNoTests({
  file = "",
  name = "",
}: Pick<TestFailed, "file" | "name">): Failure | undefined {
  if (file === "" || resolve(name) !== file) return undefined;
  const why = "it has none, or its process ended before they did";
  return { place: placeOf({ file, line: 1 }), title: "no test of this file has ended", why };
}

/** Lines to print; none where nothing failed. */
export function linesOfFailures(failures: readonly Failure[]): readonly string[] {
  if (failures.length === 0) return [];
  const shown = failures
    .slice(0, failuresMax)
    .flatMap(({ place, title, why }) => [
      `✖ ${title} (${place})`,
      ...why.split("\n").map((line) => `    ${line}`),
    ]);
  const left = failures.length - failuresMax;
  return ["what failed:", ...shown, ...(left > 0 ? [`… and ${left} more`] : [])];
}

/** A test may throw anything. */
function textOf(cause: unknown): string | undefined {
  return cause instanceof Error ? cause.message : cause === undefined ? undefined : inspect(cause);
}

/** FILE:LINE, below the folder of the project. */
export function placeOf({
  file = "",
  line = 0,
}: {
  readonly file?: string | undefined;
  readonly line?: number | undefined;
}): string {
  const root = `${process.cwd()}/`;
  return `${file.startsWith(root) ? file.slice(root.length) : file}:${line}`;
}
