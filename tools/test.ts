/**
 * Runs the project's tests and fails when fewer ran than test/count.json says.
 *
 *   npm test                      check, then every phase below; `long` runs beside `e2e`
 *   npm test -- e2e browser       only these phases
 *   npm run test:full             the phase `full`, which takes an hour and is in no other run
 *   npm test -- e2e -- capture    only the files of a phase whose name contains a word
 */
import { spawn, spawnSync } from "node:child_process";
import { closeSync, globSync, mkdtempSync, openSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";

import { assertProjectNode } from "./project-node.ts";
import { prepare } from "./test-machine.ts";
import type { PlaneCounts } from "./plane-counts.ts";
import { type Failure, linesOfFailures } from "./test-failures.ts";
import {
  complaintsOf,
  type Counts,
  noCounts,
  planesOf,
  type RunCounts,
  summaryOf,
} from "./test-totals.ts";

interface Phase {
  readonly name: string;
  readonly files: string;
  /** `none` runs all files in one process (fast), `process` gives each its own. */
  readonly isolation: "none" | "process";
  readonly concurrency: number;
  /** For one test. */
  readonly timeoutMs: number;
  /** For the whole phase: a handle left open must not hang the run. */
  readonly totalMs: number;
  /** Starts with this phase, out of sight, and is collected in its own place: it waits, and hardly works. */
  readonly beside?: string;
  /** Takes too long for every run: only where its name is given. */
  readonly isRare?: boolean;
}

const phases: readonly Phase[] = [
  {
    name: "unit",
    files: "{src,tools,ui/src}/**/*.test.ts",
    isolation: "none",
    concurrency: 1,
    timeoutMs: 60_000,
    totalMs: 180_000,
  },
  {
    name: "conformance",
    files: "test/conformance/**/*.test.ts",
    isolation: "process",
    concurrency: 2,
    timeoutMs: 300_000,
    totalMs: 1_800_000,
  },
  {
    name: "e2e",
    files: "test/e2e/**/*.test.ts",
    isolation: "process",
    concurrency: 1,
    timeoutMs: 900_000,
    totalMs: 4_200_000,
  },
  {
    name: "long",
    files: "test/long/**/*.test.ts",
    isolation: "process",
    concurrency: 2,
    timeoutMs: 1_800_000,
    totalMs: 3_600_000,
    beside: "e2e",
  },
  {
    name: "browser",
    files: "test/browser/**/*.test.ts",
    isolation: "process",
    concurrency: 1,
    timeoutMs: 300_000,
    totalMs: 900_000,
  },
  {
    name: "collector",
    files: "test/collector/**/*.test.ts",
    isolation: "process",
    concurrency: 1,
    timeoutMs: 300_000,
    totalMs: 600_000,
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

assertProjectNode();
const [asked, words] = split(process.argv.slice(2));
const wanted =
  asked.length === 0
    ? phases.filter(({ isRare }) => isRare !== true)
    : phases.filter((phase) => asked.includes(phase.name));
const isWhole = asked.length === 0 && words.length === 0;
if (wanted.length < asked.length) {
  console.error(`heddle: phases are ${phases.map((phase) => phase.name).join(", ")}`);
  process.exit(2);
}
if (isWhole) runCheck();
if (wanted.some((phase) => phase.name !== "unit")) await prepare(wanted.map(({ name }) => name));

const total = noCounts();
const planes: PlaneCounts[] = [];
const failures: Failure[] = [];
let failed = false;
const startMs = performance.now();
const besides = new Map<string, { readonly ended: Promise<boolean>; readonly show: () => void }>();
for (const phase of wanted) {
  for (const one of wanted.filter(({ beside }) => beside === phase.name)) {
    const { promise, resolve } = Promise.withResolvers<void>();
    besides.set(one.name, { ended: runPhase(one, promise), show: resolve });
  }
  const beside = besides.get(phase.name);
  beside?.show();
  failed = (await (beside?.ended ?? runPhase(phase))) || failed;
}
summarise();

function split(args: readonly string[]): readonly [readonly string[], readonly string[]] {
  const at = args.indexOf("--");
  return at < 0 ? [args, []] : [args.slice(0, at), args.slice(at + 1)];
}

function runCheck(): void {
  const { status } = spawnSync(process.execPath, ["tools/check.ts", "--without-tests"], {
    stdio: "inherit",
  });
  if (status !== 0) process.exit(1);
}

/** True when the phase failed. Its output appears at once, or when `turn` has come. */
async function runPhase(phase: Phase, turn?: Promise<void>): Promise<boolean> {
  const files = globSync(phase.files).filter(
    (file) =>
      !file.includes("node_modules") &&
      (words.length === 0 || words.some((word) => file.includes(word))),
  );
  if (files.length === 0) {
    if (words.length > 0) return false;
    console.error(`heddle: phase ${phase.name} has no test file (${phase.files})`);
    return true;
  }
  const head = `\n# ${phase.name}: ${files.length} files`;
  console.log(turn === undefined ? head : `${head}, beside ${phase.beside}`);
  const folder = mkdtempSync(join(tmpdir(), "heddle-test-"));
  const [countFile, outputFile] = [join(folder, "counts.json"), join(folder, "output.txt")];
  const output = turn === undefined ? undefined : openSync(outputFile, "w");
  const isSound = await runTests(phase, files, { countFile, output });
  if (output !== undefined) {
    closeSync(output);
    await turn;
    console.log(`${head}, ran beside ${phase.beside}\n${readFileSync(outputFile, "utf8")}`);
  }
  const counts = readCounts(countFile);
  rmSync(folder, { recursive: true });
  for (const key of Object.keys(total) as (keyof Counts)[]) total[key] += counts?.[key] ?? 0;
  if (counts !== undefined) {
    planes.push(counts.planes);
    failures.push(...counts.failures);
  }
  return !isSound || counts === undefined;
}

async function runTests(
  phase: Phase,
  files: readonly string[],
  to: { readonly countFile: string; readonly output: number | undefined },
): Promise<boolean> {
  const child = spawn(
    process.execPath,
    [
      "--disable-warning=ExperimentalWarning",
      "--test",
      `--test-isolation=${phase.isolation}`,
      ...(phase.isolation === "process" ? [`--test-concurrency=${phase.concurrency}`] : []),
      `--test-timeout=${phase.timeoutMs}`,
      `--test-reporter=${phase.name === "unit" ? "dot" : "spec"}`,
      "--test-reporter-destination=stdout",
      "--test-reporter=./tools/count-reporter.ts",
      `--test-reporter-destination=${to.countFile}`,
      ...files.toSorted(),
    ],
    {
      stdio: ["inherit", to.output ?? "inherit", to.output ?? "inherit"],
      timeout: phase.totalMs,
      killSignal: "SIGKILL",
    },
  );
  return await new Promise((resolve, reject) => {
    child.once("error", reject);
    child.once("exit", (code) => resolve(code === 0));
  });
}

function readCounts(file: string): RunCounts | undefined {
  try {
    return JSON.parse(readFileSync(file, "utf8"));
  } catch {
    console.error("heddle: the test run ended without a summary");
    return undefined;
  }
}

function summarise(): void {
  // Some tests run once more as root, with the rights that only root has.
  const who = process.getuid?.() === 0 ? "root" : "others";
  const minimum: number = JSON.parse(readFileSync("test/count.json", "utf8"))[who];
  for (const complaint of isWhole ? complaintsOf(total, minimum) : []) {
    console.error(`heddle: ${complaint}`);
    failed = true;
  }
  const lost = linesOfFailures(failures);
  if (lost.length > 0) console.log(`\n${lost.join("\n")}`);
  const shown = planesOf(planes);
  if (shown.length > 0) console.log(`\n${shown.join("\n")}`);
  console.log(`\n${summaryOf(total, performance.now() - startMs).join("\n")}`);
  process.exitCode = failed || total.failed > 0 ? 1 : 0;
}
