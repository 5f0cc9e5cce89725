/** Puts measurements into a Markdown table, and the table into docs/performance.md. */
import { existsSync, readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";

import type { Contestant } from "./contestants.ts";
import type { Measurement } from "./measure.ts";

const page = join(import.meta.dirname, "../../docs/performance.md");
const startMark = "<!-- data-plane table: written by bench/data-plane -->";
const endMark = "<!-- end of data-plane table -->";

/** What the reader must know to judge the figures. */
export function describeCircumstances(before: readonly number[], after: readonly number[]): string {
  const load = (of: readonly number[]): string => of.map((value) => value.toFixed(1)).join(" ");
  const [processor] = cpus();
  const day = new Date().toISOString().slice(0, 10);
  return (
    `Measured ${day} on ${cpus().length} cores (${processor?.model.trim() ?? "unknown"}), Node ` +
    `${process.versions.node}; load average (1, 5, 15 min) ${load(before)} before, ${load(after)} after.`
  );
}

export function formatTable(
  contestants: readonly Contestant[],
  results: ReadonlyMap<string, readonly Measurement[]>,
): string {
  const rows = contestants.map((contestant) => {
    const own = results.get(contestant.name) ?? [];
    const reference = best(results.get(contestant.reference) ?? []);
    const cost = best(own);
    const ratio = Number.isFinite(reference) ? (cost / reference).toFixed(2) : "";
    const fastest = own.toSorted((a, b) => b.requestsPerSecond - a.requestsPerSecond)[0];
    const failures = own.reduce((sum, { failures: count }) => sum + count, 0);
    return [
      contestant.name,
      contestant.does,
      cost.toFixed(1),
      ratio === "" ? "" : `${ratio} × ${contestant.reference}`,
      String(Math.round(fastest?.requestsPerSecond ?? 0)),
      fastest?.p99 ?? "",
      String(fastest?.residentMb ?? 0),
      String(failures),
    ];
  });
  const head = [
    "proxy",
    "what it does",
    "CPU µs/request",
    "ratio",
    "requests/s",
    "p99",
    "RSS MB",
    "failed",
  ];
  return [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

/** The cheapest round: other load on the machine only ever adds. */
function best(measurements: readonly Measurement[]): number {
  return Math.min(
    ...measurements.map(({ cpuUsPerRequest }) => cpuUsPerRequest),
    Number.POSITIVE_INFINITY,
  );
}

export function writePerformancePage(table: string): void {
  const text = existsSync(page)
    ? readFileSync(page, "utf8")
    : `# Performance\n\n${startMark}\n${endMark}\n`;
  const from = text.indexOf(startMark) + startMark.length;
  const to = text.indexOf(endMark);
  writeFileSync(page, `${text.slice(0, from)}\n\n${table}\n${text.slice(to)}`);
}
