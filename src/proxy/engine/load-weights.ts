/**
 * Weights of endpoints by what they report of their load (`client_side_weighted_round_robin`): requests per
 * second divided by how much of themselves they use for them, as gRPC and Envoy reckon it.
 */
import type { ClientSideWeightedRoundRobin } from "../../wire/gen/ts/envoy/extensions/load_balancing_policies/client_side_weighted_round_robin/v3/client_side_weighted_round_robin.ts";
import type { OrcaLoadReport } from "../../wire/gen/ts/xds/data/orca/v3/orca_load_report.ts";
import { durationMs } from "./duration.ts";
import { refuse } from "./refusal.ts";

export type LoadReport = Pick<
  OrcaLoadReport,
  | "applicationUtilization"
  | "cpuUtilization"
  | "memUtilization"
  | "rpsFractional"
  | "eps"
  | "utilization"
  | "namedMetrics"
  | "requestCost"
>;

export interface LoadWeights {
  /** Reports count when they have come for so long. */
  readonly blackoutMs: number;
  /** And no more when the last is older. */
  readonly expiryMs: number;
  readonly updateMs: number;
  /** How much an error for each request adds to what is used. */
  readonly errorPenalty: number;
  /** What is used, where the application does not say it itself: the most of these. */
  readonly metrics: readonly string[];
}

export function compileLoadWeights(
  config: ClientSideWeightedRoundRobin,
  path: string,
): LoadWeights {
  const { errorUtilizationPenalty: errorPenalty = 0 } = config;
  if (!(errorPenalty >= 0)) refuse(`${path}.error_utilization_penalty`, "must not be negative");
  if (config.enableOobLoadReport === true) {
    refuse(`${path}.enable_oob_load_report`, "is not supported: reports come with answers");
  }
  const updateMs = durationMs(config.weightUpdatePeriod) ?? 1000;
  return {
    blackoutMs: durationMs(config.blackoutPeriod) ?? 10_000,
    expiryMs: durationMs(config.weightExpirationPeriod) ?? 180_000,
    // As gRPC: nobody reckons more often.
    updateMs: Math.max(updateMs, 100),
    errorPenalty,
    metrics: config.metricNamesForComputingUtilization,
  };
}

const weightMax = 2 ** 32 - 1;

/** A whole number; undefined: the report says nothing that a weight could be made of. */
export function weightOf(report: LoadReport, rules: LoadWeights): number | undefined {
  const { rpsFractional: requests, eps: errors } = report;
  if (!(requests > 0)) return undefined;
  const used = usedOf(report, rules.metrics) + (rules.errorPenalty * errors) / requests;
  if (!(used > 0)) return undefined;
  return Math.floor(Math.min(requests / used, weightMax));
}

function usedOf(report: LoadReport, metrics: readonly string[]): number {
  if (report.applicationUtilization > 0) return report.applicationUtilization;
  const most = Math.max(0, ...metrics.flatMap((name) => valuesOf(report, name)));
  return most > 0 ? most : report.cpuUtilization;
}

const maps = {
  "named_metrics.": "namedMetrics",
  "utilization.": "utilization",
  "request_cost.": "requestCost",
} as const;

/** `named_metrics.*` is all of them. */
function valuesOf(report: LoadReport, name: string): readonly number[] {
  for (const prefix of ["named_metrics.", "utilization.", "request_cost."] as const) {
    if (!name.startsWith(prefix)) continue;
    const values = report[maps[prefix]];
    const key = name.slice(prefix.length);
    if (key === "*") return Object.values(values);
    const value = Object.hasOwn(values, key) ? values[key] : undefined;
    return value === undefined ? [] : [value];
  }
  switch (name) {
    case "cpu_utilization":
      return [report.cpuUtilization];
    case "mem_utilization":
      return [report.memUtilization];
    case "application_utilization":
      return [report.applicationUtilization];
    case "rps_fractional":
      return [report.rpsFractional];
    case "eps":
      return [report.eps];
    default:
      return [];
  }
}

/** What one endpoint has reported. Times are those of the monotonic clock. */
export class ReportedWeight {
  #weight = 0;
  #sinceMs: number | undefined;
  #lastMs = 0;

  set(weight: number, nowMs: number): void {
    this.#weight = weight;
    this.#lastMs = nowMs;
    this.#sinceMs ??= nowMs;
  }

  /** Undefined where reports have not come for long enough, or come no more. */
  validAt(nowMs: number, { blackoutMs, expiryMs }: LoadWeights): number | undefined {
    if (this.#sinceMs === undefined || this.#sinceMs > nowMs - blackoutMs) return undefined;
    if (this.#lastMs >= nowMs - expiryMs) return this.#weight;
    this.#sinceMs = undefined;
    return undefined;
  }
}

/** Those that report nothing weigh what is in the middle of the others; never less than 1. */
export function settleWeights(reported: readonly (number | undefined)[]): readonly number[] {
  const known = reported.filter((weight) => weight !== undefined).toSorted((a, b) => a - b);
  const usual = known[known.length >> 1] ?? 1;
  return reported.map((weight) => Math.max(1, weight ?? usual));
}
