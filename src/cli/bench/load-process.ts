/** Starts loads as processes in the networks where they belong, and adds up what they tell. */
import { spawn } from "node:child_process";

import { CommandFailure, exitCodes } from "../exit.ts";
import { type HistogramJson, LatencyHistogram } from "./latency-histogram.ts";
import type { LoadPlan, LoadResult } from "./open-loop.ts";

export interface PlacedLoad {
  readonly plan: LoadPlan;
  /** In the network of this process; in our own where it is absent. */
  readonly networkOf?: number;
  /** The command line's main file, where this process runs another. */
  readonly main?: string;
}

export type OnProgress = (done: number, ofAll: number) => void;

/** Runs them at the same time; their results together. */
export async function runLoads(
  loads: readonly PlacedLoad[],
  onProgress: OnProgress,
): Promise<LoadResult> {
  const done = loads.map(() => ({ done: 0, ofAll: 0 }));
  const results = await Promise.all(
    loads.map(
      async (load, at) =>
        await runLoad(load, (soFar, ofAll) => {
          done[at] = { done: soFar, ofAll };
          const sum = (of: "done" | "ofAll"): number => done.reduce((all, one) => all + one[of], 0);
          if (at === 0) onProgress(sum("done"), sum("ofAll"));
        }),
    ),
  );
  const total: LoadResult = { sent: 0, failed: 0, failures: {}, latencies: new LatencyHistogram() };
  for (const result of results) addResult(total, result);
  return total;
}

export function addResult(total: LoadResult, result: LoadResult): void {
  total.sent += result.sent;
  total.failed += result.failed;
  total.latencies.add(result.latencies);
  for (const [kind, count] of Object.entries(result.failures)) {
    total.failures[kind] = (total.failures[kind] ?? 0) + count;
  }
}

interface Told {
  readonly done?: number;
  readonly ofAll?: number;
  readonly result?: Omit<LoadResult, "latencies"> & { readonly latencies: HistogramJson };
}

async function runLoad(load: PlacedLoad, onProgress: OnProgress): Promise<LoadResult> {
  const { plan, networkOf } = load;
  const main = load.main ?? process.argv[1] ?? "";
  const own = [process.execPath, "--disable-warning=ExperimentalWarning", main, "bench-load"];
  const [program = "", ...words] = [...entering(networkOf), ...own];
  const child = spawn(program, words, { stdio: ["pipe", "pipe", "pipe"] });
  const { promise, resolve, reject } = Promise.withResolvers<LoadResult>();
  let [line, errors] = ["", ""];
  const take = ({ done = 0, ofAll = 0, result }: Told): void => {
    if (result === undefined) onProgress(done, ofAll);
    else resolve({ ...result, latencies: LatencyHistogram.fromJson(result.latencies) });
  };
  child.stdout.setEncoding("utf8").on("data", (text: string) => {
    const lines = (line + text).split("\n");
    line = lines.pop() ?? "";
    for (const one of lines) take(JSON.parse(one)); // from ourselves, on the other end
  });
  child.stderr.setEncoding("utf8").on("data", (text: string) => (errors += text));
  child.stdin.on("error", () => {}); // it ended before it read: its exit says more
  child.once("error", (error) => reject(cannotRun(program, error.message)));
  child.once("close", () => reject(cannotRun(program, errors.trim().slice(0, 500))));
  child.stdin.end(JSON.stringify(plan));
  const stop = (): void => void child.kill();
  process.once("exit", stop);
  try {
    return await promise;
  } finally {
    process.off("exit", stop);
  }
}

/** Words that enter a process's network, as root or as the owner of its user namespace. */
function entering(pid: number | undefined): readonly string[] {
  if (pid === undefined) return [];
  const user = process.getuid?.() === 0 ? [] : ["--user", "--preserve-credentials"];
  return ["nsenter", "--target", String(pid), "--net", ...user, "--"];
}

function cannotRun(program: string, why: string): CommandFailure {
  return new CommandFailure(exitCodes.unreachable, `the load cannot run (${program}): ${why}`);
}
