/** What a soak has found, as docs/soak.md, and whether it is sound. */
import os from "node:os";

import { shareOfCapacity, type SoakMinute, type SoakResult } from "./run.ts";
import { type Slope, slopeOf } from "./slope.ts";

/** Before it, caches and heaps find their size. */
const warmupShare = 1 / 3;
const warmupMinutesMax = 15;
const slopeMax = 1;
/** A slope over less says more of garbage collection than of leaks. */
const judgedMinutes = 20;

export interface SoakReport {
  readonly text: string;
  readonly isSound: boolean;
}

export function describeSoak(result: SoakResult): SoakReport {
  const { plan, minutes, failures } = result;
  const warmup = Math.min(warmupMinutesMax, Math.floor(minutes.length * warmupShare));
  const steady = minutes.slice(warmup);
  const names = minutes[0]?.sidecars.map(({ name }) => name) ?? [];
  const slopes = names.map((_, at) => slopeOfSidecar(steady, at));
  const failed = minutes.reduce((sum, one) => sum + one.failed, 0);
  const requests = minutes.reduce((sum, one) => sum + one.requests, 0);
  const isJudged = steady.length >= judgedMinutes;
  const grows = slopes.filter(({ slope }) => slope >= slopeMax);
  const renewalsAsked = Math.floor(minutes.length / 2);
  const isRenewed = result.certificates.every((count) => count > renewalsAsked);
  const isSound = failed === 0 && isRenewed && (!isJudged || grows.length === 0);
  const text = `${[
    "# Soak",
    "",
    "<!-- Written by bench/soak; do not edit. -->",
    "",
    `\`npm run soak\` (bench/soak): a mesh in network namespaces, load in open loop from one workload through two sidecars to a service,`,
    `a changed route each ${plan.pushEveryMs / 1000} s, a replica added or taken away each ${plan.churnEveryMs / 1000} s, certificates that live ${plan.certificateTtl}.`,
    "",
    `- ${result.startedAt.toISOString().slice(0, 16)}Z, commit ${result.commit}, Node ${process.versions.node}, ${os.availableParallelism()} cores (${os.cpus()[0]?.model.trim() ?? "?"}), backend ${plan.io}`,
    `- ${minutes.length} minutes at ${result.rate} requests/s: ${rateText(result)}; ${result.pushes} changes`,
    `- ${requests} requests, ${failed} failed${failureText(failures)}`,
    `- memory after ${warmup} minutes, by least squares and its standard error: ${slopes.map((slope, at) => slopeText(names[at] ?? "", slope)).join(", ")} (budget: below ${slopeMax} MB/h${isJudged ? "" : "; too short a run to judge"})`,
    `- certificates: ${names.map((name, at) => `${name} ${result.certificates[at] ?? 0}`).join(", ")} (more than ${renewalsAsked} each wanted)`,
    `- ${isSound ? (isJudged ? "passed" : "no failure") : "FAILED"}`,
    "",
    table(minutes, names),
  ].join("\n")}\n`;
  return { text, isSound };
}

function rateText({ capacity, plan }: SoakResult): string {
  const limit = plan.cpus === undefined ? "" : `, with ${plan.cpus} of a core for each sidecar`;
  if (capacity === undefined) return `a rate that was asked for${limit}`;
  return `${Math.round(shareOfCapacity * 100)} % of ${capacity}, the most that was kept up with before${limit}`;
}

function failureText(failures: Readonly<Record<string, number>>): string {
  const kinds = Object.entries(failures).map(([kind, count]) => `${count} × ${kind}`);
  return kinds.length === 0 ? "" : ` (${kinds.join("; ")})`;
}

/** Of a sidecar's anonymous memory, in MB an hour. */
function slopeOfSidecar(minutes: readonly SoakMinute[], at: number): Slope {
  const { slope, error } = slopeOf(
    minutes.map(({ sidecars }) => (sidecars[at]?.anonymousBytes ?? 0) / 1e6),
  );
  return { slope: slope * 60, error: error * 60 };
}

function slopeText(name: string, { slope, error }: Slope): string {
  return `${name} ${slope >= 0 ? "+" : ""}${slope.toFixed(1)} (±${error.toFixed(1)}) MB/h`;
}

function table(minutes: readonly SoakMinute[], names: readonly string[]): string {
  const heads = names.flatMap((name) => [
    `${name} anonymous MB`,
    `${name} resident MB`,
    `${name} CPU %`,
  ]);
  const columns = ["minute", "requests", "failed", "p50 ms", "p99 ms", "machine's load", ...heads];
  const rows = minutes.map((one) => [
    String(one.minute),
    String(one.requests),
    String(one.failed),
    one.p50Ms.toFixed(2),
    one.p99Ms.toFixed(1),
    one.load.toFixed(1),
    ...one.sidecars.flatMap(({ anonymousBytes, residentBytes, cpuPercent }) => [
      (anonymousBytes / 1e6).toFixed(1),
      (residentBytes / 1e6).toFixed(1),
      cpuPercent.toFixed(1),
    ]),
  ]);
  const line = (cells: readonly string[]): string => `| ${cells.join(" | ")} |`;
  return [line(columns), line(columns.map(() => "---")), ...rows.map(line)].join("\n");
}
