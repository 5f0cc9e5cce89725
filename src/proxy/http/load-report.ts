/**
 * What an endpoint says of its load in the head or the trailers of an answer (ORCA, as Envoy reads it):
 * `endpoint-load-metrics-bin`, or `endpoint-load-metrics` as `TEXT`, `JSON` or `BIN`. A report that cannot be
 * read is none.
 */
import type { Http1Head } from "../../wire/http1-head.ts";
import { OrcaLoadReport } from "../../wire/gen/ts/xds/data/orca/v3/orca_load_report.ts";
import type { LoadReport } from "../engine/load-weights.ts";

const binaryName = "endpoint-load-metrics-bin";
const name = "endpoint-load-metrics";

/** Undefined where there is none. */
export function readLoadReport(head: Http1Head): LoadReport | undefined {
  const binary = head.findName(binaryName);
  if (binary >= 0) return fromBinary(head.valueAt(binary));
  const field = head.findName(name);
  if (field < 0) return undefined;
  const value = head.valueAt(field);
  const blank = value.indexOf(" ");
  if (blank < 0) return undefined;
  const text = value.slice(blank + 1);
  switch (value.slice(0, blank)) {
    case "BIN":
      return fromBinary(text);
    case "TEXT":
      return fromText(text);
    case "JSON":
      return fromJson(text);
    default:
      return undefined;
  }
}

function fromBinary(text: string): LoadReport | undefined {
  try {
    return OrcaLoadReport.decode(Buffer.from(text, "base64"));
  } catch {
    // Whatever it is, it is no report.
    return undefined;
  }
}

const numbers: Readonly<Record<string, NumberField>> = {
  cpu_utilization: "cpuUtilization",
  mem_utilization: "memUtilization",
  application_utilization: "applicationUtilization",
  rps_fractional: "rpsFractional",
  eps: "eps",
};
type NumberField =
  | "cpuUtilization"
  | "memUtilization"
  | "applicationUtilization"
  | "rpsFractional"
  | "eps";

const maps: Readonly<Record<string, MapField>> = {
  named_metrics: "namedMetrics",
  utilization: "utilization",
  request_cost: "requestCost",
};
type MapField = "namedMetrics" | "utilization" | "requestCost";

/** `name=value` or `name: value` between commas, each name once. */
function fromText(text: string): LoadReport | undefined {
  const report = OrcaLoadReport.create();
  const seen = new Set<string>();
  for (const pair of text.split(",")) {
    const separator = pair.search(/[=:]/);
    const key = pair.slice(0, Math.max(0, separator)).trim();
    const value = numberOf(pair.slice(separator + 1).trim());
    if (key === "" || value === undefined || seen.has(key)) return undefined;
    seen.add(key);
    if (!setMetric(report, key, value)) return undefined;
  }
  return report;
}

function setMetric(report: OrcaLoadReport, key: string, value: number): boolean {
  const field = Object.hasOwn(numbers, key) ? numbers[key] : undefined;
  if (field !== undefined) {
    report[field] = value;
    return true;
  }
  const dot = key.indexOf(".");
  const map = dot < 0 ? undefined : maps[key.slice(0, dot)];
  if (map === undefined || dot + 1 === key.length) return false;
  report[map] = { ...report[map], [key.slice(dot + 1)]: value };
  return true;
}

function numberOf(text: string): number | undefined {
  return /^[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?$/.test(text) ? finite(Number(text)) : undefined;
}

function finite(value: number): number | undefined {
  return Number.isFinite(value) ? value : undefined;
}

/** The message's canonical JSON, with names in either spelling. */
function fromJson(text: string): LoadReport | undefined {
  const parsed = parse(text);
  if (parsed === undefined) return undefined;
  const report = OrcaLoadReport.create();
  for (const [written, value] of Object.entries(parsed)) {
    const key = written.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);
    if (key === "rps") continue;
    const field = Object.hasOwn(numbers, key) ? numbers[key] : undefined;
    const map = Object.hasOwn(maps, key) ? maps[key] : undefined;
    if (field !== undefined) {
      const number = jsonNumber(value);
      if (number === undefined) return undefined;
      report[field] = number;
    } else if (map !== undefined) {
      const values = jsonNumbers(value);
      if (values === undefined) return undefined;
      report[map] = values;
    } else return undefined;
  }
  return report;
}

function parse(text: string): object | undefined {
  try {
    const value: unknown = JSON.parse(text);
    return isObject(value) ? value : undefined;
  } catch {
    return undefined;
  }
}

function isObject(value: unknown): value is object {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function jsonNumber(value: unknown): number | undefined {
  if (typeof value === "number") return finite(value);
  return typeof value === "string" ? numberOf(value) : undefined;
}

function jsonNumbers(value: unknown): Record<string, number> | undefined {
  if (!isObject(value)) return undefined;
  const values: Record<string, number> = {};
  for (const [key, each] of Object.entries(value)) {
    const number = jsonNumber(each);
    if (number === undefined) return undefined;
    Object.defineProperty(values, key, { value: number, enumerable: true });
  }
  return values;
}
