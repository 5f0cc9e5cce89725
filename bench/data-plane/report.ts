/** Puts measurements into Markdown, misses first, and the whole into docs/performance.md. */
import { spawnSync } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { cpus } from "node:os";
import { join } from "node:path";

import { median } from "../median.ts";
import { budgets, judge, type Judgement } from "./budgets.ts";
import type { Contestant } from "./contestants.ts";
import type { Measurement } from "./measure.ts";
import type { Scenario } from "./scenarios.ts";

type Results = ReadonlyMap<Scenario, ReadonlyMap<Contestant, readonly Measurement[]>>;

const page = join(import.meta.dirname, "../../docs/performance.md");
/** What the reader must know to judge the figures. */
export function describeCircumstances(
  envoy: string | undefined,
  before: readonly number[],
  after: readonly number[],
): string {
  const load = (of: readonly number[]): string => of.map((value) => value.toFixed(1)).join(" ");
  const [processor] = cpus();
  const day = new Date().toISOString().slice(0, 10);
  const options = process.argv.slice(2).filter((option) => option !== "--write");
  const command = ["node", "bench/data-plane/main.ts", ...options].join(" ");
  return [
    `Measured ${day} with \`${command}\` on ${cpus().length} cores (${processor?.model.trim() ?? "unknown"});`,
    `load average (1, 5, 15 min) ${load(before)} before, ${load(after)} after.`,
    `Node ${process.versions.node}, ${versions(envoy).join(", ")}.`,
  ].join("\n");
}

function versions(envoy: string | undefined): readonly string[] {
  const asked: readonly (readonly [string, string, string, RegExp])[] = [
    ["nginx", "nginx", "-v", /nginx\/([\d.]+)/],
    ["HAProxy", "haproxy", "-v", /version ([\d.]+)/],
    ["wrk", "wrk", "-v", /wrk (\S+)/],
    ["OpenSSL", "openssl", "version", /OpenSSL (\S+)/],
    ["Envoy", envoy ?? "envoy", "--version", /\/([\d.]+)\//],
  ];
  return asked.map(([name, program, option, pattern]) => {
    const { stdout, stderr } = spawnSync(program, [option], { encoding: "utf8" });
    return `${name} ${pattern.exec(`${stdout}${stderr}`)?.[1] ?? "(not found)"}`;
  });
}

export function formatReport(results: Results): string {
  const tables = [...results]
    .filter(([, byContestant]) => byContestant.size > 0)
    .map(([scenario, byContestant]) => formatScenario(scenario, byContestant));
  return [formatBudgets(results), ...tables].filter((part) => part !== "").join("\n\n");
}

/** Medians of everything, for programs. */
export function reportAsJson(results: Results): object {
  return {
    budgets: judgeAll(results).map(({ budget, own, reference, valueMax, isKept }) => {
      const { what, unit, shareMax } = budget;
      return { what, isKept, own, reference, share: own / reference, unit, shareMax, valueMax };
    }),
    scenarios: [...results].map(([{ name, what, unit }, byContestant]) => ({
      name,
      what,
      unit,
      proxies: [...byContestant].map(([contestant, measured]) => ({
        name: contestant.name,
        cpuUs: median(measured.map(({ cpuUs }) => cpuUs)),
        measured,
      })),
    })),
  };
}

/** Missed ones first. */
function judgeAll(results: Results): readonly Judgement[] {
  return [...results]
    .flatMap(([scenario, byContestant]) =>
      budgets
        .filter((budget) => budget.scenario === scenario.name)
        .flatMap((budget) => judge(budget, byContestant) ?? []),
    )
    .toSorted((a, b) => Number(a.isKept) - Number(b.isKept));
}

function formatBudgets(results: Results): string {
  const judged = judgeAll(results);
  if (judged.length === 0) return "";
  const rows = judged.map(({ budget, own, reference, valueMax, isKept }) => [
    budget.what,
    isKept ? "kept" : "**missed**",
    `${own.toFixed(1)} ${budget.unit}`,
    reference.toFixed(1),
    `${(own / reference).toFixed(2)} ×`,
    `${budget.shareMax} ×${valueMax === undefined ? "" : ` and ${valueMax.toFixed(1)}`}`,
  ]);
  return table(["budget", "", "Heddle", "Envoy's best", "share", "allowed"], rows);
}

function formatScenario(
  scenario: Scenario,
  results: ReadonlyMap<Contestant, readonly Measurement[]>,
): string {
  const envoys = new Map(
    [...results]
      .filter(([{ name }]) => name.startsWith("envoy-"))
      .map(([{ kind }, measured]) => [kind, median(measured.map(({ cpuUs }) => cpuUs))]),
  );
  const rows = [...results].map(([{ name, kind }, measured]) => {
    const of = (value: (measurement: Measurement) => number): number => median(measured.map(value));
    const cost = of(({ cpuUs }) => cpuUs);
    const reference = envoys.get(kind === "tls" ? "pair" : kind) ?? Number.NaN;
    const resumed = of(({ resumed: share = Number.NaN }) => share);
    return [
      name,
      cost.toFixed(1),
      Number.isNaN(reference) ? "" : `${(cost / reference).toFixed(2)} ×`,
      String(Math.round(of(({ perSecond }) => perSecond))),
      ...(["p50", "p99", "p999", "max"] as const).map((which) =>
        shown(of(({ delaysMs }) => delaysMs?.[which] ?? Number.NaN)),
      ),
      `${of(({ residentMb }) => residentMb)} / ${of(({ anonymousMb }) => anonymousMb)}`,
      String(measured.reduce((sum, { failures }) => sum + failures, 0)),
      ...(scenario.name === "handshakes-resumed" ? [`${Math.round(resumed * 100)} %`] : []),
    ];
  });
  const head = [
    "proxy",
    `CPU µs/${scenario.unit}`,
    "to Envoy",
    `${scenario.unit}s/s`,
    ...["p50", "p99", "p99.9", "max"].map((name) => `${name} ms`),
    "RSS / anonymous MB",
    "failed",
    ...(scenario.name === "handshakes-resumed" ? ["resumed"] : []),
  ];
  return `### ${scenario.name}: ${scenario.what}\n\n${table(head, rows)}`;
}

function shown(ms: number): string {
  return Number.isNaN(ms) ? "" : ms.toFixed(2);
}

function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  return [head, head.map(() => "---"), ...rows].map((row) => `| ${row.join(" | ")} |`).join("\n");
}

/** `part`: what the page has marks for. */
export function writePerformancePage(report: string, part: string): void {
  const [startMark, endMark] = [
    `<!-- data-plane ${part}: written by bench/data-plane -->`,
    `<!-- end of data-plane ${part} -->`,
  ];
  const text = readFileSync(page, "utf8");
  const [from, to] = [text.indexOf(startMark), text.indexOf(endMark)];
  if (from < 0 || to < from) throw new Error(`${page} has no marks for '${part}'`);
  writeFileSync(page, `${text.slice(0, from + startMark.length)}\n\n${report}\n${text.slice(to)}`);
}
