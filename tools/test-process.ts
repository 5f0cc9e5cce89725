/** A file of tests, or several, in a process of node:test's; and scripts of the project that tests need first. */
import { type ChildProcess, spawn } from "node:child_process";
import { closeSync, mkdtempSync, openSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";

import type { Failure } from "./test-failures.ts";
import type { TestJob } from "./test-phases.ts";
import { readRecord, type RunRecord } from "./test-record.ts";

export interface Outcome {
  readonly isGood: boolean;
  readonly record: RunRecord;
  /** What was printed, but for node:test's own summary; empty where it was printed at once. */
  readonly output: string;
  /** Why it ended before its time: it was ended, or has crashed. */
  readonly cut: string;
  readonly ms: number;
}

export interface RunOptions {
  /** Prints at once: where nothing else runs meanwhile. */
  readonly isAlone: boolean;
  /** Ends it before its time; the reason is a sentence. */
  readonly stop: AbortSignal;
  readonly environment: NodeJS.ProcessEnv;
  /** Hears of a test within a second after it has failed; not where it is alone, where all is printed at once. */
  readonly onFailure: (failure: Failure) => void;
}

const scriptMaxMs = 1_800_000;
const lookEveryMs = 1000;

export async function runTests(job: TestJob, options: RunOptions): Promise<Outcome> {
  const startMs = performance.now();
  const folder = mkdtempSync(join(tmpdir(), "heddle-test-"));
  try {
    return { ...(await runIn(folder, job, options)), ms: performance.now() - startMs };
  } finally {
    rmSync(folder, { recursive: true });
  }
}

async function runIn(
  folder: string,
  { phase, files, givesWay }: TestJob,
  { isAlone, stop, environment, onFailure }: RunOptions,
): Promise<Omit<Outcome, "ms">> {
  const [recordFile, outputFile] = [join(folder, "record.json"), join(folder, "output.txt")];
  const output = isAlone ? undefined : openSync(outputFile, "w");
  const words = [
    "--test",
    `--test-isolation=${phase.isolation}`,
    `--test-timeout=${phase.timeoutMs}`,
    `--test-reporter=${phase.isolation === "none" ? "dot" : "spec"}`,
    "--test-reporter-destination=stdout",
    "--test-reporter=./tools/count-reporter.ts",
    `--test-reporter-destination=${recordFile}`,
    ...files,
  ];
  let told = 0;
  const tell = (): void => {
    if (isAlone) return;
    const { failures } = readRecord(recordFile);
    failures.slice(told).forEach(onFailure);
    told = failures.length;
  };
  const looks = setInterval(tell, lookEveryMs);
  try {
    const child = startNode(words, { output: output ?? "inherit", env: environment });
    if (givesWay) giveWay(child);
    const end = (): void => killGroup(child, "SIGKILL");
    const { code, cut } = await endOf(child, { maxMs: phase.totalMs, stop, end });
    // What it has left running would be in the way of others.
    end();
    tell();
    const record = readRecord(recordFile);
    const text = output === undefined ? "" : withoutSummary(readFileSync(outputFile, "utf8"));
    const isGood = code === 0 && record.end !== undefined && record.failures.length === 0;
    return { isGood, record, output: text, cut };
  } finally {
    clearInterval(looks);
    if (output !== undefined) closeSync(output);
  }
}

/** True when it has ended well. What it says appears at once. */
export async function runScript(
  words: readonly string[],
  { stop, givesWay = false }: { readonly stop: AbortSignal; readonly givesWay?: boolean },
): Promise<boolean> {
  const child = startNode(words, { output: "inherit", env: process.env });
  if (givesWay) giveWay(child);
  // Gently: it may be installing packages.
  const end = (): void => killGroup(child, "SIGTERM");
  return (await endOf(child, { maxMs: scriptMaxMs, stop, end })).code === 0;
}

/** What runs does not outlive this process, however that ends: nobody else knows of it. */
const running = new Set<ChildProcess>();
process.on("exit", () => running.forEach((child) => killGroup(child, "SIGKILL")));

function startNode(
  words: readonly string[],
  { output, env }: { readonly output: number | "inherit"; readonly env: NodeJS.ProcessEnv },
): ChildProcess {
  const child = spawn(process.execPath, ["--disable-warning=ExperimentalWarning", ...words], {
    stdio: ["ignore", output, output],
    env,
    // A group of processes of its own: it is ended with all that it has started.
    detached: true,
  });
  running.add(child);
  return child;
}

/**
 * What it has started and will start works where nobody else wants to. Linux shares the processor by
 * sessions first (autogroups, sched(7)): the priorities of processes count only within one.
 */
function giveWay({ pid }: ChildProcess): void {
  try {
    writeFileSync(`/proc/${pid}/autogroup`, String(constants.priority.PRIORITY_LOW));
  } catch {
    // Not Linux, or one without autogroups, or it has ended: what it does about its own priority is enough.
  }
}

async function endOf(
  child: ChildProcess,
  limits: { readonly maxMs: number; readonly stop: AbortSignal; readonly end: () => void },
): Promise<{ readonly code: number | null; readonly cut: string }> {
  const { maxMs, stop } = limits;
  let why: string | undefined;
  const end = (reason: string): void => {
    why ??= reason;
    limits.end();
  };
  const timer = setTimeout(() => end(`ended after ${maxMs / 60_000} minutes`), maxMs);
  const onStop = (): void => end(String(stop.reason));
  stop.addEventListener("abort", onStop);
  if (stop.aborted) onStop();
  try {
    const [code, signal] = await new Promise<[number | null, string | null]>((resolve, reject) => {
      child.once("error", reject);
      child.once("exit", (...how) => resolve(how));
    });
    return { code, cut: why ?? `ended with ${code ?? signal}` };
  } finally {
    running.delete(child);
    clearTimeout(timer);
    stop.removeEventListener("abort", onStop);
  }
}

function killGroup({ pid }: ChildProcess, signal: NodeJS.Signals): void {
  if (pid === undefined) return;
  try {
    process.kill(-pid, signal);
  } catch {
    // Nothing of it runs any more.
  }
}

/** One summary stands at the end of the whole run. */
function withoutSummary(text: string): string {
  return text
    .replace(/^ℹ (tests|suites|pass|fail|cancelled|skipped|todo|duration_ms) \S+\n/gmu, "")
    .trimEnd();
}
